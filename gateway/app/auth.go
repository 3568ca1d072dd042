package app

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"slices"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/mcmt/httpd"
	"mcmt2xmpp/mcmt/smtpd"
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

// smtpAuth offers the SASL mechanisms of xmpp/sasl to SMTP clients.
type smtpAuth struct {
	app  *App
	peer *config.PeerOptions
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
	server, err := o.Start(mechanism)
	if err != nil {
		return nil, err
	}
	return &smtpExchange{ctx: ctx, server: server}, nil
}

// smtpExchange is one exchange, for the lifetime of ctx.
type smtpExchange struct {
	ctx    context.Context //nolint:containedctx // the exchange has the lifetime of one command
	server sasl.Server
}

func (e *smtpExchange) Next(response []byte) ([]byte, bool, error) {
	return e.server.Step(e.ctx, response)
}

func (e *smtpExchange) Username() string { return e.server.JID().String() }

// httpAuth checks what comes with a request: the password of an account, or one
// of the tokens of the configuration.
type httpAuth struct {
	app  *App
	peer *config.PeerOptions
}

func (h httpAuth) Basic(ctx context.Context, user, password string) (string, error) {
	o, err := h.app.offer(ctx, h.peer, nil)
	if err != nil {
		return "", err
	}
	o.AllowPlainWithoutTLS = true // whether a password may travel here, httpd has decided
	server, err := o.Start(sasl.Plain)
	if err != nil {
		return "", httpd.ErrDenied
	}
	_, _, err = server.Step(ctx, []byte("\x00"+user+"\x00"+password))
	var failure *sasl.Failure
	if errors.As(err, &failure) && !failure.Temporary() {
		return "", httpd.ErrDenied
	}
	if err != nil {
		return "", err
	}
	return server.JID().String(), nil
}

func (h httpAuth) Bearer(_ context.Context, token string) (string, error) {
	found := 0
	for _, t := range h.peer.BearerTokens {
		found |= subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(token))
	}
	if found == 0 {
		return "", httpd.ErrDenied
	}
	return "token", nil
}
