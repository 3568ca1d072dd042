package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// SessionBroker is what the sessions of several processes need of the broker.
type SessionBroker interface {
	Buckets
	Node() string
	Ask(ctx context.Context, subject string, data []byte) ([]byte, error)
	Answer(subject string, f func(ctx context.Context, data []byte) []byte) (stop func(), err error)
	Reconnected() <-chan struct{}
}

// Members tells which processes live.
type Members interface {
	// Members are the live processes, this one included, and a channel that is
	// closed at the next change.
	Members() ([]broker.Member, <-chan struct{})
}

// SessionsOptions are what Sessions are made of. Only Broker is needed.
type SessionsOptions struct {
	Broker SessionBroker
	// Members tells whose sessions count: those of a process that has died are
	// ignored at once. Nil: those of every process that has ever bound one.
	Members Members
	// OnAvailable learns each time that a session of another process becomes able
	// to take messages to its bare JID. It must not block. Nil: nobody does.
	OnAvailable func(bare jid.JID)
	// OnLost learns that a session of another process which others saw as available is
	// gone without a word; OnCome that one has become available, and whether it is back
	// after that was said of it. They may block. Nil: nobody does.
	OnLost func(ctx context.Context, full jid.JID)
	OnCome func(ctx context.Context, s router.Session, back bool)
	// Forward sends the presence of a session of another process on its way. Nil: it is
	// shown to nobody.
	Forward func(ctx context.Context, st *stanza.Stanza)
	// Report learns of entries that cannot be read, and when the bucket cannot be
	// read or written. It must not block. Nil: nobody does.
	Report func(error)

	times sessionTimes
}

// sessionTimes are shorter in tests. Zero fields have their defaults.
type sessionTimes struct {
	ask    time.Duration // for the answer of another node
	check  time.Duration // between looks at the bucket
	reap   time.Duration // from the death of a node to the removal of its entries
	retry  time.Duration // after the bucket could not be written
	linger time.Duration // a proof goes on that nobody asks for any more

	borrow   time.Duration // for the search for a session of another node
	loan     time.Duration // until a session that is lent goes on here; longer than a borrower needs
	remember time.Duration // where a session went
}

func (t sessionTimes) orDefault() sessionTimes {
	return sessionTimes{
		// A session makes a sender wait for 5 s while its queue is full.
		ask:   cmp.Or(t.ask, 10*time.Second),
		check: cmp.Or(t.check, time.Second),
		// Longer than all nodes take to learn of it, so that a node that others
		// do not know yet is not taken for a dead one.
		reap:   cmp.Or(t.reap, 15*time.Second),
		retry:  cmp.Or(t.retry, 250*time.Millisecond),
		linger: cmp.Or(t.linger, 30*time.Second),
		// A client waits.
		borrow:   cmp.Or(t.borrow, 4*time.Second),
		loan:     cmp.Or(t.loan, 10*time.Second),
		remember: cmp.Or(t.remember, time.Minute),
	}
}

