package app

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
)

var adminRoles = map[config.OperatorRole]admin.Role{
	config.OperatorNone: admin.Nobody, config.OperatorRead: admin.Read, config.OperatorFull: admin.Operate,
}

// reloader is what POST /v1/reload does, nil where there is nothing to load.
func (a *App) reloader() func(context.Context) (*admin.Reloaded, error) {
	if a.o.Load == nil {
		return nil
	}
	return a.ReloadFile
}

// bearerToken is the name of the tokens that a listener has itself, in the audit log.
const bearerToken = "bearer_token"

// adminPeer is what holds for a peer of an admin HTTP now.
func (a *App) adminPeer(s *socket, peer netip.Addr) admin.PeerOptions {
	p := a.peer(s, peer)
	o := admin.PeerOptions{
		Local: adminRoles[p.LocalRole], Guesses: guesses{a.guard.Watch(peer, guessLimits(p))},
		Burst: p.RequestRate.N,
	}
	if p.RequestRate.Per > 0 {
		o.Rate = float64(p.RequestRate.N) / p.RequestRate.Per.Seconds()
	}
	for _, t := range p.BearerTokens {
		o.Tokens = append(o.Tokens, admin.Token{Name: bearerToken, Secret: t.Reveal(), Role: admin.Operate})
	}
	for _, op := range a.state.Load().cfg.Operators {
		o.Tokens = append(o.Tokens, admin.Token{Name: op.Name, Secret: op.Token.Reveal(), Role: adminRoles[op.Role]})
	}
	return o
}

// guesses bounds the guessing of tokens together with that of passwords.
type guesses struct{ watch *c2s.Watch }

// Admit implements admin.Guesses.
func (g guesses) Admit() time.Duration {
	err := g.watch.Admit(jid.JID{}) // a token has no name
	if failure, ok := errors.AsType[*sasl.Failure](err); ok {
		return failure.After
	}
	return 0
}

// Failed implements admin.Guesses.
func (g guesses) Failed() time.Duration {
	return g.watch.Failed(&sasl.Failure{Condition: sasl.NotAuthorized})
}

// adminToken is the token with which a command on this machine uses an admin HTTP;
// empty where it needs none.
func adminToken(cfg *config.Config, p *config.PeerOptions) string {
	if len(p.BearerTokens) > 0 {
		return p.BearerTokens[0].Reveal()
	}
	var best config.Operator
	for _, o := range cfg.Operators {
		if o.Role > best.Role && o.Role > p.LocalRole {
			best = o
		}
	}
	return best.Token.Reveal()
}
