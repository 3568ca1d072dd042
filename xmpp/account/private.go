package account

import (
	"context"
	"fmt"
	"strings"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsPrivate = "jabber:iq:private"

// Elements keeps XML elements for accounts, by bare JID and a name of any text. Its
// methods may be called from any goroutine.
type Elements interface {
	// Element returns one, nil where there is none. It may be changed.
	Element(ctx context.Context, user jid.JID, name string) (*xmlwire.Element, error)
	// SetElement stores one. most bounds how many the account may have whose names begin
	// as this one's does up to its first space; a further one is refused with a
	// *stanza.Error.
	SetElement(ctx context.Context, user jid.JID, name string, e *xmlwire.Element, most int) error
}

// Private is private XML storage (XEP-0049).
type Private struct {
	Elements Elements
	// Most bounds the elements of an account, Size the bytes of each. Zero: 100, 64 KiB.
	Most, Size int
}

// Service returns what answers the queries.
func (p *Private) Service() router.Service {
	return router.Service{
		Payloads: []xmlwire.Name{{Space: nsPrivate, Local: "query"}},
		Reach:    router.Owner | router.Others,
		OfDomain: []string{nsPrivate}, OfAccount: []string{nsPrivate},
		Answer: p.answer,
	}
}

func (p *Private) answer(ctx context.Context, rq router.Request) (*xmlwire.Element, error) {
	if rq.From.Bare() != rq.Account() {
		return nil, &stanza.Error{Condition: stanza.Forbidden} // §3
	}
	var all []*xmlwire.Element
	for e := range rq.Payload.Elements() {
		if err := p.check(e); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	switch {
	case len(all) == 0 || rq.Type == stanza.TypeGet && len(all) > 1: // §2.1, one element at a time
		return nil, badRequest
	case rq.Type == stanza.TypeGet:
		return p.get(ctx, rq.Account(), all[0].Name)
	}
	for _, e := range all {
		if err := p.Elements.SetElement(ctx, rq.Account(), privateName(e.Name), e, orDefault(p.Most, 100)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// check holds an element to §3: those of the protocol itself are no private ones.
func (p *Private) check(e *xmlwire.Element) error {
	switch ns := e.Name.Space; {
	case ns == "" || ns == nsPrivate || ns == stanza.Client || ns == stanza.Server || ns == "vcard-temp":
		return &stanza.Error{Condition: stanza.NotAcceptable}
	case strings.HasPrefix(ns, "jabber:iq:"):
		return &stanza.Error{Condition: stanza.NotAcceptable}
	}
	return tooLarge(e, orDefault(p.Size, 64<<10))
}

func (p *Private) get(ctx context.Context, user jid.JID, name xmlwire.Name) (*xmlwire.Element, error) {
	e, err := p.Elements.Element(ctx, user, privateName(name))
	if err != nil {
		return nil, err
	}
	if e == nil {
		e = xmlwire.New(name.Space, name.Local) // §2.1: what was never stored is empty
	}
	return xmlwire.New(nsPrivate, "query").Add(e), nil
}

func privateName(n xmlwire.Name) string { return "private " + n.Space + " " + n.Local }

// tooLarge refuses an element that is written with more bytes than it may.
func tooLarge(e *xmlwire.Element, most int) error {
	if len(xmlwire.Append(nil, e, "")) <= most {
		return nil
	}
	return &stanza.Error{Condition: stanza.PolicyViolation, Text: fmt.Sprintf("more than %d bytes", most)}
}

func orDefault(n, def int) int {
	if n <= 0 {
		return def
	}
	return n
}
