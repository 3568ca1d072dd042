package delivery

import (
	"context"
	"fmt"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// Hooks are what an operator's scripts decide at delivery. A *policy.Policy is them.
type Hooks interface {
	Has(h policy.Hook) bool
	BeforeSend(ctx context.Context, m *policy.Message, st *stanza.Stanza) (policy.Decision, error)
	OnFailure(ctx context.Context, m *policy.Message, st *stanza.Stanza, reason string) (policy.Decision, error)
}

// maxReroutes is how often scripts can send one message elsewhere: two that send it to
// each other's recipient come to an end.
const maxReroutes = 4

// hooks are those that hold now, nil where a message is not for them: one of a Jabber
// user, or that a script has made.
func (dl *Delivery) hooks(rec custody.Record, h policy.Hook) Hooks {
	if dl.o.Hooks == nil || rec.Listener == keptListener || rec.Listener == policy.Listener {
		return nil
	}
	if hooks := dl.o.Hooks(); hooks != nil && hooks.Has(h) {
		return hooks
	}
	return nil
}

func asked(rec custody.Record) *policy.Message {
	return &policy.Message{ID: string(rec.ID), From: rec.From, To: rec.To.Address, Received: rec.Accepted}
}

// beforeSend asks the scripts about a message that is about to be sent. end is what they
// have made of it, nil where it is sent; with an error it is not known now.
func (dl *Delivery) beforeSend(ctx context.Context, rec custody.Record, d *broker.Delivery, st *stanza.Stanza) (end func() broker.Disposition, err error) {
	hooks := dl.hooks(rec, policy.BeforeSend)
	if hooks == nil {
		return nil, nil
	}
	decision, err := hooks.BeforeSend(ctx, asked(rec), st)
	switch {
	case err != nil:
		return nil, err
	case decision.Verdict == policy.Refuse:
		reason := decision.Why() + " refuses it"
		return func() broker.Disposition { return dl.bury(ctx, rec, d, "refused: "+reason) }, nil
	case decision.Verdict == policy.Done:
		return func() broker.Disposition { return dl.filter(rec, d, decision.Why()+": has dealt with it") }, nil
	case dl.elsewhere(rec, decision):
		return func() broker.Disposition { return dl.reroute(ctx, rec, d, st, decision) }, nil
	}
	return nil, nil
}

// onFailure asks the scripts about a message that does not arrive, before anybody hears
// of it; false: it is as it is.
func (dl *Delivery) onFailure(ctx context.Context, rec custody.Record, d *broker.Delivery, reason string) (_ broker.Disposition, handled bool) {
	hooks := dl.hooks(rec, policy.OnFailure)
	if hooks == nil {
		return broker.Disposition{}, false
	}
	st, err := parse(d, rec)
	if err != nil {
		return broker.Disposition{}, false
	}
	decision, err := hooks.OnFailure(ctx, asked(rec), st, reason)
	switch {
	case err != nil:
		return broker.Retry(0).Because(err), true
	case decision.Verdict == policy.Done:
		return dl.filter(rec, d, decision.Why()+": has dealt with it"), true
	case dl.elsewhere(rec, decision):
		return dl.reroute(ctx, rec, d, st, decision), true
	}
	return broker.Disposition{}, false
}

// elsewhere says whether a script has chosen another recipient than the message has.
func (dl *Delivery) elsewhere(rec custody.Record, decision policy.Decision) bool {
	if decision.Recipient == "" {
		return false
	}
	j, err := dl.o.Resolve(decision.Recipient)
	return err != nil || j.IsZero() || j.Bare() != rec.JID.Bare()
}

// reroute sends a message to the recipient that a script has chosen. For the journal it
// stays the message for its first one.
func (dl *Delivery) reroute(ctx context.Context, rec custody.Record, d *broker.Delivery, st *stanza.Stanza, decision policy.Decision) broker.Disposition {
	rec.Steps = rec.Steps.With(custody.Step{At: time.Now(), Kind: custody.StepRerouted, Node: dl.o.Node, Name: decision.Why(), Route: decision.Recipient})
	msg, err := dl.rerouted(rec, d, st, decision.Recipient)
	if err != nil {
		return dl.giveUp(ctx, rec, d, custody.Failed, fmt.Sprintf("not rerouted: %s: %s", decision.Why(), err), err)
	}
	dl.trace.Emit(event(trace.Filtered, rec, trace.Event{Filter: decision.Why(), Verdict: "reroute", Reason: "to " + decision.Recipient, Attempt: d.Attempt}))
	return broker.Move(msg)
}

func (dl *Delivery) rerouted(rec custody.Record, d *broker.Delivery, st *stanza.Stanza, to string) (broker.Message, error) {
	if rec.Rerouted++; rec.Rerouted > maxReroutes {
		return broker.Message{}, fmt.Errorf("sent elsewhere %d times already", maxReroutes)
	}
	j, err := dl.o.Resolve(to)
	if err != nil {
		return broker.Message{}, err
	}
	rec.Origin, rec.To.Address = rec.Name(), to
	rec.Parked, rec.Reason, rec.Source = time.Time{}, "", 0
	src := fmt.Sprintf("%s.r%d", d.ID, rec.Rerouted)
	if j.IsZero() {
		rec.Part = "email"
		if rec.Stanza > 0 && rec.Stanza <= len(d.Body) {
			return custody.Mail(rec, src, d.Body[rec.Stanza:])
		}
		rec.Part = "xmpp" // what it says becomes mail
		return custody.Mail(rec, src, st.Append(nil, ""))
	}
	st = st.Clone()
	st.To, rec.JID = j, j
	body := st.Append(nil, "")
	if rec.Stanza > 0 && rec.Stanza <= len(d.Body) {
		email := d.Body[rec.Stanza:]
		rec.Stanza = len(body)
		body = append(body, email...)
	}
	return custody.Deliver(rec, src, body)
}

// nowhere is a Resolve that knows JIDs only.
func nowhere(address string) (jid.JID, error) { return jid.Parse(address) }
