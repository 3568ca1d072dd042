package config

import (
	"slices"

	"mcmt2xmpp/xmpp/jid"
)

// checkLink reports what keeps a link from working, and whether it can.
func (t *tree) checkLink(c *Config, n *node, v view, l *Link) bool {
	found := len(t.report.found)
	for _, name := range []string{"type", "jid", "password"} {
		if n.settings[name] == nil {
			t.report.errorf(n.pos, "", "link %s has no %s", n.label, name)
		}
	}
	if s := v.set("jid"); s != nil {
		l.JID = t.linkJID(s)
		t.checkLinkJID(c, s, l)
	}
	if l.Type == LinkComponent {
		t.checkComponentLink(n, v, l)
	}
	if s := v.set("reply_to"); s != nil {
		if l.ReplyTo = t.linkJID(s); !l.ReplyTo.IsZero() && !c.ours(l.ReplyTo.Domain()) {
			t.report.errorf(s.valuePos, "", "reply_to: %s is in no domain of ours", l.ReplyTo)
		}
	}
	for _, domain := range l.Domains {
		if c.ours(domain) {
			t.report.errorf(v.pos("domains"), "", "domains: %s is a domain of ours", domain)
		}
	}
	if s := v.set("tls_verify"); s != nil && l.TLS == "no" && n.settings["tls_verify"] == s && s.value != "no" {
		t.report.errorf(s.pos, "set tls = required", "tls_verify = %s needs certificates, and without TLS there are none", s.text)
	}
	if s := n.settings["tls_ca"]; s != nil && !s.bad {
		t.checkAuthorities(s)
	}
	for _, other := range c.Links {
		if other.Type == l.Type && other.JID == l.JID && other.Gateway == l.Gateway && !l.JID.IsZero() {
			t.report.errorf(n.pos, "for failover give it another gateway", "link %s is the same as %s, at %s", l.Name, other.Name, other.Pos)
		}
	}
	return len(t.report.found) == found
}

// linkJID reads an address; zero where it is none.
func (t *tree) linkJID(s *setting) jid.JID {
	j, err := jid.Parse(s.value.(string))
	if err != nil {
		t.report.errorf(s.valuePos, "", "%s: %s is no JID: %s", s.option.name, s.text, err)
		return jid.JID{}
	}
	return j
}

// checkLinkJID holds the JID to the type.
func (t *tree) checkLinkJID(c *Config, s *setting, l *Link) {
	switch {
	case l.JID.IsZero():
	case l.Type == LinkClient && l.JID.Local() == "":
		t.report.errorf(s.valuePos, "write it as name@"+l.JID.Domain(), "jid: %s is no account", l.JID)
	case l.Type == LinkClient && c.ours(l.JID.Domain()):
		t.report.errorf(s.valuePos, "", "jid: %s is a domain of ours, not of another server", l.JID.Domain())
	case l.Type == LinkComponent && (l.JID.Local() != "" || !l.JID.IsBare()):
		t.report.errorf(s.valuePos, "write "+l.JID.Domain(), "jid: a component is a domain, not %s", l.JID)
	case l.Type == LinkComponent && !c.ours(l.JID.Domain()):
		t.report.errorf(s.valuePos, "set mail_gateway_domain = \""+l.JID.Domain()+"\", or xmpp_role = \"server\" in a scope domain",
			"jid: %s is no domain of ours, so nobody would speak through the component", l.JID)
	}
}

// checkComponentLink reports what a component cannot do.
func (t *tree) checkComponentLink(n *node, v view, l *Link) {
	if v.set("gateway") == nil {
		t.report.errorf(n.pos, `add gateway = "HOST:5347"`, "link %s has no gateway: the DNS names no servers for components", n.label)
	}
	for _, name := range []string{"subscriptions", "reply_to"} {
		if s := n.settings[name]; s != nil && !s.bad {
			t.report.errorf(s.pos, "", "%s is for an account, and link %s is a component", name, n.label)
		}
	}
	if s := n.settings["tls"]; s != nil && s.value == "ifavailable" {
		t.report.errorf(s.valuePos, "", "tls: a component cannot find out whether TLS is available: it is required, or no")
	}
}

// ours says whether a domain is one that we answer for.
func (c *Config) ours(domain string) bool {
	d := c.Domain(domain)
	return domain == c.MailGatewayDomain || d != nil && (d.Role == RoleServer || d.ComponentSecret != "")
}

// checkComponents reports domains that cannot be a component's, and listeners for nobody.
func (t *tree) checkComponents(c *Config) {
	some := false
	for _, n := range t.root.of(inDomain) {
		s := n.settings["component_secret"]
		if s == nil || s.bad {
			continue
		}
		some = true
		switch d := c.Domain(n.domain); {
		case n.protocol == "smtp":
			t.report.errorf(s.pos, "", "component_secret has no meaning for the SMTP side of a domain")
		case s.value == "":
			t.report.errorf(s.valuePos, "", "component_secret is empty")
		case d != nil && d.Role != RoleNone:
			t.report.errorf(s.pos, "leave xmpp_role out", "domain %s is a component's, or has an xmpp_role, not both", n.domain)
		}
	}
	listens := slices.ContainsFunc(c.Listeners, func(l *Listen) bool {
		return l.Kind == XMPPStreams && l.Enable && l.Stream == StreamComponent
	})
	for _, d := range c.Domains {
		if d.ComponentSecret != "" && !listens {
			t.report.warnf(d.Pos, `add listen "127.0.0.1:5347" {} to an xmpp_listener`, "no component can join as %s: there is no listen scope with stream = component", d.Name)
		}
	}
	for _, l := range c.Listeners {
		if l.Kind == XMPPStreams && l.Enable && l.Stream == StreamComponent && !some && l.Pos.File != defaultName {
			t.report.warnf(l.Pos, `set component_secret in a scope domain`, "no component can join: no domain has a component_secret")
		}
	}
}
