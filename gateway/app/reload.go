package app

import (
	"context"
	"errors"
	"slices"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/xmpp/xmpplog"
)

// errTooEarly is the error of a reload before Ready is closed.
var errTooEarly = &admin.Later{Detail: "the gateway is starting"}

// Reload takes a new configuration: err is why it could not be read. An invalid
// one is logged and the old one stays; the error is *admin.Invalid then. Sessions go
// on. In any case certificates and the authorities of clients' certificates are read again,
// and the files of the xmpp_loggers opened anew. It does nothing before Ready is closed.
func (a *App) Reload(ctx context.Context, cfg *config.Config, err error) (*admin.Reloaded, error) {
	return a.reload(ctx, func() (*config.Config, error) { return cfg, err })
}

// ReloadFile is Reload with what Options.Load reads, one after the other.
func (a *App) ReloadFile(ctx context.Context) (*admin.Reloaded, error) {
	return a.reload(ctx, a.o.Load)
}

func (a *App) reload(ctx context.Context, load func() (*config.Config, error)) (*admin.Reloaded, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	select {
	case <-a.ready:
	default:
		a.log.Warn().Msg("reload asked for while starting: not done")
		return nil, errTooEarly
	}
	certificates := a.certs.reload()
	cfg, err := load()
	var st *state
	if err == nil {
		st, err = a.newState(cfg)
	}
	if err == nil {
		err = a.prepare(ctx, st)
	}
	var logs *xmpplog.Change
	if err == nil {
		logs, err = a.stanzaLog.Prepare(a.loggers(cfg))
	}
	if err != nil {
		if err := a.stanzaLog.Reopen(); err != nil { // whoever rotates logs has moved them
			a.log.Error().Err(err).Msg("xmpp_logger: the open files stay")
		}
		return nil, a.refused(err)
	}
	logs.Use()
	old := a.take(st)
	done := &admin.Reloaded{
		Changes: changes(cfg, old.cfg), Pending: pending(changes(cfg, a.o.Config)),
		Warnings: findings(cfg.Warnings, config.SeverityWarning), Certificates: certificates,
	}
	a.sayReloaded(st, done)
	return done, nil
}

// take puts a state in force and returns the one before.
func (a *App) take(st *state) *state {
	st.rules.Filters.Inherit(a.state.Load().rules.Filters)
	old := a.state.Swap(st)
	a.servers.reload()
	a.sender.Configure(a.relayOptions())
	a.hostMailGateway(old, st)
	a.components.Set(componentSecrets(st.cfg))
	a.links.reload()
	a.events.Changed()
	return old
}

// changes says what differs between two configurations.
func changes(cfg, old *config.Config) []admin.ConfigChange {
	all := []admin.ConfigChange{}
	for _, c := range cfg.Changes(old) {
		all = append(all, admin.ConfigChange{Scope: c.Scope, Option: c.Option, Was: c.Was, Is: c.Is, At: c.Pos.String(), Restart: c.Restart})
	}
	return all
}

// pending are the changes that wait for a restart.
func pending(all []admin.ConfigChange) []admin.ConfigChange {
	return slices.DeleteFunc(all, func(c admin.ConfigChange) bool { return c.Restart == "" })
}

// findings are those of a severity.
func findings(ds []config.Diagnostic, severity config.Severity) []admin.Finding {
	all := []admin.Finding{}
	for _, d := range ds {
		if d.Severity == severity {
			all = append(all, admin.Finding{At: d.Pos.String(), Message: d.Message, Line: d.Line, Hint: d.Hint})
		}
	}
	return all
}

// sayReloaded logs what a reload has changed, and what it has not.
func (a *App) sayReloaded(st *state, done *admin.Reloaded) {
	for _, w := range done.Warnings {
		a.log.Warn().Str("at", w.At).Msg(w.Message)
	}
	a.warnOfScripts(st)
	for _, c := range done.Changes {
		line := a.log.Info()
		what := "changed"
		if c.Restart != "" {
			line, what = a.log.Warn().Str("part", c.Restart), "takes effect after a restart"
		}
		line.Str("scope", c.Scope).Str("option", c.Option).Str("was", c.Was).Str("is", c.Is).Str("at", c.At).Msg(what)
	}
	a.log.Info().Int("changes", len(done.Changes)).Int("pending", len(done.Pending)).Msg("configuration reloaded")
}

// refused logs every mistake of a configuration, and returns them as *admin.Invalid.
func (a *App) refused(err error) error {
	const refusal = "configuration refused, the old one stays"
	var diagnostics config.Diagnostics
	if !errors.As(err, &diagnostics) {
		a.log.Error().Err(err).Msg(refusal)
		return &admin.Invalid{Mistakes: []admin.Finding{{Message: err.Error()}}}
	}
	for _, d := range diagnostics {
		a.log.Error().Str("at", d.Pos.String()).Str("hint", d.Hint).Msg(d.Message)
	}
	a.log.Error().Int("mistakes", len(diagnostics)).Msg(refusal)
	return &admin.Invalid{Mistakes: findings(diagnostics, config.SeverityError)}
}