// Sessions is the router.Registry that several processes share. The sessions of
// this process are in a registry in memory; those of others are known from a
// bucket that every process watches, and are reached by requests to their node.
//
//	sessionentry.go    what the bucket holds
//	sessionclaim.go    this process's entries: written, corrected, removed
//	sessionwatch.go    the bucket as it changes
//	sessionpeer.go     other processes, their death and return
//	sessionremote.go   a session of another process, as the router sees it
//	sessionanswer.go   what other processes ask of sessions here
//	sessionrequest.go  requests and replies on the wire
//	sessiongreet.go    presence between the resources of an account
//	sessionborrow.go   sessions that are fetched from other processes
//	sessionloan.go     sessions that other processes fetch
//
// A binding counts here at once and elsewhere when the bucket has it. So two
// processes may bind a full JID at the same instant: the later binding holds, and
// the other session is closed with conflict. While the broker is away sessions
// are bound all the same, and become known when it is back.
type Sessions struct {
	o     SessionsOptions
	node  string
	local router.Registry
	stats sessionCounters

	life   context.Context // from Open to Close
	end    context.CancelFunc
	stop   []func()      // ends answering
	loaded chan struct{} // closed when the bucket was read for the first time
	proofs proofs

	mu     sync.RWMutex
	closed bool
	work   sync.WaitGroup // Add with mu held, and not when closed
	kv     jetstream.KeyValue
	round  int // how often the bucket was read from its beginning; positions of before may mean nothing

	remotes map[string]*remote    // by key
	away    map[jid.JID][]*remote // the same by bare JID, in no order
	peers   map[string]*peer
	members map[string]bool // the nodes that live
	// users are the sessions of the accounts of which a session elsewhere counts.
	// Slices are replaced, never changed.
	users map[jid.JID][]router.Session

	claims  map[string]*claim // by key
	numbers map[uint64]*claim // of sessions bound here, by the number of the binding
	news    []news            // told by unlock
	number  uint64            // of the last binding
	pending []*claim          // to be written
	writing int               // of them, by a writer now
	wake    chan struct{}     // holds one when pending is not empty
	settled chan struct{}     // closed, and replaced, after each write

	loans    map[string]*loan   // by name
	handed   map[string]handed  // by SM-ID
	forwards map[uint64]*remote // by the number of the binding that was here

	greeting chan struct{} // holds one for each greeting under way
}

// NewSessions returns sessions that know those of this process only, until Open.
func NewSessions(o SessionsOptions) *Sessions {
	o.times = o.times.orDefault()
	if o.Report == nil {
		o.Report = func(error) {}
	}
	if o.OnAvailable == nil {
		o.OnAvailable = func(jid.JID) {}
	}
	if o.OnLost == nil {
		o.OnLost = func(context.Context, jid.JID) {}
	}
	if o.Forward == nil {
		o.Forward = func(context.Context, *stanza.Stanza) {}
	}
	if o.OnCome == nil {
		o.OnCome = func(context.Context, router.Session, bool) {}
	}
	r := &Sessions{
		o: o, node: o.Broker.Node(), local: router.NewRegistry(), loaded: make(chan struct{}),
		remotes: make(map[string]*remote), away: make(map[jid.JID][]*remote), peers: make(map[string]*peer),
		users: make(map[jid.JID][]router.Session), claims: make(map[string]*claim), numbers: make(map[uint64]*claim),
		loans: make(map[string]*loan), handed: make(map[string]handed), forwards: make(map[uint64]*remote),
		wake: make(chan struct{}, 1), settled: make(chan struct{}), greeting: make(chan struct{}, greetings),
	}
	r.life, r.end = context.WithCancel(context.Background())
	return r
}

// Open begins to share sessions: it opens the bucket, making it if need be,
// answers other processes, and waits until all sessions are known. ctx bounds the
// opening only.
func (r *Sessions) Open(ctx context.Context) error {
	if err := r.openBucket(ctx); err != nil {
		return err
	}
	for subject, f := range map[string]func(context.Context, []byte) []byte{
		askSubject(r.node): r.answer, proveSubject(r.node): r.answer,
	} {
		stop, err := r.o.Broker.Answer(subject, f)
		if err != nil {
			return errors.Join(fmt.Errorf("sessions: %w", err), r.Close(ctx))
		}
		r.stop = append(r.stop, stop)
	}
	if r.o.Members != nil {
		r.meetMembers() // before their sessions
		r.start(r.followMembers)
		r.start(r.reaper)
	}
	r.start(r.watch)
	for range writers {
		r.start(r.writer)
	}
	select {
	case <-r.loaded:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("sessions: read bucket: %w", ctx.Err()), r.Close(ctx))
	}
}

// start runs f until Close, which waits for it. It returns false after that.
func (r *Sessions) start(f func(ctx context.Context)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.work.Go(func() { f(r.life) })
	return true
}

// unlock releases mu and tells what has changed since it was taken.
func (r *Sessions) unlock() {
	all := r.news
	r.news = nil
	r.mu.Unlock()
	for _, n := range all {
		r.tell(n)
	}
}

