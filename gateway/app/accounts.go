package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/listener"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stream"
)

// accounts are the account stores that the configuration names, each opened
// once, and the built-in one always.
type accounts struct {
	options store.Options
	builtin *store.Builtin
	secret  []byte // makes the salts of accounts that do not exist

	mu   sync.Mutex
	open map[string]store.Accounts // by URI
}

func openAccounts(ctx context.Context, b *broker.Broker, domains []string, log zerolog.Logger) (*accounts, error) {
	log = log.With().Str("part", "accounts").Logger()
	secret, err := store.SharedSecret(ctx, b)
	if err != nil {
		return nil, err
	}
	o := store.Options{Buckets: b, Domains: domains, Secret: secret, Report: func(err error) { log.Warn().Err(err).Msg("account store") }}
	builtin, err := store.OpenBuiltin(ctx, o)
	if err != nil {
		return nil, err
	}
	return &accounts{options: o, builtin: builtin, secret: secret, open: map[string]store.Accounts{store.BuiltinURI: builtin}}, nil
}

// store returns the accounts that uri names, opening them the first time. An
// empty uri has none.
func (a *accounts) store(ctx context.Context, uri string) (sasl.Store, error) {
	if uri == "" {
		return nil, nil
	}
	return a.accounts(ctx, uri)
}

func (a *accounts) accounts(ctx context.Context, uri string) (store.Accounts, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s, ok := a.open[uri]; ok {
		return s, nil
	}
	s, err := store.OpenAccounts(ctx, uri, a.options)
	if err != nil {
		return nil, err
	}
	a.open[uri] = s
	return s, nil
}

// exists says whether one of the stores has the account.
func (a *accounts) exists(ctx context.Context, uris []string, user jid.JID) (bool, error) {
	var errs []error
	for _, uri := range uris {
		s, err := a.accounts(ctx, uri)
		if err == nil {
			var ok bool
			if ok, err = s.Exists(ctx, user); ok {
				return true, nil
			}
		}
		errs = append(errs, err)
	}
	return false, errors.Join(errs...)
}

// external is who may log in by the certificate that a client shows, for SASL
// EXTERNAL (XEP-0178 §2): the accounts that it names on the domain, of those that its
// peer can log in to by a password. nil: it is not offered.
func (a *App) external(p *config.PeerOptions, auth *listener.ClientAuth) func(context.Context, string, *tls.ConnectionState) []jid.JID {
	if !p.AllowExternal || p.TLSClientCA == "" || auth == nil {
		return nil
	}
	var uris []string
	for _, uri := range []string{p.AuthPlain, p.AuthDigestMD5} {
		if uri != "" {
			uris = append(uris, uri)
		}
	}
	return func(ctx context.Context, domain string, state *tls.ConnectionState) []jid.JID {
		named, err := auth.Accounts(*state)
		if err != nil {
			return nil // in the log since the handshake
		}
		return slices.DeleteFunc(named, func(user jid.JID) bool {
			if user.Domain() != domain {
				return true
			}
			ok, err := a.accounts.exists(ctx, uris, user)
			if err != nil {
				a.log.Error().Err(err).Stringer("user", user).Msg("is there an account for this client certificate")
			}
			return !ok
		})
	}
}

func (a *accounts) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	var errs []error
	for _, s := range a.open {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// users answers whether somebody can have messages here: an account of a store
// that a client listener logs in with.
type users struct{ app *App }

func (u users) Exists(ctx context.Context, user jid.JID) (bool, error) {
	return u.app.accounts.exists(ctx, u.app.state.Load().stores, user)
}

// Accounts are the accounts of the built-in store.
func (a *App) Accounts() admin.Accounts {
	return operated{a.accounts.builtin, func() []string { return a.state.Load().cfg.ServedDomains() }, a.accountRemoved}
}

// accountRemoved ends what is left of an account that is no more in the built-in
// store.
func (a *App) accountRemoved(ctx context.Context, user jid.JID) (bool, error) {
	a.endSessions(user)
	had := a.rosters.Roster(user)
	left, err := removeRoster(ctx, user, a.rosters, users{a}.Exists)
	if left {
		a.router.Forget(ctx, user, had)
	}
	return left, errors.Join(err, a.services.forget(ctx, user, users{a}.Exists))
}

// endSessions closes the streams of an account that is no more.
func (a *App) endSessions(user jid.JID) {
	for _, s := range a.router.Sessions(user) {
		s.Close(&stream.Error{Condition: stream.NotAuthorized, Text: "the account has been removed"})
	}
}

// operated is the built-in store as an operator sees it.
type operated struct {
	*store.Builtin
	domains func() []string
	// removed does what is left to do for an account that is not in the store. It
	// returns false where nothing of it was left.
	removed func(ctx context.Context, user jid.JID) (bool, error)
}

// Add refuses an account on a domain that is not ours: nobody could log in to
// it, and a typing error would not show.
func (o operated) Add(ctx context.Context, user jid.JID, password string) error {
	if !slices.Contains(o.domains(), user.Domain()) {
		return fmt.Errorf("%s: %w: no domain of that name has xmpp_role = \"server\"", user, store.ErrInvalid)
	}
	return o.Builtin.Add(ctx, user, password)
}

// Remove removes an account with its roster, and ends its sessions. One whose
// removal failed half-way can be removed again.
func (o operated) Remove(ctx context.Context, user jid.JID) error {
	err := o.Builtin.Remove(ctx, user)
	if err != nil && !errors.Is(err, store.ErrNoAccount) {
		return err
	}
	left, failed := o.removed(ctx, user)
	if failed != nil {
		return failed
	}
	if left {
		return nil
	}
	return err
}

// WithAccounts opens the built-in store of a gateway that does not run, for as
// long as do runs.
func WithAccounts(ctx context.Context, cfg *config.Config, log zerolog.Logger, do func(admin.Accounts) error) (err error) {
	b, err := OpenBroker(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	open, err := openAccounts(ctx, b, cfg.ServedDomains(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, open.close()) }()
	rosters, err := openRosters(ctx, b, cfg.Accounts, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rosters.Close()) }()
	var kept services
	if err := kept.open(ctx, b, cfg, log); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, kept.close()) }()
	exists := func(ctx context.Context, user jid.JID) (bool, error) { return open.exists(ctx, loginStores(cfg), user) }
	return do(operated{open.builtin, cfg.ServedDomains, func(ctx context.Context, user jid.JID) (bool, error) {
		left, err := removeRoster(ctx, user, rosters, exists)
		return left, errors.Join(err, kept.forget(ctx, user, exists))
	}})
}
