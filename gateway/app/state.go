package app

import (
	"context"
	"slices"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/policy"
	"mcmt2xmpp/gateway/store"
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
	var found config.Diagnostics
	report := func(l *config.Listen, err error) {
		found = append(found, config.Diagnostic{Pos: l.Pos, Message: err.Error()})
	}
	for _, l := range st.cfg.Listeners {
		if !Served(l) || !a.o.Roles.serves(l.Kind) {
			continue
		}
		for _, p := range l.Options() {
			if _, err := a.certs.server(p); err != nil {
				report(l, err)
				break
			}
			if err := a.openStores(ctx, p); err != nil {
				report(l, err)
				break
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	return nil
}

func (a *App) openStores(ctx context.Context, p *config.PeerOptions) error {
	for _, uri := range []string{p.AuthPlain, p.AuthDigestMD5} {
		if _, err := a.accounts.store(ctx, uri); err != nil {
			return err
		}
	}
	return nil
}
