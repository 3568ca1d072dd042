// Package intake takes custody: it decides whether a sender, a recipient and a
// message are acceptable, and answers only when the broker has stored the
// message for every recipient. It is the mcmt.Sink of all listeners.
package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

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

// Options of an Intake. Broker, Accounts and Converter are required.
type Options struct {
	Broker      Broker
	Accounts    Accounts
	Submissions Submissions // nil: an Idempotency-Key is refused
	// Converter returns the address rules that hold now, and Role the xmpp_role
	// of a domain; they change on reload.
	Converter func() *convert.Converter
	Role      func(domain string) convert.Role
	// Reachable says whether stanzas can leave for a domain that is not ours.
	// nil: none can.
	Reachable func(domain string) bool
	// PartFrom says whether a peer may set the XMPP part's own from
	// (xmpp_part_from = "keep"). nil: none may.
	PartFrom func(env mcmt.Envelope) bool
	Limits   mcmt.Limits
	Trace    *trace.Bus
}

// Intake is an mcmt.Sink. It is safe for concurrent use.
type Intake struct {
	o        Options
	stored   atomic.Uint64
	refused  atomic.Uint64
	deferred atomic.Uint64
}

// Stats are counts since the start.
type Stats struct {
	Stored   uint64 // messages in custody, one per recipient
	Refused  uint64 // messages refused for good
	TryLater uint64 // messages refused for now
}

// New returns an Intake.
func New(o Options) *Intake { return &Intake{o: o} }

// Stats returns the counts since the start.
func (in *Intake) Stats() Stats {
	return Stats{Stored: in.stored.Load(), Refused: in.refused.Load(), TryLater: in.deferred.Load()}
}

// Sender refuses a reverse-path in a domain of ours from a peer that is neither
// authenticated nor in relay_hosts: it would pass for one of our users.
func (in *Intake) Sender(_ context.Context, env mcmt.Envelope) error {
	if env.From == "" || env.Trusted {
		return nil
	}
	c := in.o.Converter()
	from, err := c.Sender(env.From)
	if err != nil {
		return refuse(553, [3]int{5, 1, 7}, 422, "sender address is not valid", err)
	}
	// Sender keeps an address only where its domain is ours.
	if from.Domain() != c.Gateway().Domain() {
		return refuse(550, [3]int{5, 7, 1}, 403, "sender domain is served here: authenticate first", nil)
	}
	return nil
}

// Recipient refuses an address that is neither in an XMPP domain nor mapped to
// one, and one on a domain of ours that has no account.
func (in *Intake) Recipient(ctx context.Context, _ mcmt.Envelope, addr string) error {
	_, err := in.resolve(ctx, addr)
	return err
}

// resolve returns the JID that addr leads to, or a *mcmt.Refusal.
func (in *Intake) resolve(ctx context.Context, addr string) (jid.JID, error) {
	to, err := in.o.Converter().Recipient(addr)
	var bad *convert.AddressError
	switch {
	case errors.As(err, &bad) && bad.Fault == convert.UnknownDomain:
		return jid.JID{}, refuse(550, [3]int{5, 1, 2}, 422, "no such domain here", err)
	case err != nil:
		return jid.JID{}, refuse(550, [3]int{5, 1, 3}, 422, "recipient address is not valid", err)
	}
	if in.o.Role(to.Domain()) == convert.Server {
		ok, err := in.o.Accounts.Exists(ctx, to.Bare())
		if err != nil {
			return jid.JID{}, refuse(451, [3]int{4, 3, 0}, 503, "accounts cannot be read now", err)
		}
		if !ok {
			return jid.JID{}, refuse(550, [3]int{5, 1, 1}, 422, "no such user here", nil)
		}
		return to, nil
	}
	if in.o.Reachable == nil || !in.o.Reachable(to.Domain()) {
		// Not a refusal for good: the domain is configured, a way to it is not there yet.
		return jid.JID{}, refuse(451, [3]int{4, 4, 4}, 503, "no route to the XMPP domain "+to.Domain(), nil)
	}
	return to, nil
}

// Put stores the message for each recipient in one atomic step. The message is
// parsed before, so that one which could not be converted is refused while its
// sender is still there to be told.
func (in *Intake) Put(ctx context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	id, err := in.put(ctx, env, raw)
	var refusal *mcmt.Refusal
	switch {
	case err == nil:
		in.stored.Add(uint64(len(env.To)))
	case errors.As(err, &refusal) && !refusal.Temporary():
		in.refused.Add(1)
	default:
		in.deferred.Add(1)
	}
	return id, err
}

