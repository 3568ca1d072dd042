package delivery

import (
	"context"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// Policy is what an operator's scripts decide at conversion. What they send is in
// custody when a method returns without an error. A *policy.Policy is one.
type Policy interface {
	PreFixup(ctx context.Context, m *policy.Message) (policy.Decision, error)
	Enqueue(ctx context.Context, m *policy.Message) (policy.Decision, error)
	Fixup(ctx context.Context, m *policy.Message, st *stanza.Stanza) (policy.Decision, error)
}

// scripted asks the scripts about one message.
type scripted struct {
	c      *Conversion
	policy Policy // nil: nobody is asked
	rec    custody.Record
	msg    *policy.Message // with the recipient whom the scripts want
}

// scripted begins to ask about a message, unless scripts have made it.
func (c *Conversion) scripted(rules Rules, rec custody.Record, msg *mcmt.Message) *scripted {
	s := &scripted{c: c, policy: rules.Policy, rec: rec, msg: &policy.Message{
		ID: string(rec.ID), From: rec.From, To: rec.To.Address, Mail: msg, Received: rec.Accepted,
	}}
	if rec.Listener == policy.Listener {
		s.policy = nil
	}
	return s
}

// before asks what comes before conversion. why is not empty where a script has
// dealt with the message.
func (s *scripted) before(ctx context.Context) (why string, err error) {
	if s.policy == nil {
		return "", nil
	}
	if s.msg.Mail.MCMT {
		d, err := s.policy.PreFixup(ctx, s.msg)
		if why, err := s.decided(d, err); why != "" || err != nil {
			return why, err
		}
	}
	d, err := s.policy.Enqueue(ctx, s.msg)
	return s.decided(d, err)
}

// after asks about the stanza that the message has become, and returns the one to
// send, nil where why or err says that there is none.
func (s *scripted) after(ctx context.Context, st *stanza.Stanza) (_ *stanza.Stanza, why string, err error) {
	if s.policy == nil || !s.msg.Mail.MCMT {
		return st, "", nil
	}
	d, err := s.policy.Fixup(ctx, s.msg, st)
	d.Recipient = "" // the stanza is addressed
	if why, err := s.decided(d, err); why != "" || err != nil {
		return nil, why, err
	}
	if d.Stanza != nil {
		st = d.Stanza
	}
	return st, "", nil
}

// decided takes a decision in, and tells of one that ends the message.
func (s *scripted) decided(d policy.Decision, err error) (why string, _ error) {
	switch {
	case err != nil:
		return "", err
	case d.Verdict == policy.Refuse:
		return "", scriptRefusal{d}
	case d.Verdict == policy.Done:
		s.c.Trace.Emit(event(trace.Filtered, s.rec, trace.Event{Filter: d.Why(), Verdict: "drop", Reason: "the script has dealt with it"}))
		return d.Why(), nil
	case d.Recipient != "":
		s.msg.To = d.Recipient
	}
	return "", nil
}

// scriptRefusal is a message that a script refuses for good.
type scriptRefusal struct{ d policy.Decision }

// Error says which script.
func (r scriptRefusal) Error() string { return r.d.Why() + " refuses it" }

// Temporary reports false: the script has decided.
func (r scriptRefusal) Temporary() bool { return false }
