// Package intake takes custody: it decides whether a sender, a recipient and a
// message are acceptable, and answers only when the broker has stored the
// message for every recipient. It is the mcmt.Sink of all listeners.
//
//	intake.go  what an Intake is made of
//	admit.go   senders and recipients
//	put.go     messages, into custody
//	once.go    the Idempotency-Key
//	repeat.go  the same message again
//	unseen.go  answers that a client may not have seen
package intake

import (
	"context"
	"sync/atomic"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// Broker is what intake needs of the broker.
type Broker interface {
	// Store returns after all messages, or none, are stored.
	Store(ctx context.Context, msgs ...broker.Message) error
}

// Accounts says who has an account on a domain of ours.
type Accounts interface {
	Exists(ctx context.Context, user jid.JID) (bool, error)
}

// Submissions remembers the Idempotency-Key of each submission.
type Submissions interface {
	// Begin records s under key, or returns what was recorded before and false.
	Begin(ctx context.Context, key string, s store.Submission) (store.Submission, bool, error)
	// Done marks the submission under key as stored.
	Done(ctx context.Context, key string, s store.Submission) error
}

// Options of an Intake. Broker, Accounts, Converter and Role are required.
type Options struct {
	Broker      Broker
	Accounts    Accounts
	Submissions Submissions // nil: an Idempotency-Key is refused
	// Converter returns the address rules that hold now, and Role the xmpp_role
	// of a domain; they change on reload.
	Converter func() *convert.Converter
	Role      func(domain string) convert.Role
	// Reachable says whether stanzas may leave for a domain that is not ours.
	// nil: none can.
	Reachable func(domain string) bool
	// Relays says whether anybody may send mail to a domain (relay_domains). Who is
	// trusted may to all. Nil: nobody else may.
	Relays func(domain string) bool
	// PartFrom says whether a peer may set the XMPP part's own from
	// (xmpp_part_from = "keep"). nil: none may.
	PartFrom func(env mcmt.Envelope) bool
	Limits   mcmt.Limits
	Parsed   *custody.Parsed // hands messages on to the conversion of this process
	Trace    *trace.Bus
	Log      zerolog.Logger // of what the answer to the peer does not tell
}

// Intake is an mcmt.Sink. It is safe for concurrent use.
type Intake struct {
	o       Options
	keys    keys
	repeats keys // by identity
	unseen  unseen

	stored, repeated, refused, deferred atomic.Uint64
}

// Stats are counts since the start.
type Stats struct {
	Stored   uint64 // messages in custody, one per JID
	Repeated uint64 // messages that were in custody already, one per JID
	Refused  uint64 // messages refused for good
	TryLater uint64 // messages refused for now
}

// New returns an Intake.
func New(o Options) *Intake { return &Intake{o: o} }

// Stats returns the counts since the start.
func (in *Intake) Stats() Stats {
	return Stats{Stored: in.stored.Load(), Repeated: in.repeated.Load(), Refused: in.refused.Load(), TryLater: in.deferred.Load()}
}

// refuse makes an answer for a peer: SMTP reply code, enhanced code (RFC 3463) and
// HTTP status that mean the same. err is for the log.
func refuse(code int, enhanced [3]int, status int, text string, err error) *mcmt.Refusal {
	return &mcmt.Refusal{Code: code, Enhanced: enhanced, Status: status, Text: text, Err: err}
}