func (in *Intake) put(ctx context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	start := time.Now()
	if env.Received.IsZero() {
		env.Received = start
	}
	if err := in.check(env, raw); err != nil {
		return "", err
	}
	jids := make([]jid.JID, len(env.To))
	for i, rcpt := range env.To {
		to, err := in.resolve(ctx, rcpt.Address)
		if err != nil {
			return "", err
		}
		jids[i] = to
	}

	id := mcmt.NewID(env.Received)
	if env.IdempotencyKey == "" {
		return id, in.store(ctx, id, env, jids, raw, start)
	}
	return in.once(ctx, id, env, jids, raw, start)
}

// check refuses what the listener's mcmt_reception or the MIME rules forbid.
func (in *Intake) check(env mcmt.Envelope, raw []byte) error {
	msg, err := mcmt.Parse(raw, in.o.Limits)
	if msg != nil && msg.MCMT {
		switch env.Reception {
		case mcmt.Reject:
			return refuse(554, [3]int{5, 7, 1}, 403, "multi-channel messages are not accepted here", nil)
		case mcmt.PassThrough:
			return nil // untouched, faults and all: nothing of ours takes it apart
		}
	}
	return err
}

func (in *Intake) store(ctx context.Context, id mcmt.ID, env mcmt.Envelope, jids []jid.JID, raw []byte, start time.Time) error {
	msgs := make([]broker.Message, len(jids))
	for i, to := range jids {
		rec := custody.Record{
			ID: id, From: env.From, To: env.To[i], Reception: env.Reception,
			Listener: env.Listener, User: env.User, Trusted: env.Trusted,
			EnvelopeID: env.EnvelopeID, Return: env.Return, Accepted: env.Received,
			PartFrom: in.o.PartFrom != nil && in.o.PartFrom(env),
		}
		if env.Peer.IsValid() {
			rec.Peer = env.Peer.String()
		}
		msg, err := custody.Ingest(rec, i, to, raw)
		if err != nil {
			return err
		}
		msgs[i] = msg
		in.emit(trace.Accepted, rec, to, len(raw), start)
	}
	if err := in.o.Broker.Store(ctx, msgs...); err != nil {
		if errors.Is(err, broker.ErrFull) {
			return refuse(452, [3]int{4, 3, 1}, 503, "no room for the message now", err)
		}
		return refuse(451, [3]int{4, 3, 0}, 503, "the message cannot be stored now", err)
	}
	for i, to := range jids {
		in.emit(trace.Stored, custody.Record{ID: id, From: env.From, To: env.To[i], Listener: env.Listener}, to, len(raw), start)
	}
	return nil
}

func (in *Intake) emit(stage trace.Stage, r custody.Record, to jid.JID, size int, start time.Time) {
	in.o.Trace.Emit(trace.Event{
		Stage: stage, ID: string(r.ID), Listener: r.Listener, Peer: r.Peer, From: r.From,
		To: r.To.Address, JID: to.String(), Size: size, Took: time.Since(start), Since: time.Since(start),
	})
}

// once stores a message under an Idempotency-Key. The id is recorded before the
// message is stored: a client that repeats after a crash between the two gets
// the same id, and the broker recognises a copy by it.
func (in *Intake) once(ctx context.Context, id mcmt.ID, env mcmt.Envelope, jids []jid.JID, raw []byte, start time.Time) (mcmt.ID, error) {
	if in.o.Submissions == nil {
		return "", refuse(554, [3]int{5, 3, 3}, 422, "Idempotency-Key is not kept here", nil)
	}
	key := env.User + "\x00" + env.IdempotencyKey
	want := store.Submission{ID: string(id), Digest: digest(env, raw)}
	got, first, err := in.o.Submissions.Begin(ctx, key, want)
	switch {
	case err != nil:
		return "", refuse(451, [3]int{4, 3, 0}, 503, "the message cannot be stored now", err)
	case !first && got.Digest != want.Digest:
		return "", refuse(554, [3]int{5, 6, 0}, 422, "Idempotency-Key was used for another message", nil)
	case !first && got.Done:
		return mcmt.ID(got.ID), nil
	}
	if err := in.store(ctx, mcmt.ID(got.ID), env, jids, raw, start); err != nil {
		return "", err
	}
	got.Done = true
	if err := in.o.Submissions.Done(ctx, key, got); err != nil {
		// Stored all the same: a repetition stores again under the same id.
		in.o.Trace.Emit(trace.Event{Stage: trace.Stored, ID: got.ID, Reason: fmt.Sprintf("idempotency key not marked: %v", err)})
	}
	return mcmt.ID(got.ID), nil
}

// digest tells two submissions under one key apart.
func digest(env mcmt.Envelope, raw []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", env.From)
	for _, r := range env.To {
		fmt.Fprintf(h, "%q", r.Address)
	}
	h.Write(raw)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func refuse(code int, enhanced [3]int, status int, text string, err error) *mcmt.Refusal {
	return &mcmt.Refusal{Code: code, Enhanced: enhanced, Status: status, Text: text, Err: err}
}
