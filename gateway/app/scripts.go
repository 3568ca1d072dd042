package app

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/delivery"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// NewPolicy compiles the policy scripts of a configuration, nil where it has none.
// The error is config.Diagnostics.
func NewPolicy(cfg *config.Config, host policy.Host, log zerolog.Logger) (*policy.Policy, error) {
	return newPolicy(cfg, policy.Options{Host: host, Log: log})
}

func newPolicy(cfg *config.Config, o policy.Options) (*policy.Policy, error) {
	if len(cfg.Scripts) == 0 {
		return nil, nil
	}
	for _, s := range cfg.Scripts {
		src := policy.Source{Name: s.Name, File: s.Path, Text: s.Text}
		if s.Level != nil {
			level := zerologLevel(*s.Level)
			src.Level = &level
		}
		o.Scripts = append(o.Scripts, src)
	}
	p, err := policy.Load(o)
	if err == nil {
		return p, nil
	}
	return nil, inScripts(cfg, config.SeverityError, problems(err))
}

// problems are those that Load has joined.
func problems(err error) []*policy.Problem {
	var all []*policy.Problem
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			all = append(all, problems(e)...)
		}
		return all
	}
	var p *policy.Problem
	if errors.As(err, &p) {
		return []*policy.Problem{p}
	}
	return []*policy.Problem{{Message: err.Error()}}
}

// inScripts shows problems with the lines that they are about.
func inScripts(cfg *config.Config, severity config.Severity, all []*policy.Problem) config.Diagnostics {
	found := make(config.Diagnostics, 0, len(all))
	for _, p := range all {
		of := config.Script{Path: p.File}
		for _, s := range cfg.Scripts {
			if s.Name == p.Script {
				of = s
			}
		}
		found = append(found, of.InScript(severity, p.Line, p.Column, p.Message))
	}
	return found
}

// CheckScripts compiles the scripts of a configuration and runs each once. It
// returns what looks wrong with them; the error is config.Diagnostics, of what is.
func CheckScripts(cfg *config.Config) (config.Diagnostics, error) {
	p, err := NewPolicy(cfg, nil, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	return inScripts(cfg, config.SeverityWarning, p.Warnings()), nil
}

// newState is newState with the scripts, which ask this gateway.
func (a *App) newState(cfg *config.Config) (*state, error) {
	st, err := newState(cfg)
	if err != nil {
		return nil, err
	}
	st.policy, err = newPolicy(cfg, policy.Options{Host: scriptHost{a}, Counts: &a.scripts, Log: a.log.With().Str("part", "policy").Logger()})
	return st, err
}

// warnOfScripts logs what looks wrong with the scripts.
func (a *App) warnOfScripts(st *state) {
	for _, w := range inScripts(st.cfg, config.SeverityWarning, st.policy.Warnings()) {
		a.log.Warn().Str("at", w.Pos.String()).Msg(w.Message)
	}
}

// conversionRules are what the conversion stage obeys now.
func (a *App) conversionRules() delivery.Rules {
	st := a.state.Load()
	r := delivery.Rules{Converter: st.rules.Converter, Filters: st.rules.Filters}
	if st.policy != nil {
		r.Policy = st.policy
	}
	return r
}

// askAboutSent has the scripts decide about a message that a client has sent.
func (a *App) askAboutSent(ctx context.Context, st *stanza.Stanza) (done bool, err error) {
	p := a.state.Load().policy
	if !p.Has(policy.ClientMessage) {
		return false, nil
	}
	d, err := p.ClientMessage(ctx, string(mcmt.NewID(time.Now())), st.From, st)
	var failed *policy.ActError
	switch {
	case errors.As(err, &failed) && !failed.Temporary():
		a.log.Warn().Err(err).Msg("what a policy script has sent for a client is refused")
		return false, &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable, Text: "the message cannot be passed on"}
	case err != nil:
		return false, err
	case d.Verdict == policy.Refuse:
		return false, &stanza.Error{Condition: stanza.PolicyViolation}
	}
	return d.Verdict == policy.Done, nil
}

// scriptHost is the gateway as policy scripts see it.
type scriptHost struct{ app *App }

// sessions are those that an address means: all of a bare JID, one of a full one.
func (h scriptHost) sessions(j jid.JID) []router.Session {
	if j.IsBare() {
		return h.app.router.Sessions(j)
	}
	if s := h.app.router.Session(j); s != nil {
		return []router.Session{s}
	}
	return nil
}

