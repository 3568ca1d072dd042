package delivery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/stanza"
)

// settled is the disposition of a message that has ended, with its record for
// the journal, which keeps one for each message and recipient.
func settled(d broker.Disposition, o custody.Outcome) broker.Disposition {
	r := journal(o)
	return d.Recorded(r.ID, r.Recipient, r.Data)
}

// journal is the record of a message that ends now, or begins to wait.
func journal(o custody.Outcome) broker.Record {
	o.Ended = time.Now().UTC()
	return broker.Record{ID: o.Key(), Recipient: o.Name(), Data: o.Encode(), At: o.Ended}
}

// outcome is how a message ends, for its record.
func (dl *Delivery) outcome(rec custody.Record, d *broker.Delivery, end custody.End) custody.Outcome {
	return custody.Outcome{Record: rec, End: end, Attempts: d.Attempt, Node: dl.o.Node}
}

// arrived ends a message that is proven to have reached a client. via is to where it was sent.
func (dl *Delivery) arrived(ctx context.Context, rec custody.Record, d *broker.Delivery, proof, via string, took time.Duration) broker.Disposition {
	if dl.comesBack(rec) {
		if why := dl.o.Receipts.Taken(custody.Letter{Record: rec, Key: d.ID}); why != nil {
			return dl.refused(ctx, rec, d, nil, why)
		}
	}
	dl.delivered.Add(1)
	dl.trace.Emit(event(trace.Delivered, rec, trace.Event{Proof: proof, Took: took, Attempt: d.Attempt}))
	end := broker.Ack()
	if rec.Wants("SUCCESS") && dl.first(ctx, rec, d) {
		reports, _ := dl.report(ctx, rec, d, custody.Ending{End: custody.Delivered, Proof: proof})
		rec.Steps = rec.Steps.With(reported(rec.From, custody.Delivered, dl.o.Node, reports)...)
		end = broker.Move(reports...)
	}
	out := dl.outcome(rec, d, custody.Delivered)
	out.Proof, out.Via = proof, via
	return settled(end, out)
}

// SentBack ends a message anew that another server had taken: its author is told, and the
// record of its delivery gives way to that of its failure. It is not among the dead, as it
// is not kept any more.
func (dl *Delivery) SentBack(ctx context.Context, l custody.Letter, why *stanza.Error) error {
	now := time.Now()
	l.Steps = l.Steps.With(custody.Step{At: now, Kind: custody.StepAttempt, Node: dl.o.Node, Route: l.Domain(), Answer: "taken, and sent back: " + why.Error()})
	if dl.o.Reporter != nil {
		reports, _ := dl.o.Reporter.Report(ctx, l, custody.Ending{End: custody.Failed, Err: why})
		if len(reports) > 0 {
			if err := dl.broker.Store(ctx, reports...); err != nil {
				return fmt.Errorf("sent back: report: %w", err)
			}
			l.Steps = l.Steps.With(reported(l.From, custody.Failed, dl.o.Node, reports)...)
		}
	}
	reason := "sent back: " + why.Error()
	dl.failed.Add(1)
	dl.trace.Emit(event(trace.Failed, l.Record, trace.Event{Reason: reason}))
	out := custody.Outcome{Record: l.Record, End: custody.Failed, Why: reason, Node: dl.o.Node}
	if err := dl.broker.Record(ctx, journal(out)); err != nil {
		return fmt.Errorf("sent back: %w", err)
	}
	return nil
}

// first says whether the author of a message is to be told that it has arrived, as its
// recipient's client has not done already. That another server has it, he hears besides.
func (dl *Delivery) first(ctx context.Context, rec custody.Record, d *broker.Delivery) bool {
	if dl.o.Receipts == nil || !dl.serves(rec.Domain()) {
		return true
	}
	first, err := dl.o.Receipts.Settle(ctx, custody.Letter{Record: rec, Key: d.ID})
	if err != nil {
		dl.log.Warn().Err(err).Str("id", string(rec.ID)).Msg("not known whether its author was told, he is again")
		return true
	}
	return first
}

