package intake

import (
	"context"
	"errors"
	"strings"

	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// Sender refuses a reverse-path in a domain of ours, the mail gateway's
// included, from a peer that is neither authenticated nor in relay_hosts: it
// would pass for one of our users.
func (in *Intake) Sender(_ context.Context, env mcmt.Envelope) error {
	if env.From == "" || env.Trusted {
		return nil
	}
	if _, err := in.o.Converter().Sender(env.From); err != nil {
		return refuse(553, [3]int{5, 1, 7}, 422, "sender address is not valid", err)
	}
	if in.ours(env.From) {
		return refuse(550, [3]int{5, 7, 1}, 403, "sender domain is served here: authenticate first", nil)
	}
	return nil
}

// ours says whether the domain of a mail address is one that we answer for.
func (in *Intake) ours(addr string) bool {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 {
		return false // a phone number
	}
	domain, err := jid.New("", addr[i+1:], "")
	if err != nil {
		return false // an address literal, for one
	}
	return domain == in.o.Converter().Gateway() || in.o.Role(domain.Domain()) == convert.Server
}

// Recipient refuses an address that is neither in an XMPP domain nor mapped to
// one, and one on a domain of ours that has no account. Mail for others is relayed for
// those who may.
func (in *Intake) Recipient(ctx context.Context, env mcmt.Envelope, addr string) error {
	_, err := in.resolve(ctx, env, addr)
	return err
}

// resolve returns the JID that addr leads to, none where it is an address of mail, or a
// *mcmt.Refusal.
func (in *Intake) resolve(ctx context.Context, env mcmt.Envelope, addr string) (jid.JID, error) {
	to, err := in.o.Converter().Recipient(addr)
	var bad *convert.AddressError
	switch {
	case errors.As(err, &bad) && bad.Fault == convert.UnknownDomain && in.relays(env, addr):
		return jid.JID{}, nil
	case errors.As(err, &bad) && bad.Fault == convert.UnknownDomain:
		return jid.JID{}, refuse(550, [3]int{5, 1, 2}, 422, "no such domain here", err)
	case err != nil:
		return jid.JID{}, refuse(550, [3]int{5, 1, 3}, 422, "recipient address is not valid", err)
	}
	if in.o.Role(to.Domain()) == convert.Server {
		ok, err := in.o.Accounts.Exists(ctx, to.Bare())
		if err != nil {
			return jid.JID{}, refuse(451, [3]int{4, 3, 0}, 503, "accounts cannot be read now", err)
		}
		if !ok {
			return jid.JID{}, refuse(550, [3]int{5, 1, 1}, 422, "no such user here", nil)
		}
		return to, nil
	}
	if in.o.Reachable == nil || !in.o.Reachable(to.Domain()) {
		return jid.JID{}, refuse(550, [3]int{5, 1, 2}, 422, "messages to the domain "+to.Domain()+" are not allowed here", nil)
	}
	return to, nil
}

// relays says whether mail to an address that is not ours may be sent on for who sends it:
// this is no open relay. A phone number has no mail.
func (in *Intake) relays(env mcmt.Envelope, addr string) bool {
	i := strings.LastIndexByte(addr, '@')
	if i < 0 || in.ours(addr) {
		return false
	}
	return env.Trusted || in.o.Relays != nil && in.o.Relays(strings.ToLower(addr[i+1:]))
}
