// Package router knows who is bound where and decides what becomes of a stanza:
// to which sessions it goes, whether the server answers it, whether it is kept
// for later, or which error its sender gets.
//
//	deliver.go       messages to local accounts (RFC 6121 §8.5)
//	route.go         stanzas that a client sends (RFC 6120 §10)
//	presence.go      presence to and from contacts (RFC 6121 §4)
//	subscription.go  subscriptions, and changes of rosters (RFC 6121 §2, §3)
//	service.go       what answers IQs for accounts and domains
//	answer.go        of that, what every router has (XEP-0030, XEP-0092, XEP-0199, XEP-0202)
//	remote.go        stanzas to and from other servers
//	carbons.go       copies for the account's other resources (XEP-0280)
//	blocking.go      whom an account does not want to hear from (XEP-0191)
//	avatar.go        the hash of a photo in presence (XEP-0153)
//	archive.go       what goes into archives, and its ids (XEP-0313, XEP-0334, XEP-0359)
//	caps.go          the features of a domain in short (XEP-0115)
//	host.go          domains of ours that have no accounts
//	software.go      what a client says that it is (XEP-0115)
//	suspended.go     sessions that wait for their client (XEP-0198)
//	handover.go      sessions that go from process to process (XEP-0198)
//	registry.go      the sessions of this process
package router

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Session is a bound resource of a local account. Its methods may be called from
// any goroutine.
type Session interface {
	// JID is the full JID.
	JID() jid.JID
	// Priority is that of the last presence; available is false before initial
	// presence and after unavailable presence (RFC 6121 §4.2, §4.5).
	Priority() (p int8, available bool)
	// Send queues a stanza, in the order of the calls. It waits a bounded time
	// while the queue is full. An error means that it was not queued, because
	// the session is gone or its client does not read.
	Send(ctx context.Context, st *stanza.Stanza) error
	// SendKept is Send for a message that the caller has in custody until Prove
	// tells that it has arrived: a session that is resumed does not send it again
	// by itself. had says that the client is known to have received an earlier
	// SendKept of the same stanza id that was not proven then; nothing is sent.
	SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error)
	// Prove returns how it is known that a live client has received everything
	// that was sent before the call. It blocks until that is known or ctx ends.
	Prove(ctx context.Context) (Proof, error)
	// Close ends the session with a stream error, nil for none. It does not wait.
	Close(reason *stream.Error)
}

// Proof says how a delivery is known to have arrived. Empty: it is not.
type Proof string

const (
	// ProofAck: the client's stream management has counted it (XEP-0198 §4).
	ProofAck Proof = "stream management ack"
	// ProofAnswer: the client has answered a query that was sent after it.
	ProofAnswer Proof = "an answer to a later query"
	// ProofWritten: it was written to a stream between servers, whose other end has no
	// way to say more.
	ProofWritten Proof = "written to the stream"
)

// ProofOf is the proof on a stream without stream management, whose other end was asked
// something: it has answered, or it answers nobody, or there is an error.
func ProofOf(answered bool, err error) (Proof, error) {
	switch {
	case err != nil:
		return "", err
	case answered:
		return ProofAnswer, nil
	}
	return ProofWritten, nil
}

// Registry is where sessions are bound, so that several processes can share one.
// Its methods may be called from any goroutine.
type Registry interface {
	// Bind adds s. A session that had its full JID is replaced and returned. With
	// max sessions of the account already there it returns ErrTooManySessions.
	Bind(s Session, max int) (replaced Session, err error)
	// Unbind removes s if it is still the one bound, and says whether it was.
	Unbind(s Session) bool
	// Session finds a full JID; nil if it is not bound.
	Session(full jid.JID) Session
	// Sessions are those of a bare JID, oldest first. The slice is not changed
	// any more and must not be by the caller.
	Sessions(bare jid.JID) []Session
	// All are the sessions of this process, in no order.
	All() []Session
	// Changed tells that what Priority of s returns may have changed. It does not
	// wait for other processes.
	Changed(s Session)
}

// Custody keeps a message that cannot be delivered now, durably: when Keep
// returned nil it will be delivered, or its sender be told.
type Custody interface {
	Keep(ctx context.Context, st *stanza.Stanza) error
	// Waits says whether a message for bare that went to Keep may still be on its
	// way: a later one must not go past it.
	Waits(ctx context.Context, bare jid.JID) bool
}

// Errors of the router.
var (
	// ErrTooManySessions means that an account has all the sessions it may have.
	ErrTooManySessions = errors.New("too many sessions of the account")
	// ErrOffline means that no resource takes the message now. It is temporary.
	ErrOffline = errors.New("recipient has no available resource")
	// ErrSuspended means that a session waits for its client to resume it
	// (XEP-0198 §5), and takes no message meanwhile. It is temporary: what Prove
	// leaves open with it, the session's next SendKept may know.
	ErrSuspended = stream.ErrSuspended
)