// comesBack says whether an error of another server is for us to tell: who wrote in Jabber
// gets it himself.
func (dl *Delivery) comesBack(rec custody.Record) bool {
	return dl.o.Receipts != nil && rec.Listener != keptListener && !dl.serves(rec.Domain())
}

// reported are the steps of telling an author how a message has ended.
func reported(author string, end custody.End, node string, reports []broker.Message) (steps []custody.Step) {
	now := time.Now()
	for _, m := range reports {
		steps = append(steps, custody.Step{At: now, Kind: custody.StepReported, Node: node, Verdict: string(end), Name: custody.IDOf(m), Route: author, Answer: "a delivery status notification"})
	}
	return steps
}

// report is what tells the author of a message how it has ended.
func (dl *Delivery) report(ctx context.Context, rec custody.Record, d *broker.Delivery, e custody.Ending) (reports []broker.Message, told bool) {
	if dl.o.Reporter == nil {
		return nil, false
	}
	return dl.o.Reporter.Report(ctx, custody.Letter{Record: rec, Key: d.ID, Body: d.Body}, e)
}

// bury gives a message up. What stands before the colon of the reason names its
// kind among the dead messages.
func (dl *Delivery) bury(ctx context.Context, rec custody.Record, d *broker.Delivery, reason string) broker.Disposition {
	return dl.giveUp(ctx, Known(rec, d), d, custody.Failed, reason, errors.New(reason))
}

// giveUp ends a message that does not arrive, when its author was told. It is among the
// dead then, unless he has it: who wrote in Jabber.
func (dl *Delivery) giveUp(ctx context.Context, rec custody.Record, d *broker.Delivery, end custody.End, reason string, err error) broker.Disposition {
	reports, told := dl.report(ctx, rec, d, custody.Ending{End: end, Err: err})
	if len(reports) > 0 {
		if err := dl.broker.Store(ctx, reports...); err != nil {
			dl.log.Warn().Err(err).Str("id", string(rec.ID)).Msg("author not told yet, trying again")
			return broker.Retry(0).Because(err)
		}
	}
	rec.Steps = rec.Steps.With(reported(rec.From, end, dl.o.Node, reports)...)
	if told {
		return dl.returned(rec, d, end, reason)
	}
	return settled(broker.Term(reason), dl.lost(rec, d, end, reason))
}

