package app

import (
	"context"
	"errors"
	"fmt"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/gateway"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// newMailGateway makes what answers for the addresses of mail_gateway_domain.
func (a *App) newMailGateway() *gateway.Gateway {
	return gateway.New(gateway.Options{
		Router:        a.router,
		Addresses:     addresses{a},
		Kinds:         []gateway.Kind{gateway.Mail, gateway.Phone},
		Registrations: registrations{a.services.registrations, a.router},
		Filter:        a.filterOut,
		Message: func(ctx context.Context, st *stanza.Stanza, note string) error {
			return a.outmail.Take(ctx, st, custody.Steps(note))
		},
		Returned: a.receipts.refused,
		Version:  a.o.Version,
	})
}

// hostMailGateway gives the domain to the mail gateway that the configuration has for
// it, and takes it back from where it was: old is nil at the start.
func (a *App) hostMailGateway(old, now *state) {
	if old != nil {
		if domain := mailGateway(old); domain != mailGateway(now) {
			a.router.Host(domain, nil)
		}
	}
	// Without a domain of ours there is none, and nobody could write to it.
	if domain := mailGateway(now); domain != "" {
		a.router.Host(domain, a.mailGateway.Take)
	}
}

// mailGateway is the domain of the mail gateway as JIDs have it, empty for none.
func mailGateway(st *state) string {
	if st.cfg.MailGatewayDomain == "" {
		return ""
	}
	return st.rules.Converter.Gateway().Domain()
}

// addresses are those that the converter knows the JIDs of.
type addresses struct{ app *App }

// JID returns the JID by which a message would come from an address or go to it: its
// own where a recipient_map or a domain of Jabber users has it, else that in the gateway's
// domain.
func (ad addresses) JID(domain jid.JID, text string) (jid.JID, error) {
	if j, err := jid.Parse(text); err == nil && j.Domain() == domain.Domain() {
		// Whoever has the JID already means that. A mail address of that domain there is none.
		if _, kind := ad.Address(j.Bare()); kind == gateway.NoAddress {
			return jid.JID{}, noContact(text)
		}
		return j.Bare(), nil
	}
	c := ad.app.state.Load().rules.Converter
	j, err := c.Recipient(text)
	var bad *convert.AddressError
	if errors.As(err, &bad) && bad.Fault == convert.UnknownDomain {
		j, err = c.Sender(text)
	}
	if err != nil || j.Local() == "" {
		return jid.JID{}, noContact(text)
	}
	return j, nil
}

// noContact is for the person who has typed text.
func noContact(text string) error {
	return fmt.Errorf("%.100q is neither an e-mail address, such as name@example.com, nor a phone number with its country code, such as +44 7700 900123", text)
}

// Address returns the mail address or the phone number that a JID stands for.
func (ad addresses) Address(j jid.JID) (string, gateway.Kind) {
	address, err := ad.app.state.Load().rules.Converter.MailAddress(j)
	switch {
	case err != nil || address == "":
		return "", gateway.NoAddress
	case convert.IsNumber(address):
		return address, gateway.Phone
	}
	return address, gateway.Mail
}

// maxStrangers bounds the users of other servers that can register. Nothing depends on
// it for them, so it is no option.
const maxStrangers = 1000

// registrations keeps that of an account with the account. Those of users on other
// servers, who could be any number, are one record of the gateway.
type registrations struct {
	kept   *store.Registrations
	router *router.Router
}

func (r registrations) entry(gateway, user jid.JID) (owner, member jid.JID) {
	if r.router.Serves(user.Domain()) {
		return user, gateway
	}
	return gateway, user
}

// Registered says whether a user has registered.
func (r registrations) Registered(gateway, user jid.JID) bool {
	owner, member := r.entry(gateway, user)
	return r.kept.Has(owner, member)
}

// Register notes that he has.
func (r registrations) Register(ctx context.Context, gateway, user jid.JID) error {
	owner, member := r.entry(gateway, user)
	return r.kept.Add(ctx, owner, member, maxStrangers)
}

// Unregister forgets it.
func (r registrations) Unregister(ctx context.Context, gateway, user jid.JID) error {
	owner, member := r.entry(gateway, user)
	return r.kept.Drop(ctx, owner, member)
}

func (a *App) mailGatewayMetrics() []admin.Metric {
	return []admin.Metric{
		{Name: "mail_gateway_messages_total", Help: "Messages from Jabber users to addresses of the mail gateway, by what became of them.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := a.mailGateway.Stats()
			add(float64(s.Messages), "accepted")
			add(float64(s.Filtered), "filtered")
			add(float64(s.Refused), "refused")
		}},
		{Name: "mail_gateway_requests_total", Help: "What the mail gateway and its addresses have granted.", Labels: []string{"request"}, Collect: func(add add) {
			s := a.mailGateway.Stats()
			add(float64(s.Registered), "register")
			add(float64(s.Unregistered), "unregister")
			add(float64(s.Prompted), "prompt")
			add(float64(s.Subscribed), "subscribe")
		}},
		{Name: "mail_gateway_no_address_total", Help: "Stanzas to JIDs of the mail gateway that stand for no address.",
			Collect: admin.Value(func() uint64 { return a.mailGateway.Stats().Unknown })},
	}
}
