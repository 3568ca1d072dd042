package app

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/mcmt/httpd"
	"mcmt2xmpp/mcmt/smtpd"
	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

// offer is what a peer of a mail listener may log in with. There is no domain:
// a mail client's user name carries it.
func (a *App) offer(ctx context.Context, p *config.PeerOptions, state *tls.ConnectionState) (sasl.Offer, error) {
	users, err := a.accounts.store(ctx, p.AuthPlain)
	if err != nil {
		return sasl.Offer{}, err
	}
	return sasl.Offer{Store: users, TLS: state, AllowPlainWithoutTLS: p.AllowPlainWithoutTLS, Secret: a.accounts.secret}, nil
}

func guessLimits(p *config.PeerOptions) c2s.GuessLimits {
	return c2s.GuessLimits{
		Delay: p.FailedLoginDelay, Window: p.FailedLoginWindow, PerAddress: p.FailedPerAddress, PerAccount: p.FailedPerAccount,
	}
}

// watch bounds the guessing of passwords over a mail connection, together with that
// over XMPP: who guesses does not mind by which door. A peer on a Unix socket has none.
func (a *App) watch(peer netip.AddrPort, p *config.PeerOptions) *c2s.Watch {
	from := peer.Addr()
	if peer.Port() == 0 && from.IsLoopback() {
		from = netip.Addr{}
	}
	return a.guard.Watch(from, guessLimits(p))
}

// smtpAuth offers the SASL mechanisms of xmpp/sasl to SMTP clients.
type smtpAuth struct {
	app   *App
	peer  *config.PeerOptions
	watch *c2s.Watch
}

func (s smtpAuth) Mechanisms(state *tls.ConnectionState) []string {
	o, err := s.app.offer(context.Background(), s.peer, state)
	if err != nil {
		s.app.log.Error().Err(err).Msg("accounts")
		return nil
	}
	return slices.DeleteFunc(o.Mechanisms(), func(name string) bool { return name == sasl.External || name == sasl.DigestMD5 })
}

func (s smtpAuth) Start(ctx context.Context, mechanism string, state *tls.ConnectionState) (smtpd.Exchange, error) {
	o, err := s.app.offer(ctx, s.peer, state)
	if err != nil {
		return nil, err
	}
	o.Admit = s.watch.Admit
	server, err := o.Start(mechanism)
	if err != nil {
		return nil, err
	}
	return &smtpExchange{ctx: ctx, server: server, watch: s.watch}, nil
}

// smtpExchange is one exchange, for the lifetime of ctx.
type smtpExchange struct {
	ctx    context.Context //nolint:containedctx // the exchange has the lifetime of one command
	server sasl.Server
	watch  *c2s.Watch
}

func (e *smtpExchange) Next(response []byte) ([]byte, bool, error) {
	challenge, done, err := e.server.Step(e.ctx, response)
	if failure, ok := errors.AsType[*sasl.Failure](err); ok {
		return nil, false, &smtpd.AuthError{Refused: failure.Refused, Delay: e.watch.Failed(failure), Err: err}
	}
	if done && err == nil {
		e.watch.Succeeded(e.server.JID())
	}
	return challenge, done, err
}

func (e *smtpExchange) Username() string { return e.server.JID().String() }

// httpAuth checks what comes with a request: the password of an account, or one
// of the tokens of the configuration.
type httpAuth struct {
	app   *App
	peer  *config.PeerOptions
	watch *c2s.Watch
}

func (h httpAuth) Basic(ctx context.Context, user, password string) (string, error) {
	o, err := h.app.offer(ctx, h.peer, nil)
	if err != nil {
		return "", err
	}
	o.AllowPlainWithoutTLS = true // whether a password may travel here, httpd has decided
	o.Admit = h.watch.Admit
	server, err := o.Start(sasl.Plain)
	if err != nil {
		return "", httpd.ErrDenied
	}
	_, _, err = server.Step(ctx, []byte("\x00"+user+"\x00"+password))
	if err != nil {
		return "", h.failed(err)
	}
	h.watch.Succeeded(server.JID())
	return server.JID().String(), nil
}

// failed is the answer to credentials that were refused.
func (h httpAuth) failed(err error) error {
	failure, ok := errors.AsType[*sasl.Failure](err)
	if !ok {
		return err
	}
	if !failure.Temporary() {
		err = fmt.Errorf("%w: %w", httpd.ErrDenied, err)
	}
	return &httpd.AuthError{Refused: failure.Refused, RetryAfter: failure.After, Delay: h.watch.Failed(failure), Err: err}
}

func (h httpAuth) Bearer(_ context.Context, token string) (string, error) {
	found := 0
	for _, t := range h.peer.BearerTokens {
		found |= subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(token))
	}
	if err := h.watch.Admit(jid.JID{}); err != nil {
		return "", h.failed(err)
	}
	if found == 0 {
		return "", h.failed(&sasl.Failure{Condition: sasl.NotAuthorized})
	}
	return "token", nil
}