// lost tells of a message that does not arrive and counts it, and returns its outcome.
func (dl *Delivery) lost(rec custody.Record, d *broker.Delivery, end custody.End, reason string) custody.Outcome {
	stage, count := trace.Failed, &dl.failed
	if end == custody.Expired {
		stage, count = trace.Expired, &dl.expired
	}
	count.Add(1)
	dl.trace.Emit(event(stage, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
	out := dl.outcome(rec, d, end)
	out.Why = reason
	return out
}

// refused ends a message that the router has refused for good: its e-mail goes out
// instead, or its author hears of it.
func (dl *Delivery) refused(ctx context.Context, rec custody.Record, d *broker.Delivery, st *stanza.Stanza, why *stanza.Error) broker.Disposition {
	reason := "refused: " + why.Error()
	if out, handled := dl.onFailure(ctx, rec, d, reason); handled {
		return out
	}
	if dl.diverts(rec) {
		return dl.divert(ctx, rec, d, reason, false)
	}
	if dl.tell(ctx, rec, st, why) {
		return dl.returned(rec, d, custody.Failed, reason)
	}
	return dl.giveUp(ctx, rec, d, custody.Failed, reason, why)
}

// tell tells the Jabber user who wrote a message that was kept for its recipient that it
// does not arrive (RFC 6120 §10.4), and says whether he was to be told. Who sent mail is
// not told by Jabber.
func (dl *Delivery) tell(ctx context.Context, rec custody.Record, st *stanza.Stanza, why *stanza.Error) bool {
	if rec.Listener != keptListener {
		return false
	}
	answer := st.ErrorReply(why)
	if answer == nil {
		return false
	}
	_ = dl.router.Forward(ctx, answer) // he may be gone
	return true
}

// returned ends a message whose author has been told that it does not arrive: he has it,
// and it is not among the dead.
func (dl *Delivery) returned(rec custody.Record, d *broker.Delivery, end custody.End, reason string) broker.Disposition {
	author := cmp.Or(rec.Author, rec.From)
	rec.Steps = rec.Steps.With(custody.Step{At: time.Now(), Kind: custody.StepReported, Node: dl.o.Node, Verdict: string(end), Route: author, Answer: "a stanza error"})
	return settled(broker.Ack(), dl.lost(rec, d, end, reason))
}

// outlived is the reason to give a message up for its age, empty where there is
// none.
func (dl *Delivery) outlived(rec custody.Record, now time.Time) string {
	after := dl.o.Outgoing(rec.Domain()).Expiration
	if now.Before(rec.Expires(after)) {
		return ""
	}
	reason := "expired: on its way for more than " + after.String()
	if rec.Reason != "" {
		reason += ": " + rec.Reason
	}
	return reason
}

// expire gives a message up that has outlived its time.
func (dl *Delivery) expire(ctx context.Context, rec custody.Record, d *broker.Delivery, reason string) broker.Disposition {
	if out, handled := dl.onFailure(ctx, rec, d, reason); handled {
		return out
	}
	if dl.diverts(rec) {
		return dl.divert(ctx, rec, d, reason, false)
	}
	if rec.Listener == keptListener && dl.router != nil {
		st, err := dl.read(d, rec, time.Now())
		if err == nil && dl.tell(ctx, rec, st, &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout, Text: reason}) {
			return dl.returned(rec, d, custody.Expired, reason)
		}
	}
	return dl.giveUp(ctx, rec, d, custody.Expired, reason, errors.New(reason))
}

// deadline is when a message that waits is given up, or goes out as mail instead.
func (dl *Delivery) deadline(rec custody.Record) time.Time {
	out := dl.o.Outgoing(rec.Domain())
	at := rec.Expires(out.Expiration)
	if f := rec.Expires(out.FallbackAfter); dl.diverts(rec) && f.Before(at) {
		return f
	}
	return at
}

// overdue ends a message of somebody absent whose time is over.
func (dl *Delivery) overdue(ctx context.Context, rec custody.Record, d *broker.Delivery, now time.Time) (_ broker.Disposition, over bool) {
	if now.Before(dl.deadline(rec)) {
		return broker.Disposition{}, false
	}
	switch dl.endedBefore(ctx, d, rec) {
	case "":
	case custody.Diverted:
		return dl.divert(ctx, rec, d, "", true), true
	default:
		return broker.Ack(), true
	}
	if reason := dl.outlived(rec, now); reason != "" {
		return dl.expire(ctx, rec, d, reason), true
	}
	reason := "not delivered within " + dl.o.Outgoing(rec.Domain()).FallbackAfter.String()
	if rec.Reason != "" {
		reason += ": " + rec.Reason
	}
	return dl.divert(ctx, rec, d, reason, false), true
}

// mustNotWait asks the filter about a message that is to be parked. What cannot be
// read is for those to refuse who read it next.
func (dl *Delivery) mustNotWait(ctx context.Context, d *broker.Delivery, rec custody.Record) (why string) {
	if dl.o.Filter == nil {
		return ""
	}
	st, err := parse(d, rec)
	if err != nil {
		return ""
	}
	return dl.o.Filter(ctx, rec, st)
}

// filter ends a message that must not wait.
func (dl *Delivery) filter(rec custody.Record, d *broker.Delivery, why string) broker.Disposition {
	dl.filtered.Add(1)
	name, reason, _ := strings.Cut(why, ": ")
	dl.trace.Emit(event(trace.Filtered, rec, trace.Event{Filter: name, Verdict: filters.Drop.String(), Reason: reason, Attempt: d.Attempt}))
	return settled(broker.Ack(), custody.Outcome{Record: rec, End: custody.Filtered, Why: why, Attempts: d.Attempt, Node: dl.o.Node})
}
