package app

import (
	"fmt"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/mcmt"
)

// Rules are the parts of a configuration that decide about a message and can
// change while messages flow: addresses, preference of parts, filters. The same
// Rules serve the running gateway and the dry run.
type Rules struct {
	Converter *convert.Converter
	Filters   *filters.Chain
	Role      func(domain string) convert.Role
}

// NewRules makes the Rules of a configuration.
func NewRules(cfg *config.Config) (*Rules, error) {
	role := func(domain string) convert.Role {
		d := cfg.Domain(domain)
		switch {
		case d != nil && d.Role == config.RoleServer:
			return convert.Server
		case d != nil && d.Role == config.RoleClient, cfg.Linked(domain):
			return convert.Client
		default:
			return convert.NoRole
		}
	}
	o := convert.Options{
		Preference:        cfg.MCMT.Preference,
		XMPPTypes:         cfg.MCMT.XMPPTypes,
		MessageType:       cfg.MCMT.MessageType,
		MailGatewayDomain: cfg.MailGatewayDomain,
		Roles:             role,
	}
	if o.MailGatewayDomain == "" {
		// No domain of ours: senders still need an address to come from.
		o.MailGatewayDomain = "mail.invalid"
	}
	for _, m := range cfg.RecipientMaps {
		o.Maps = append(o.Maps, convert.RecipientMap{Name: m.Name, Match: m.Match, JID: m.JID})
	}
	converter, err := convert.New(o)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	chain, err := filters.Build(cfg.Filters)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return &Rules{Converter: converter, Filters: chain, Role: role}, nil
}

// Limits are the bounds on a message that is taken apart. Its size was bounded by
// the listener that took it (max_message_size); this is for files and for
// messages that were accepted under a larger limit.
var Limits = mcmt.Limits{Size: 256 << 20}
