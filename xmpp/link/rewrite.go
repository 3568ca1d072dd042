package link

import (
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// What goes out by an account is from the account: its server lets nothing else pass (RFC
// 6120 §8.1.2.1). Who has written it stands in it as the address to reply to (XEP-0033
// §4.6.4), which clients show that know it.

var nameAddresses = xmlwire.Name{Space: "http://jabber.org/protocol/address", Local: "addresses"}

const replyTo = "replyto"

// onlyMessages refuses what would let everybody here act as the account: its server
// obeys an IQ from it, to change its password for instance.
var onlyMessages = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable, Text: "only messages go this way"}

// disguise is a stanza of one of our users as the account sends it, and notes who gets
// the answer. A *stanza.Error refuses it.
func (l *Link) disguise(st *stanza.Stanza) (*stanza.Stanza, error) {
	if st.Kind != stanza.Message || st.Type == stanza.TypeGroupchat || st.To.Bare() == l.o.JID.Bare() || st.To.Local() == "" {
		return nil, onlyMessages
	}
	out := withoutAddresses(st)
	out.From = jid.JID{}
	if st.Type != stanza.TypeError {
		l.contacts.note(st.To.Bare(), st.From)
		out.Element.Add(xmlwire.New(nameAddresses.Space, nameAddresses.Local).
			Add(xmlwire.New(nameAddresses.Space, "address", "type", replyTo, "jid", st.From.String())))
	}
	return out, nil
}

// undisguise is a stanza that came back as it was before; false for one that was the
// account's own.
func (l *Link) undisguise(st *stanza.Stanza) (*stanza.Stanza, bool) {
	addresses := st.Element.Child(nameAddresses)
	if addresses == nil {
		return nil, false
	}
	for a := range addresses.Elements() {
		from, err := jid.Parse(a.Attr("jid"))
		if a.Attr("type") == replyTo && err == nil {
			out := withoutAddresses(st)
			out.From = from
			return out, true
		}
	}
	return nil, false
}

// withoutAddresses is a copy of st without extended addresses; it shares the other
// children.
func withoutAddresses(st *stanza.Stanza) *stanza.Stanza {
	out, element := *st, *st.Element
	element.Children = slices.DeleteFunc(slices.Clone(element.Children), func(n xmlwire.Node) bool {
		return n.Element != nil && n.Element.Name == nameAddresses
	})
	out.Element = &element
	return &out
}
