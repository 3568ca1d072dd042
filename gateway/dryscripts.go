package main

import (
	"context"
	"fmt"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// dryScripts are the policy scripts of a dry run: they decide, and what they would
// send is only told. Nobody is online, since no gateway is asked.
type dryScripts struct {
	policy *policy.Policy
	host   *dryHost
	failed uint64 // calls so far
}

func newDryScripts(cfg *config.Config, rules *app.Rules) (*dryScripts, error) {
	host := &dryHost{rules: rules}
	p, err := app.NewPolicy(cfg, host, newLogger(cfg.Log))
	if err != nil {
		return nil, err
	}
	return &dryScripts{policy: p, host: host}, nil
}

// before asks what comes before conversion, and notes in r what is decided. ended
// says that nothing is converted.
func (s *dryScripts) before(ctx context.Context, m *policy.Message, r *dryRun) (ended bool) {
	if m.Mail.MCMT {
		d, err := s.policy.PreFixup(ctx, m)
		if s.decided(policy.PreFixup, d, err, m, r) {
			return true
		}
	}
	d, err := s.policy.Enqueue(ctx, m)
	return s.decided(policy.Enqueue, d, err, m, r)
}

// after asks about the stanza of an MCMT message.
func (s *dryScripts) after(ctx context.Context, m *policy.Message, st *stanza.Stanza, r *dryRun) (_ *stanza.Stanza, ended bool) {
	if !m.Mail.MCMT {
		return st, false
	}
	d, err := s.policy.Fixup(ctx, m, st)
	d.Recipient = "" // the stanza is addressed
	if s.decided(policy.Fixup, d, err, m, r) {
		return nil, true
	}
	if d.Stanza != nil {
		st = d.Stanza
	}
	return st, false
}

// beforeSend asks about a stanza that would be delivered. Where it is sent elsewhere that
// is the recipient of m. As at delivery, m is without its parts.
func (s *dryScripts) beforeSend(ctx context.Context, m *policy.Message, st *stanza.Stanza, r *dryRun) (ended bool) {
	m.Mail = nil
	d, err := s.policy.BeforeSend(ctx, m, st)
	return s.decided(policy.BeforeSend, d, err, m, r)
}

// decided notes what has become of a hook that was run.
func (s *dryScripts) decided(h policy.Hook, d policy.Decision, err error, m *policy.Message, r *dryRun) (ended bool) {
	before := len(r.Scripts)
	note := func(format string, args ...any) {
		r.Scripts = append(r.Scripts, fmt.Sprintf("%s: ", h)+fmt.Sprintf(format, args...))
	}
	for _, sent := range s.host.sent {
		note("%s", sent)
	}
	s.host.sent = nil
	if failed := s.failures(); failed > s.failed {
		s.failed = failed
		note("has failed, the log says where: it counts as though it were not there")
	}
	if d.Stanza != nil {
		note("the stanza is changed")
	}
	if d.Recipient != "" {
		note("the recipient is %s", d.Recipient)
		m.To = d.Recipient
	}
	switch {
	case err != nil:
		r.Error = err.Error()
	case d.Verdict == policy.Refuse:
		r.Error = d.Why() + " refuses it"
	case d.Verdict == policy.Done:
		note("%s has dealt with it", d.Why())
		r.Outcome, r.why = "drop", r.Scripts[len(r.Scripts)-1]
	case len(r.Scripts) == before && s.policy.Has(h):
		note("leaves it as it is")
	}
	return err != nil || d.Verdict != policy.Continue
}

// failures counts the calls of hooks that have failed.
func (s *dryScripts) failures() (n uint64) {
	for _, st := range s.policy.Stats() {
		n += st.Failures
	}
	return n
}

// dryHost notes what scripts send.
type dryHost struct {
	rules *app.Rules
	sent  []string
}

func (h *dryHost) Online(jid.JID) (policy.Presence, bool) { return policy.Presence{}, false }
func (h *dryHost) Connected(jid.JID) bool                 { return false }

func (h *dryHost) ValidDomain(domain string) bool { return h.rules.Role(domain) != convert.NoRole }

func (h *dryHost) Send(_ context.Context, st *stanza.Stanza, _ string) error {
	h.sent = append(h.sent, "would send "+string(st.Append(nil, "")))
	return nil
}

func (h *dryHost) Inject(_ context.Context, from, to string, raw []byte, _ string) error {
	h.sent = append(h.sent, fmt.Sprintf("would inject %d bytes from %s to %s", len(raw), from, to))
	return nil
}
