package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/xmpplog"
)

// state is a configuration with what is derived from it.
type state struct {
	cfg     *config.Config
	rules   *Rules
	policy  *policy.Policy // nil: there are no scripts
	listens map[listenKey]*config.Listen
	stores  []string // URIs of the account stores whose users can log in
}

// listenKey tells the sockets of a configuration apart, across reloads. Only
// port 0 may be listened on twice: nth counts.
type listenKey struct {
	kind    config.ListenerKind
	address string
	nth     int
}

func (k listenKey) String() string { return k.kind.String() + " " + k.address }

func newState(cfg *config.Config) (*state, error) {
	rules, err := NewRules(cfg)
	if err != nil {
		return nil, err
	}
	st := &state{cfg: cfg, rules: rules, listens: make(map[listenKey]*config.Listen), stores: loginStores(cfg)}
	for _, l := range cfg.Listeners {
		key := listenKey{kind: l.Kind, address: l.Address}
		for st.listens[key] != nil {
			key.nth++
		}
		st.listens[key] = l
	}
	return st, nil
}

// loginStores are the URIs of the account stores that client listeners log in with.
func loginStores(cfg *config.Config) []string {
	var all []string
	for _, l := range cfg.Listeners {
		if l.Kind == config.XMPPStreams && Served(l) && l.Clients() {
			for _, p := range l.Options() {
				all = append(all, p.AuthPlain, p.AuthDigestMD5)
			}
		}
	}
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(uri string) bool { return uri == "" })
	if len(all) == 0 {
		return []string{store.BuiltinURI} // accounts are kept for other processes' listeners
	}
	return all
}

// key finds the key of one of the listen scopes.
func (st *state) key(l *config.Listen) listenKey {
	for key, other := range st.listens {
		if other == l {
			return key
		}
	}
	return listenKey{}
}

// prepare opens the certificates and account stores of a configuration before
// the first connection needs them, so that what is wrong with them is said at
// once.
func (a *App) prepare(ctx context.Context, st *state) error {
	var errs []error
	for _, l := range st.cfg.Listeners {
		if !Served(l) || !a.o.Roles.serves(l.Kind) {
			continue
		}
		for _, p := range l.Options() {
			if _, err := a.certs.server(p); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", l.Pos, err))
				break
			}
			if err := a.openStores(ctx, p); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", l.Pos, err))
				break
			}
		}
	}
	return errors.Join(errs...)
}

func (a *App) openStores(ctx context.Context, p *config.PeerOptions) error {
	for _, uri := range []string{p.AuthPlain, p.AuthDigestMD5} {
		if _, err := a.accounts.store(ctx, uri); err != nil {
			return err
		}
	}
	return nil
}

// Reload takes a new configuration: err is why it could not be read. An invalid
// one is logged and the old one stays. Sessions go on. In any case certificates and the
// authorities of clients' certificates are read again, and the files of the xmpp_loggers
// opened anew. It does nothing before Ready is closed.
func (a *App) Reload(ctx context.Context, cfg *config.Config, err error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	select {
	case <-a.ready:
	default:
		a.log.Warn().Msg("reload asked for while starting: not done")
		return
	}
	a.certs.reload()
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
		a.refused(err)
		if err := a.stanzaLog.Reopen(); err != nil { // whoever rotates logs has moved them
			a.log.Error().Err(err).Msg("xmpp_logger: the open files stay")
		}
		return
	}
	logs.Use()
	st.rules.Filters.Inherit(a.state.Load().rules.Filters)
	old := a.state.Swap(st)
	a.servers.reload()
	a.sender.Configure(a.relayOptions())
	a.hostMailGateway(old, st)
	a.components.Set(componentSecrets(cfg))
	a.links.reload()
	for _, w := range cfg.Warnings {
		if w.Severity == config.SeverityWarning {
			a.log.Warn().Str("at", w.Pos.String()).Msg(w.Message)
		}
	}
	a.warnOfScripts(st)
	for _, what := range needsRestart(old, st) {
		a.log.Warn().Str("change", what).Msg("takes effect after a restart")
	}
	a.log.Info().Msg("configuration reloaded")
}

// refused logs every mistake of a configuration.
func (a *App) refused(err error) {
	const refusal = "configuration refused, the old one stays"
	var diagnostics config.Diagnostics
	if !errors.As(err, &diagnostics) {
		a.log.Error().Err(err).Msg(refusal)
		return
	}
	for _, d := range diagnostics {
		a.log.Error().Str("at", d.Pos.String()).Str("hint", d.Hint).Msg(d.Message)
	}
	a.log.Error().Int("mistakes", len(diagnostics)).Msg(refusal)
}
