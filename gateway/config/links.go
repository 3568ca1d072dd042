package config

import (
	"slices"

	"mcmt2xmpp/xmpp/jid"
)

// Types of a link.
const (
	LinkClient    = "client"
	LinkComponent = "component"
)

// Link is an account on, or a component of, an existing server.
type Link struct {
	Name     string
	Type     string // LinkClient or LinkComponent
	JID      jid.JID
	Password Secret
	// Gateway is the server, host:port. Empty, for an account: those that the DNS names.
	Gateway string
	// TLS is "no", "ifavailable" or "required"; for a component, which cannot ask for it,
	// "no" or, for TLS from the first byte, "required".
	TLS string
	// Verify is "no", "ca" or "host", and CA the path of a PEM file with the authorities,
	// empty for the system's.
	Verify, CA string
	// Domains are those that are reached through the link. None: all.
	Domains []string
	// Subscriptions is "ask", "accept" or "refuse", and ReplyTo who gets messages from
	// people to whom nobody has written, zero for nobody; both of an account.
	Subscriptions string
	ReplyTo       jid.JID
	Pos           Position
}

// Linked says whether a domain is a component's, or one that a link names.
func (c *Config) Linked(domain string) bool {
	if d := c.Domain(domain); d != nil && d.ComponentSecret != "" {
		return true
	}
	return slices.ContainsFunc(c.Links, func(l Link) bool { return slices.Contains(l.Domains, domain) })
}

// linkOptions hold for links to existing servers, and for components that join us.
var linkOptions = []*option{
	{name: "type", kind: kindEnum, words: []string{LinkClient, LinkComponent}, scopes: inLink,
		doc: "an account on the server, or a component of it (XEP-0114); it has to be set"},
	{name: "jid", kind: kindString, scopes: inLink,
		doc: "the account's JID; or the component's domain, which is a domain of ours with xmpp_role = \"server\", or mail_gateway_domain. It has to be set"},
	{name: "domains", kind: kindDomain, list: true, defDoc: "all", scopes: inLink,
		doc: "domains that are reached through the link; of several links to one domain the first that is up is used. A component carries what its own domain sends"},
	{name: "subscriptions", kind: kindEnum, words: []string{"ask", "accept", "refuse"}, def: "ask", scopes: inLink,
		doc: "people who want the presence of an account: left to a person who is logged in to it too, granted and asked back, or refused"},
	{name: "reply_to", kind: kindString, defDoc: "nobody; such messages are refused", scopes: inLink,
		doc: "JID that gets messages to an account from people to whom nobody has written; answers go to whoever has written last"},
	{name: "component_secret", kind: kindString, secret: true, scopes: inDomain,
		doc: "lets an external component join as this domain (XEP-0114), on a listen scope with stream = \"component\""},
}

// buildLinks makes a Link of each scope that is good.
func (t *tree) buildLinks(c *Config) {
	for _, n := range t.root.of(inLink) {
		v := t.view(n)
		l := Link{
			Name: n.label, Type: v.text("type"), Password: Secret(v.text("password")), Gateway: v.text("gateway"),
			TLS: v.text("tls"), Verify: v.text("tls_verify"), CA: v.text("tls_ca"),
			Domains: v.words("domains"), Subscriptions: v.text("subscriptions"), Pos: n.pos,
		}
		l.defaults(v)
		if t.checkLink(c, n, v, &l) {
			c.Links = append(c.Links, l)
		}
	}
	t.checkComponents(c)
}

// defaults are what holds where nothing is written, here or outside: a password goes to
// nobody who has not proven who he is, and a component's server has no TLS by itself.
func (l *Link) defaults(v view) {
	switch {
	case v.set("tls") == nil && l.Type == LinkClient:
		l.TLS = "required"
	case l.TLS == "ifavailable" && l.Type == LinkComponent:
		l.TLS = "no"
	}
	switch {
	case l.TLS == "no":
		l.Verify = "no"
	case v.set("tls_verify") == nil && l.TLS == "required":
		l.Verify = "host"
	}
}
