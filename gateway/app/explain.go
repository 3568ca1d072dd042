package app

import (
	"fmt"
	"slices"
	"strings"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/xmpp/jid"
)

// Explain says which way a stanza to a JID would take by a configuration, and what becomes
// of the message when it does not arrive; address is its recipient as given, and the zero
// JID one who gets mail. Who is there now only a running gateway knows.
func Explain(cfg *config.Config, rules *Rules, to jid.JID, address string) []convert.Step {
	if to.IsZero() {
		return []convert.Step{{Topic: "route", Note: "as mail by " + byMail(cfg)}}
	}
	return []convert.Step{{Topic: "route", Note: way(cfg, rules, to.Domain())}, {Topic: "fallback", Note: otherwise(cfg, to.Domain(), address)}}
}

// way is how stanzas get to a domain.
func way(cfg *config.Config, rules *Rules, domain string) string {
	d := cfg.Domain(domain)
	if d != nil && d.ComponentSecret != "" {
		return "to the component that joins as " + domain
	}
	if rules.Role(domain) == convert.Server {
		return fmt.Sprintf("to the sessions of the account; while there are none it waits, for up to %s", cfg.Outgoing(domain).Expiration)
	}
	var links []string
	for _, l := range cfg.Links {
		if len(l.Domains) == 0 || slices.Contains(l.Domains, domain) {
			links = append(links, fmt.Sprintf("%q (%s)", l.Name, l.Type))
		}
	}
	streams := "by streams between servers, to those that the DNS names for " + domain
	if routes := cfg.Outgoing(domain).Streams.Routes; len(routes) > 0 {
		var hosts []string
		for _, r := range routes {
			hosts = append(hosts, fmt.Sprintf("%s:%d", r.Host, r.Port))
		}
		streams = "by streams between servers, to " + strings.Join(hosts, ", ")
	}
	switch {
	case len(links) > 0:
		return "by link " + strings.Join(links, ", else ")
	case cfg.DenyUnknown && (d == nil || d.Role == config.RoleNone):
		return "none: s2s_default = deny, and the domain has no xmpp_role"
	}
	return streams
}

// otherwise is what becomes of a message that does not arrive.
func otherwise(cfg *config.Config, domain, address string) string {
	out := cfg.Outgoing(domain)
	if !out.Fallback || !strings.Contains(address, "@") {
		return "none: its sender gets a delivery status notification, unless NOTIFY says otherwise"
	}
	return fmt.Sprintf("its e-mail goes to %s by %s, when it is refused or after %s", address, byMail(cfg), out.FallbackAfter)
}

// byMail is what mail goes to.
func byMail(cfg *config.Config) string {
	if cfg.Relay.Gateway != "" {
		return "the smart host " + cfg.Relay.Gateway
	}
	return "the MX hosts of its domain"
}