// Options are what a router is made of. Only Domains is needed.
type Options struct {
	// Domains says whether a domain is served here with accounts.
	Domains func(domain string) bool
	// Accounts says whether an account exists. Nil: every one does.
	Accounts func(ctx context.Context, bare jid.JID) (bool, error)
	// Registry has the sessions. Nil: one in memory.
	Registry Registry
	// MaxSessions bounds the sessions of one account. Zero: 100.
	MaxSessions int
	// Rosters keeps the rosters. Nil: they are empty, and nobody can subscribe.
	Rosters Rosters
	// Blocks has the block lists. Nil: nobody is blocked.
	Blocks Blocks
	// Avatars has the photos. Nil: there are none.
	Avatars Avatars
	// Archive keeps what accounts have sent and received. Nil: nothing is kept.
	Archive Archive
	// Custody keeps messages for users who are offline. Nil: their senders get
	// service-unavailable.
	Custody Custody
	// Remote takes stanzas for other domains. Nil: their senders get
	// remote-server-not-found.
	Remote Remote
	// Filter returns what goes on of a message, nil for nothing: it is dropped in
	// silence. keep says that it would be stored, not delivered now. A *stanza.Error
	// is for the sender. Nil: all goes on.
	Filter func(ctx context.Context, st *stanza.Stanza, keep bool) (*stanza.Stanza, error)
	// Sent is asked about each message that a client here sends, but for errors, before
	// anything else is done with it. done: it has been dealt with. A *stanza.Error goes to
	// the sender; any other error reads as one that passes. Nil: nobody is asked.
	Sent func(ctx context.Context, st *stanza.Stanza) (done bool, err error)
	// Tells says whether a message says anything that a chat state does not (XEP-0085).
	// Nil: every one does.
	Tells func(st *stanza.Stanza) bool
	// Name and Version are what XEP-0092 tells. Empty: mcmt2xmpp, and no version.
	Name, Version string
}

// Router routes stanzas. All methods may be called from any goroutine.
type Router struct {
	o       Options
	stats   counters
	returns returns
	copies  copies

	mu          sync.RWMutex
	hosts       map[string]Host // by domain
	onAvailable []func(bare jid.JID)
	services    map[xmlwire.Name]*Service // by payload
	ofDomain    *Capabilities             // replaced, never changed
	ofAccount   *Capabilities             // likewise
	ownItem     bool                      // see Service.Item
}

// New returns a router without sessions.
func New(o Options) *Router {
	if o.Registry == nil {
		o.Registry = NewRegistry()
	}
	if o.MaxSessions <= 0 {
		o.MaxSessions = 100
	}
	if o.Name == "" {
		o.Name = "mcmt2xmpp"
	}
	r := &Router{
		o: o, hosts: make(map[string]Host), services: make(map[xmlwire.Name]*Service),
		ofDomain:  NewCapabilities(Info{Identities: []Identity{{"server", "im", o.Name}}}),
		ofAccount: NewCapabilities(Info{Identities: []Identity{{"account", "registered", ""}}}),
	}
	r.provideOwn()
	return r
}

// Serves says whether a domain has its accounts here.
func (r *Router) Serves(domain string) bool { return r.o.Domains != nil && r.o.Domains(domain) }

// Bind makes s reachable at its full JID. An older session that had that JID is
// replaced, and closed with conflict (RFC 6120 §7.7.2.2). The error is
// ErrTooManySessions or the registry's.
func (r *Router) Bind(s Session) error {
	replaced, err := r.o.Registry.Bind(s, r.o.MaxSessions)
	if err != nil {
		if errors.Is(err, ErrTooManySessions) {
			r.stats.tooManySessions.Add(1)
		}
		return fmt.Errorf("bind %s: %w", s.JID(), err)
	}
	if replaced != nil {
		r.stats.conflicts.Add(1)
		replaced.Close(&stream.Error{Condition: stream.Conflict, Text: "replaced by a new session"})
	}
	return nil
}

// Unbind ends what Bind began. It says whether s was still the one bound; a
// session that was replaced is not.
func (r *Router) Unbind(s Session) bool { return r.o.Registry.Unbind(s) }

// Changed tells the registry that the presence of s has changed. Whoever owns s
// calls it after each change of what Priority returns.
func (r *Router) Changed(s Session) { r.o.Registry.Changed(s) }

// Session finds a full JID; nil if it is not bound.
func (r *Router) Session(full jid.JID) Session { return r.o.Registry.Session(full) }

// Sessions are the bound resources of a bare JID, oldest first. The slice must
// not be changed.
func (r *Router) Sessions(bare jid.JID) []Session { return r.o.Registry.Sessions(bare) }

// All are the bound sessions of this process.
func (r *Router) All() []Session { return r.o.Registry.All() }

// Reachable says whether a message of type chat to bare would be delivered now, or
// might be where that is not known without trying.
func (r *Router) Reachable(bare jid.JID) bool {
	if !r.Serves(bare.Domain()) {
		return r.o.Remote != nil && r.o.Remote.Reachable(bare.Domain())
	}
	for _, s := range r.Sessions(bare.Bare()) {
		if p, ok := s.Priority(); ok && p >= 0 {
			return true
		}
	}
	return false
}

// Tells returns what Options.Tells does.
func (r *Router) Tells(st *stanza.Stanza) bool { return r.o.Tells == nil || r.o.Tells(st) }

// OnAvailable has f called with the bare JID each time a resource becomes able
// to take messages to it: initial presence, or a change to a priority that is
// not negative. f must not block.
func (r *Router) OnAvailable(f func(bare jid.JID)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onAvailable = append(r.onAvailable, f)
}

// Available tells the router that s has sent presence which makes it able to
// take messages to its bare JID (RFC 6121 §4.2). Whoever owns s calls it after
// Priority says so.
func (r *Router) Available(s Session) {
	if p, ok := s.Priority(); !ok || p < 0 {
		return
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, f := range r.onAvailable {
		f(s.JID().Bare())
	}
}
