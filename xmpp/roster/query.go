package roster

import (
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// NS is the namespace of rosters on the wire (RFC 6121 §2.1).
const NS = "jabber:iq:roster"

// Name is the element that an IQ about the roster carries.
var Name = xmlwire.Name{Space: NS, Local: "query"}

// Set is what a client wants changed (RFC 6121 §2.1.5).
type Set struct {
	JID    jid.JID // bare
	Name   string
	Groups []string
	Remove bool
}

// ParseSet reads the query of a roster set, which has exactly one item (RFC 6121
// §2.1.5, §2.3.3). What a client may not say counts for nothing: `ask`, `approved`,
// and any `subscription` but remove (§2.1.2). The error is a *stanza.Error, or a
// *LimitError that wraps one.
func ParseSet(query *xmlwire.Element, lim Limits) (Set, error) {
	var items []*xmlwire.Element
	for e := range query.Elements() {
		if e.Name == (xmlwire.Name{Space: NS, Local: "item"}) {
			items = append(items, e)
		}
	}
	if len(items) != 1 {
		return Set{}, &stanza.Error{Condition: stanza.BadRequest, Text: "a roster set has exactly one item"}
	}
	item := items[0]
	address, ok := item.LookupAttr(xmlwire.Name{Local: "jid"})
	if !ok {
		return Set{}, &stanza.Error{Condition: stanza.BadRequest, Text: "an item without jid"} // §2.1.2.3
	}
	j, err := jid.Parse(address)
	switch {
	case err != nil:
		return Set{}, &stanza.Error{Condition: stanza.JIDMalformed, Text: err.Error()}
	case !j.IsBare():
		// Subscriptions are between bare JIDs (§3): an item with another key
		// would be one that no stanza is ever about.
		return Set{}, &stanza.Error{Condition: stanza.BadRequest, Text: "the jid of an item has no resource"}
	}
	if item.Attr("subscription") == "remove" {
		return Set{JID: j, Remove: true}, nil
	}
	s := Set{JID: j, Name: item.Attr("name")}
	for e := range item.Elements() {
		if e.Name == (xmlwire.Name{Space: NS, Local: "group"}) {
			s.Groups = append(s.Groups, e.Text())
		}
	}
	return s, lim.checkItem(s.Name, s.Groups)
}

// Query is the content of a roster result: the items, and the version that they
// are, none where it is empty (RFC 6121 §2.1.4).
func Query(items []Item, version string) *xmlwire.Element {
	q := xmlwire.New(NS, "query")
	q.SetAttr("ver", version)
	for _, i := range items {
		q.Add(i.element())
	}
	return q
}

// Push is the content of a roster push (RFC 6121 §2.1.6).
func (c Change) Push() *xmlwire.Element {
	q := xmlwire.New(NS, "query", "ver", c.Version)
	if c.Removed {
		return q.Add(xmlwire.New(NS, "item", "jid", c.Item.JID.String(), "subscription", "remove"))
	}
	return q.Add(c.Item.element())
}

func (i Item) element() *xmlwire.Element {
	e := xmlwire.New(NS, "item", "jid", i.JID.String())
	e.SetAttr("name", i.Name)
	e.SetAttr("subscription", i.State.Subscription())
	if i.State.PendingOut() {
		e.SetAttr("ask", string(Subscribe)) // §2.1.2.2
	}
	if i.Approved {
		e.SetAttr("approved", "true") // §2.1.2.1
	}
	for _, g := range i.Groups {
		e.Add(xmlwire.New(NS, "group").AddText(g))
	}
	return e
}
