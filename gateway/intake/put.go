package intake

import (
	"context"
	"errors"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// Put stores the message for each recipient in one atomic step. The message is
// parsed before, so that one which could not be converted is refused while its
// sender is still there to be told.
func (in *Intake) Put(ctx context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	id, err := in.put(ctx, env, raw)
	var refusal *mcmt.Refusal
	switch {
	case err == nil:
	case errors.As(err, &refusal) && !refusal.Temporary():
		in.refused.Add(1)
	default:
		in.deferred.Add(1)
	}
	return id, err
}

// submission is a message on its way into custody.
type submission struct {
	id    mcmt.ID
	env   mcmt.Envelope
	to    []target
	raw   []byte
	msg   *mcmt.Message // raw, as conversion will read it
	start time.Time
	same  identity
}

// target is a recipient and where it leads.
type target struct {
	mcmt.Recipient
	jid jid.JID // zero: it is an address of mail
}

// leads is where.
func (t target) leads() string {
	return custody.Record{To: t.Recipient, JID: t.jid}.Recipient()
}

func (in *Intake) put(ctx context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	sub := submission{env: env, raw: raw, start: time.Now()}
	if env.Received.IsZero() {
		sub.env.Received = sub.start
	}
	sub.id = mcmt.NewID(sub.env.Received)
	var err error
	if sub.msg, err = in.check(env, raw); err != nil {
		return "", err
	}
	if sub.to, err = in.targets(ctx, env); err != nil {
		return "", err
	}
	sub.same = in.identify(sub, sub.msg)
	if env.IdempotencyKey != "" {
		return in.once(ctx, sub)
	}
	if sub.same != "" && env.Confirms {
		return in.again(ctx, sub)
	}
	if err := in.store(ctx, sub); err != nil {
		return "", err
	}
	return sub.id, nil
}

// targets finds the JID of each recipient. One that several lead to gets the
// message once, by the first of them: a second copy would bear the same stanza id.
func (in *Intake) targets(ctx context.Context, env mcmt.Envelope) ([]target, error) {
	to := env.To
	if len(to) == 0 {
		return nil, refuse(554, [3]int{5, 5, 1}, 422, "there are no recipients", nil)
	}
	all := make([]target, 0, len(to))
	var seen map[string]bool
	if len(to) > 1 {
		seen = make(map[string]bool, len(to))
	}
	for _, rcpt := range to {
		j, err := in.resolve(ctx, env, rcpt.Address)
		if err != nil {
			return nil, err
		}
		next := target{rcpt, j}
		if len(to) > 1 {
			if leads := next.leads(); seen[leads] {
				continue
			} else {
				seen[leads] = true
			}
		}
		all = append(all, next)
	}
	return all, nil
}

// check refuses what the listener's mcmt_reception or the MIME rules forbid.
func (in *Intake) check(env mcmt.Envelope, raw []byte) (*mcmt.Message, error) {
	if env.Reception == mcmt.Allow {
		if p := env.Parsed; p != nil && len(raw) > 0 && len(p.Raw) == len(raw) && &p.Raw[0] == &raw[0] {
			return p, nil
		}
		return mcmt.Parse(raw, in.o.Limits)
	}
	// As though MCMT were unknown: what is wrong with it as such does not matter,
	// and where it is rejected it is so for what it is.
	msg, err := mcmt.ParseMail(raw, in.o.Limits)
	if err == nil && env.Reception == mcmt.Reject && isMCMT(msg) {
		return nil, refuse(554, [3]int{5, 7, 1}, 403, "multi-channel messages are not accepted here", nil)
	}
	return msg, err
}

// isMCMT reads the type of a message that was parsed as ordinary mail.
func isMCMT(m *mcmt.Message) bool {
	kind := m.Header.Get("Content-Type")
	if i := strings.IndexAny(kind, "; \t"); i >= 0 {
		kind = kind[:i]
	}
	return strings.EqualFold(kind, mcmt.Type)
}

// store puts the message into custody for all recipients or none.
func (in *Intake) store(ctx context.Context, sub submission) error {
	msgs := make([]broker.Message, len(sub.to))
	recs := make([]custody.Record, len(sub.to))
	for i, to := range sub.to {
		recs[i] = in.record(sub, to)
		msg, err := custody.Ingest(recs[i], i, sub.raw)
		if err != nil {
			return err
		}
		msgs[i] = msg
		in.emit(trace.Accepted, sub, recs[i], msg.Recipient)
	}
	if len(recs) == 1 && sub.msg != nil {
		in.o.Parsed.Keep(recs[0].Parsing(), sub.msg.Raw, sub.msg)
	}
	err := in.o.Broker.Store(ctx, msgs...)
	switch {
	case errors.Is(err, broker.ErrFull):
		return refuse(452, [3]int{4, 3, 1}, 503, "no room for the message now", err)
	case errors.Is(err, broker.ErrInvalid):
		return refuse(554, [3]int{5, 3, 0}, 422, "the message cannot be stored", err)
	case err != nil:
		return refuse(451, [3]int{4, 3, 0}, 503, "the message cannot be stored now", err)
	}
	in.stored.Add(uint64(len(msgs)))
	for i, rec := range recs {
		in.emit(trace.Stored, sub, rec, msgs[i].Recipient)
	}
	return nil
}

// record is what is known of the message for one recipient.
func (in *Intake) record(sub submission, to target) custody.Record {
	env := sub.env
	rec := custody.Record{
		ID: sub.id, From: env.From, To: to.Recipient, Reception: env.Reception,
		Listener: env.Listener, User: env.User, Trusted: env.Trusted,
		EnvelopeID: env.EnvelopeID, Return: env.Return, Accepted: env.Received, Same: string(sub.same),
		PartFrom: in.partFrom(env),
		Steps:    custody.Begun(env.Received, in.o.Node),
		JID:      to.jid,
	}
	if len(sub.to) > 1 {
		rec.Of = len(sub.to)
	}
	if env.Peer.IsValid() {
		rec.Peer = env.Peer.String()
	}
	return rec
}

func (in *Intake) partFrom(env mcmt.Envelope) bool {
	return in.o.PartFrom != nil && in.o.PartFrom(env)
}

func (in *Intake) emit(stage trace.Stage, sub submission, r custody.Record, to string) {
	in.o.Trace.Emit(trace.Event{
		Stage: stage, ID: string(r.ID), Listener: r.Listener, Peer: r.Peer, From: r.From,
		To: r.To.Address, JID: to, Size: len(sub.raw), Took: time.Since(sub.start), Since: time.Since(r.Accepted),
	})
}
