package delivery

import (
	"context"
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

// journal is the record of a message that ends now.
func journal(o custody.Outcome) broker.Record {
	o.Ended = time.Now().UTC()
	return broker.Record{ID: string(o.ID), Recipient: o.JID.String(), Data: o.Encode(), At: o.Ended}
}

// arrived ends a message that is proven to have reached a client.
func (dl *Delivery) arrived(rec custody.Record, proof string, attempt int, took time.Duration) broker.Disposition {
	dl.delivered.Add(1)
	dl.trace.Emit(event(trace.Delivered, rec, trace.Event{Proof: proof, Took: took, Attempt: attempt}))
	return settled(broker.Ack(), custody.Outcome{Record: rec, End: custody.Delivered, Proof: proof, Attempts: attempt, Node: dl.o.Node})
}

// bury gives a message up. What stands before the colon of the reason names its
// kind among the dead messages.
func (dl *Delivery) bury(rec custody.Record, d *broker.Delivery, reason string) broker.Disposition {
	rec = known(rec, d)
	dl.failed.Add(1)
	dl.trace.Emit(event(trace.Failed, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
	return settled(broker.Term(reason), custody.Outcome{Record: rec, End: custody.Failed, Why: reason, Attempts: d.Attempt, Node: dl.o.Node})
}

// tell tells the Jabber user who wrote a message that was kept for its recipient that it
// does not arrive (RFC 6120 §10.4), and says whether he was to be told. Who sent mail is
// not told by Jabber.
func (dl *Delivery) tell(ctx context.Context, rec custody.Record, st *stanza.Stanza, why *stanza.Error) bool {
	answer := st.ErrorReply(why)
	if rec.Listener != keptListener || answer == nil {
		return false
	}
	_ = dl.router.Forward(ctx, answer) // he may be gone
	return true
}

// returned ends a message whose author has been told that it does not arrive: he has it,
// and it is not among the dead.
func (dl *Delivery) returned(rec custody.Record, d *broker.Delivery, end custody.End, reason string) broker.Disposition {
	return settled(broker.Ack(), custody.Outcome{Record: rec, End: end, Why: reason, Attempts: d.Attempt, Node: dl.o.Node})
}

// outlived is the reason to give a message up for its age, empty where there is
// none.
func (dl *Delivery) outlived(rec custody.Record, now time.Time) string {
	after := dl.o.Outgoing(rec.JID.Domain()).Expiration
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
	dl.expired.Add(1)
	dl.trace.Emit(event(trace.Expired, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
	st, err := read(d, rec, time.Now())
	if err == nil && dl.tell(ctx, rec, st, &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout, Text: reason}) {
		return dl.returned(rec, d, custody.Expired, reason)
	}
	return settled(broker.Term(reason), custody.Outcome{Record: rec, End: custody.Expired, Why: reason, Attempts: d.Attempt, Node: dl.o.Node})
}

// mustNotWait asks the filter about a message that is to be parked. What cannot be
// read is for those to refuse who read it next.
func (dl *Delivery) mustNotWait(ctx context.Context, d *broker.Delivery, rec custody.Record) (why string) {
	if dl.o.Filter == nil {
		return ""
	}
	st, err := stanza.ParseBytes(d.Body, storedLimits(d.Body))
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