// Online implements policy.Host. Of several sessions that one speaks which messages
// go to. What sessions of other processes show is known only as far as they are there.
func (h scriptHost) Online(j jid.JID) (p policy.Presence, ok bool) {
	best := int8(-128)
	for _, s := range h.sessions(j) {
		ok = true
		priority, available := s.Priority()
		if !available || p.Available && priority <= best {
			continue
		}
		best, p = priority, policy.Presence{Available: true}
		shower, _ := s.(interface{ Shows() *stanza.Stanza })
		if shower == nil {
			continue
		}
		if st := shower.Shows(); st != nil {
			p.Show, p.Status = childText(st, "show"), childText(st, "status")
		}
	}
	return p, ok
}

func childText(st *stanza.Stanza, name string) string {
	if e := st.Child(name); e != nil {
		return e.Text()
	}
	return ""
}

// Connected implements policy.Host.
func (h scriptHost) Connected(j jid.JID) bool { return len(h.sessions(j)) > 0 }

// ValidDomain implements policy.Host.
func (h scriptHost) ValidDomain(domain string) bool {
	j, err := jid.New("", domain, "")
	if err != nil {
		return false
	}
	if h.app.state.Load().rules.Role(j.Domain()) != convert.NoRole {
		return true
	}
	linked, _ := h.app.linkedTo(j.Domain())
	return linked
}

// Send implements policy.Host: a message goes into custody like one for a user who
// is away, and is delivered from there.
func (h scriptHost) Send(ctx context.Context, st *stanza.Stanza, once string) error {
	if st.From.IsZero() {
		st.From = h.app.state.Load().rules.Converter.Gateway()
	}
	if st.Kind != stanza.Message {
		_ = h.app.router.Forward(ctx, st) // nobody keeps presence, and no message waits for it
		return nil
	}
	err := h.app.delivery.KeepAs(ctx, st, mcmt.ID(convert.StanzaID(once, st.To)), policy.Listener)
	if errors.Is(err, broker.ErrInvalid) {
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAcceptable, Text: "the stanza cannot be stored"}
	}
	return err
}

// Inject implements policy.Host: a message is accepted as from an authenticated peer.
func (h scriptHost) Inject(ctx context.Context, from, to string, raw []byte, once string) error {
	_, err := h.app.intake.Put(ctx, mcmt.Envelope{
		From: h.mailAddress(from), To: []mcmt.Recipient{{Address: h.mailAddress(to)}}, Reception: mcmt.Allow,
		Listener: policy.Listener, Trusted: true, Received: time.Now(), IdempotencyKey: once,
	}, raw)
	return err
}

// mailAddress is the mail address of a JID that has one in our domains or is one of
// the mail gateway's; any other address stays.
func (h scriptHost) mailAddress(addr string) string {
	j, err := jid.Parse(addr)
	if err != nil {
		return addr
	}
	if mail, err := h.app.state.Load().rules.Converter.MailAddress(j); err == nil {
		return mail
	}
	return addr
}

// scriptMetrics are those of policy scripts, by their names in the configuration.
func (a *App) scriptMetrics() []admin.Metric {
	each := func(name, help string, read func(policy.ScriptStats) float64) admin.Metric {
		return admin.Metric{Name: name, Help: help, Labels: []string{"script"}, Collect: func(add add) {
			for _, s := range a.state.Load().policy.Stats() {
				add(read(s), s.Script)
			}
		}}
	}
	return []admin.Metric{
		each("script_calls_total", "Calls of hooks of a policy script.", func(s policy.ScriptStats) float64 { return float64(s.Calls) }),
		each("script_failures_total", "Of them, those that failed; the message went on as without the script.", func(s policy.ScriptStats) float64 { return float64(s.Failures) }),
		each("script_over_budget_total", "Of the failures, those by the budget of time or memory.", func(s policy.ScriptStats) float64 { return float64(s.Timeouts) }),
		each("script_seconds_total", "Time spent in a policy script.", func(s policy.ScriptStats) float64 { return s.Spent.Seconds() }),
	}
}

// deliveryHooks are the scripts that are asked at delivery, nil for none.
func (a *App) deliveryHooks() delivery.Hooks {
	if p := a.state.Load().policy; p != nil {
		return p
	}
	return nil
}

// resolve returns the JID of an address that a script has chosen, zero where it is one
// of mail.
func (a *App) resolve(address string) (jid.JID, error) {
	j, err := a.state.Load().rules.Converter.Recipient(address)
	var bad *convert.AddressError
	if errors.As(err, &bad) && bad.Fault == convert.UnknownDomain && strings.Contains(address, "@") {
		return jid.JID{}, nil
	}
	return j, err
}
