package gateway

import (
	"context"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	nsInfo     = "http://jabber.org/protocol/disco#info"
	nsItems    = "http://jabber.org/protocol/disco#items"
	nsPing     = "urn:xmpp:ping"
	nsVersion  = "jabber:iq:version"
	nsTime     = "urn:xmpp:time"
	nsVCard    = "vcard-temp"
	nsRegister = "jabber:iq:register"
	nsGateway  = "jabber:iq:gateway"
)

// request is an IQ get or set.
type request struct {
	*stanza.Stanza
	to      entity
	payload *xmlwire.Element
	then    []*stanza.Stanza // to be sent after the answer
}

// answering returns what the result holds, nil for an empty one.
type answering func(ctx context.Context, rq *request) (*xmlwire.Element, error)

// answer is what requests of one payload get. Nil: service-unavailable.
type answer struct {
	get, set answering
	gateway  bool // only of the gateway itself
}

func (g *Gateway) listAnswers() map[xmlwire.Name]answer {
	all := map[xmlwire.Name]answer{
		{Space: nsInfo, Local: "query"}:    {get: g.info},
		{Space: nsItems, Local: "query"}:   {get: noItems},
		{Space: nsPing, Local: "ping"}:     {get: func(context.Context, *request) (*xmlwire.Element, error) { return nil, nil }}, // XEP-0199 §4.4
		{Space: nsVersion, Local: "query"}: {get: g.version},
		{Space: nsTime, Local: "time"}:     {get: entityTime},
		{Space: nsVCard, Local: "vCard"}:   {get: g.vCard, set: notYours},
		{Space: nsGateway, Local: "query"}: {get: g.prompt, set: g.prompted, gateway: true},
	}
	if g.o.Registrations != nil {
		all[xmlwire.Name{Space: nsRegister, Local: "query"}] = answer{get: g.registration, set: g.register, gateway: true}
	}
	return all
}

// iq answers a request.
func (g *Gateway) iq(ctx context.Context, asker router.Session, st *stanza.Stanza, to entity) error {
	rq := &request{Stanza: st, to: to}
	for rq.payload = range st.Element.Elements() {
		break
	}
	if rq.payload == nil {
		return unavailable
	}
	a := g.answers[rq.payload.Name]
	f := a.get
	if st.Type == stanza.TypeSet {
		f = a.set
	}
	if f == nil || a.gateway && !to.gateway() {
		return unavailable
	}
	payload, err := f(ctx, rq)
	if err != nil {
		return err
	}
	result := st.Reply(stanza.TypeResult)
	if payload != nil {
		result.Element.Add(payload)
	}
	if err := g.o.Router.Reply(ctx, asker, result); err != nil {
		return err
	}
	for _, st := range rq.then {
		g.send(ctx, asker, st)
	}
	return nil
}

// version answers XEP-0092: behind every address is the gateway's software.
func (g *Gateway) version(context.Context, *request) (*xmlwire.Element, error) {
	return router.SoftwareVersion(g.o.Name, g.o.Version), nil
}

// entityTime answers XEP-0202: nobody knows what time it is for who reads his mail.
func entityTime(context.Context, *request) (*xmlwire.Element, error) {
	return router.EntityTime(time.Now()), nil
}

// vCard answers XEP-0054 §3.3 with what is known: the address.
func (g *Gateway) vCard(_ context.Context, rq *request) (*xmlwire.Element, error) {
	child := func(parent *xmlwire.Element, local, text string) *xmlwire.Element {
		return parent.Add(xmlwire.New(nsVCard, local).AddText(text))
	}
	card := xmlwire.New(nsVCard, "vCard")
	switch rq.to.kind {
	case Mail:
		child(card, "FN", rq.to.address)
		card.Add(child(xmlwire.New(nsVCard, "EMAIL").Add(xmlwire.New(nsVCard, "INTERNET")), "USERID", rq.to.address))
	case Phone:
		child(card, "FN", rq.to.address)
		card.Add(child(xmlwire.New(nsVCard, "TEL").Add(xmlwire.New(nsVCard, "CELL")), "NUMBER", rq.to.address))
	default:
		child(card, "FN", g.self.Identities[0].Name)
	}
	return child(card, "JABBERID", rq.to.jid.String()), nil
}

// notYours refuses to change a vCard (XEP-0054 §3.2).
func notYours(context.Context, *request) (*xmlwire.Element, error) {
	return nil, &stanza.Error{Condition: stanza.Forbidden}
}
