package gateway

import (
	"context"
	"strings"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// prompt answers with what a person is to be asked for (XEP-0100 §6.3), in English, the
// only language there is.
func (g *Gateway) prompt(context.Context, *request) (*xmlwire.Element, error) {
	var what []string
	for _, k := range g.o.Kinds {
		what = append(what, kinds[k].prompt)
	}
	q := xmlwire.New(nsGateway, "query")
	q.Add(xmlwire.New(nsGateway, "desc").AddText("Please enter " + strings.Join(what, " or ") + " of the person you would like to contact."))
	return q.Add(xmlwire.New(nsGateway, "prompt").AddText("Contact ID")), nil
}

// prompted answers with the JID of what the person has typed (XEP-0100 §6.3).
func (g *Gateway) prompted(_ context.Context, rq *request) (*xmlwire.Element, error) {
	typed := rq.payload.Child(xmlwire.Name{Space: nsGateway, Local: "prompt"})
	if typed == nil {
		return nil, &stanza.Error{Condition: stanza.BadRequest, Text: "no prompt"}
	}
	j, err := g.o.Addresses.JID(rq.to.jid, strings.TrimSpace(typed.Text()))
	if err != nil {
		return nil, &stanza.Error{Condition: stanza.NotAcceptable, Text: err.Error()}
	}
	g.stats.prompted.Add(1)
	return xmlwire.New(nsGateway, "query").Add(xmlwire.New(nsGateway, "jid").AddText(j.String())), nil
}