// Close takes this process's entries out of the bucket, those of sessions that
// are still bound too, and ends sharing. ctx bounds the first: where the broker is
// away the entries stay until others remove them.
func (r *Sessions) Close(ctx context.Context) error {
	for _, stop := range r.stop {
		stop()
	}
	r.mu.Lock()
	again := r.closed
	r.closed = true
	for _, c := range r.claims {
		r.release(c)
	}
	r.mu.Unlock()
	var err error
	if !again && r.stop != nil {
		err = r.flush(ctx)
	}
	r.end()
	r.work.Wait()
	return err
}

// flush waits until all entries are written or removed.
func (r *Sessions) flush(ctx context.Context) error {
	for {
		r.mu.Lock()
		left, next := len(r.pending)+r.writing, r.settled
		r.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-next:
		case <-r.life.Done():
			return nil
		case <-ctx.Done():
			return fmt.Errorf("sessions: %d entries are left behind: %w", left, ctx.Err())
		}
	}
}

// Bind adds s. A session that had its full JID, here or elsewhere, is replaced and
// returned. With that many sessions of the account already there, those elsewhere
// included as far as they are known, it returns ErrTooManySessions.
func (r *Sessions) Bind(s router.Session, most int) (replaced router.Session, err error) {
	full := s.JID()
	bare, key := full.Bare(), sessionKey(full)
	r.mu.Lock()
	defer r.mu.Unlock()
	others := 0
	for _, m := range r.away[bare] {
		if m.key != key && r.counts(m) {
			others++
		}
	}
	if replaced, err = r.local.Bind(s, most-others); err != nil {
		return nil, err
	}
	since := time.Now().UnixNano()
	if twin := r.remotes[key]; twin != nil {
		since = max(since, twin.binding.since+1)
		if replaced == nil && r.counts(twin) {
			replaced = twin
		}
	}
	r.claim(key, s, since)
	r.merge(bare)
	return replaced, nil
}

// Unbind removes s if it is still the one bound, and says whether it was.
func (r *Sessions) Unbind(s router.Session) bool {
	key := sessionKey(s.JID())
	r.mu.Lock()
	defer r.unlock()
	if !r.local.Unbind(s) {
		return false
	}
	if c := r.claims[key]; c != nil {
		r.release(c)
	}
	r.uncover(key)
	r.merge(s.JID().Bare())
	return true
}

// uncover has the session of another node count that has the full JID of one that
// was bound here. r.mu is held.
func (r *Sessions) uncover(key string) {
	if twin := r.remotes[key]; twin != nil {
		r.shifted(twin, nothing, moved)
	}
}

// Changed has the entry of s written anew if it is not what Priority returns.
func (r *Sessions) Changed(s router.Session) {
	key := sessionKey(s.JID())
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.claims[key]; c != nil && c.session == s {
		r.queue(c)
	}
}

// Session finds a full JID; nil if it is not bound.
func (r *Sessions) Session(full jid.JID) router.Session {
	for _, s := range r.Sessions(full.Bare()) {
		if s.JID() == full {
			return s
		}
	}
	return nil
}

// Sessions are those of a bare JID, oldest first. The slice is not changed any
// more and must not be by the caller.
func (r *Sessions) Sessions(bare jid.JID) []router.Session {
	r.mu.RLock()
	all, ok := r.users[bare]
	r.mu.RUnlock()
	if ok {
		return all
	}
	return r.local.Sessions(bare)
}

// All are the sessions of this process, in no order.
func (r *Sessions) All() []router.Session { return r.local.All() }

// merge makes users of bare anew. r.mu is held.
func (r *Sessions) merge(bare jid.JID) {
	type placed struct {
		binding binding
		session router.Session
	}
	var all []placed
	for _, m := range r.away[bare] {
		if r.counts(m) {
			all = append(all, placed{m.binding, m})
		}
	}
	if len(all) == 0 {
		delete(r.users, bare)
		return
	}
	for _, s := range r.local.Sessions(bare) {
		if c := r.claims[sessionKey(s.JID())]; c != nil {
			all = append(all, placed{c.binding, s})
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		if a.binding.after(b.binding) {
			return 1
		}
		return -1
	})
	sessions := make([]router.Session, len(all))
	for i, p := range all {
		sessions[i] = p.session
	}
	r.users[bare] = sessions
}
