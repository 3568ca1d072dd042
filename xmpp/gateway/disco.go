package gateway

import (
	"context"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// kinds is what is told of the kinds of address, and of the gateway to them.
var kinds = map[Kind]struct {
	gateway, address router.Identity
	prompt           string // what to type
	typed, local     string // an example, as people write it and as the localpart
}{
	// The registry has no identity for a mailbox. It is an account, of whose server the
	// gateway is the stand-in (the registry of XEP-0030 §10.2.1).
	Mail: {
		gateway: router.Identity{Category: "gateway", Type: "smtp", Name: "E-mail gateway"},
		address: router.Identity{Category: "account", Type: "registered", Name: "E-mail address"},
		prompt:  "the e-mail address",
		typed:   "name@example.com", local: `name\40example.com`,
	},
	// client/sms: who has it reads short messages, and no instant ones.
	Phone: {
		gateway: router.Identity{Category: "gateway", Type: "sms", Name: "SMS gateway"},
		address: router.Identity{Category: "client", Type: "sms", Name: "Phone number"},
		prompt:  "the phone number, with + and its country code,",
		typed:   "+44 7700 900123", local: "+447700900123",
	},
}

// describe makes what disco#info tells: of the gateway what XEP-0100 §4.1.1 has, with
// XEP-0106 §6 and XEP-0115, and of an address what it answers.
func (g *Gateway) describe() (self *router.Capabilities, others map[Kind]*router.Capabilities) {
	common := []string{nsInfo, nsItems, "http://jabber.org/protocol/caps", nsPing, nsTime, nsVersion, nsVCard}
	own := append([]string{`jid\20escaping`, nsGateway}, common...)
	if g.o.Registrations != nil {
		own = append(own, nsRegister)
	}
	in := router.Info{Features: own}
	others = make(map[Kind]*router.Capabilities)
	for _, k := range g.o.Kinds {
		in.Identities = append(in.Identities, kinds[k].gateway)
	}
	for k, about := range kinds {
		others[k] = router.NewCapabilities(router.Info{Identities: []router.Identity{about.address}, Features: common})
	}
	return router.NewCapabilities(in), others
}

// capabilities are those of an entity.
func (g *Gateway) capabilities(e entity) *router.Capabilities {
	if e.gateway() {
		return g.self
	}
	return g.others[e.kind]
}

// info answers disco#info (XEP-0030 §3.1).
func (g *Gateway) info(_ context.Context, rq *request) (*xmlwire.Element, error) {
	return g.capabilities(rq.to).Query(rq.payload.Attr("node"))
}

// noItems answers disco#items: nothing is listed (XEP-0030 §7), since who is behind the
// gateway is not known, and whom its users write to is their business.
func noItems(_ context.Context, rq *request) (*xmlwire.Element, error) {
	if rq.payload.Attr("node") != "" {
		return nil, &stanza.Error{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	}
	return xmlwire.New(nsItems, "query"), nil
}
