package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
)

// diverts says whether the e-mail of a message goes out when the message does not
// arrive: it came with one, for a mail address, and its domain wants that.
func (dl *Delivery) diverts(rec custody.Record) bool {
	return dl.stage == broker.Deliver && rec.Stanza > 0 && strings.Contains(rec.To.Address, "@") && dl.o.Outgoing(rec.Domain()).Fallback
}

// divert sends the e-mail of a message instead of its stanza. That is decided by the
// record that the journal has of it: from then on the stanza is not sent any more,
// whatever process dies, and the e-mail is put among the mail once. unsure says that it
// was decided before, and perhaps done.
//
// A client that had the stanza without a proof, and proves it after the decision, has
// both: nobody can know before.
func (dl *Delivery) divert(ctx context.Context, rec custody.Record, d *broker.Delivery, reason string, unsure bool) broker.Disposition {
	rt := dl.current(d.Route)
	switch {
	case unsure || rt.diverted[d.ID]:
		done, err := dl.amongMail(ctx, rec)
		if err != nil {
			dl.log.Warn().Err(err).Str("id", string(rec.ID)).Msg("not known whether its e-mail went out, trying again")
			return broker.Retry(0).Because(err)
		}
		if done {
			return broker.Ack()
		}
	default:
		out := dl.outcome(rec, d, custody.Diverted)
		out.Why = reason
		if err := dl.broker.Record(ctx, journal(out)); err != nil {
			dl.log.Warn().Err(err).Str("id", string(rec.ID)).Msg("e-mail not sent instead yet, trying again")
			return broker.Retry(0).Because(err)
		}
		dl.fellBack.Add(1)
		dl.trace.Emit(event(trace.Diverted, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
	}
	if reason != "" {
		rec.Steps = rec.Steps.With(custody.Step{At: time.Now(), Kind: custody.StepDiverted, Node: dl.o.Node, Answer: reason})
	}
	msg, err := dl.instead(rec, d)
	if err != nil {
		return dl.bury(ctx, rec, d, "unreadable: "+err.Error())
	}
	if rt.diverted == nil {
		rt.diverted = make(map[string]bool)
	}
	rt.diverted[d.ID] = true
	return broker.Move(msg)
}

// late is a message that cannot be sent now, and whose e-mail is due.
func (dl *Delivery) late(ctx context.Context, d *broker.Delivery, now time.Time, why error) (outgoing, error) {
	rec, err := dl.record(d)
	if err != nil || !dl.diverts(rec) || now.Before(dl.deadline(rec)) {
		return outgoing{}, why
	}
	return outgoing{rec: rec, end: func() broker.Disposition { return dl.divert(ctx, rec, d, why.Error(), false) }}, nil
}

// instead is the e-mail of a message, as mail.
func (dl *Delivery) instead(rec custody.Record, d *broker.Delivery) (broker.Message, error) {
	if rec.Stanza > len(d.Body) {
		return broker.Message{}, errors.New("the body is shorter than its stanza")
	}
	mail := rec
	mail.Origin, mail.Part, mail.Source, mail.Parked, mail.Reason = rec.Name(), "email", 0, time.Time{}, ""
	return custody.Mail(mail, d.ID, d.Body[rec.Stanza:])
}

// amongMail says whether the e-mail of a message whose way was decided is among the
// mail, or has been. It is looked for there first: its end is recorded before it leaves.
func (dl *Delivery) amongMail(ctx context.Context, rec custody.Record) (bool, error) {
	route := custody.MailRoute(rec.To.Address)
	for _, stage := range []broker.Stage{broker.Mail, broker.Park, broker.Mail} { // it may be on its way from one to the other
		there, err := dl.holds(ctx, stage, route, rec)
		if there || err != nil {
			return there, err
		}
	}
	found, err := dl.broker.Records(ctx, string(rec.ID), rec.Name(), rec.Accepted.Add(-skew), 16)
	if err != nil {
		return false, fmt.Errorf("journal: %w", err)
	}
	if len(found) == 0 {
		return false, nil
	}
	out, err := custody.DecodeOutcome(found[len(found)-1].Data)
	return err == nil && out.End != custody.Diverted, nil
}

// holds says whether a stage has the e-mail of a message.
func (dl *Delivery) holds(ctx context.Context, stage broker.Stage, route string, rec custody.Record) (bool, error) {
	const page = 256
	for from := uint64(0); ; {
		found, next, err := dl.broker.Peek(ctx, stage, route, from, page)
		if err != nil {
			return false, fmt.Errorf("look for mail: %w", err)
		}
		if slices.ContainsFunc(found, func(p broker.Peeked) bool {
			r, err := custody.Read(&p.Delivery)
			return err == nil && r.ID == rec.ID && r.Origin == rec.Name()
		}) {
			return true, nil
		}
		if from = next; next == 0 {
			return false, nil
		}
	}
}

// current is a route that the caller has locked.
func (dl *Delivery) current(name string) *route {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	return dl.routes[name]
}
