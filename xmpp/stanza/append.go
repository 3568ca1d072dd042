package stanza

import (
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Append appends the stanza as XML text for a stream whose content namespace is
// ns: nothing is declared there, and the stanza and its own children are put
// into ns. With "" it stands alone and declares Client. The common attributes
// come from the fields.
func (s *Stanza) Append(dst []byte, ns string) []byte {
	var room [12]xmlwire.Attr
	e := xmlwire.Element{Name: xmlwire.Name{Space: Client, Local: s.Kind.String()}, Attrs: s.attrs(room[:0]), Children: s.Element.Children}
	if ns == Server || ns == Component {
		e.Name.Space = ns
		e.Children = renamed(e.Children, ns)
	}
	return xmlwire.Append(dst, &e, ns)
}

// Whole returns the stanza as one element, for another stanza to carry (XEP-0297).
// It shares the children.
func (s *Stanza) Whole() *xmlwire.Element {
	return &xmlwire.Element{Name: xmlwire.Name{Space: Client, Local: s.Kind.String()}, Attrs: s.attrs(nil), Children: s.Element.Children}
}

// attrs appends the attributes, the common ones from the fields.
func (s *Stanza) attrs(attrs []xmlwire.Attr) []xmlwire.Attr {
	attrs = appendAttr(attrs, "to", address(s.To))
	attrs = appendAttr(attrs, "from", address(s.From))
	attrs = appendAttr(attrs, "id", s.ID)
	attrs = appendAttr(attrs, "type", s.Type)
	if s.Lang != "" {
		attrs = append(attrs, xmlwire.Attr{Name: lang, Value: s.Lang})
	}
	for i := range s.Element.Attrs {
		if a := &s.Element.Attrs[i]; !common(a.Name) {
			attrs = append(attrs, *a)
		}
	}
	return attrs
}

// String returns the stanza as XML text that stands alone.
func (s *Stanza) String() string { return string(s.Append(nil, "")) }

var lang = xmlwire.Name{Space: xmlwire.XML, Local: "lang"}

// common reports whether an attribute has a field in Stanza.
func common(n xmlwire.Name) bool {
	switch n.Local {
	case "to", "from", "id", "type":
		return n.Space == ""
	case "lang":
		return n.Space == xmlwire.XML
	}
	return false
}

func address(j jid.JID) string {
	if j.IsZero() {
		return ""
	}
	return j.String()
}

func appendAttr(attrs []xmlwire.Attr, local, value string) []xmlwire.Attr {
	if value == "" {
		return attrs
	}
	return append(attrs, xmlwire.Attr{Name: xmlwire.Name{Local: local}, Value: value})
}

// renamed returns the children with those in Client moved to ns, and so on under
// them. The given ones are not changed: they may be shared with other copies of
// the stanza that are on their way elsewhere.
func renamed(children []xmlwire.Node, ns string) []xmlwire.Node {
	out := make([]xmlwire.Node, len(children))
	for i, n := range children {
		if n.Element != nil && n.Element.Name.Space == Client {
			c := *n.Element
			c.Name.Space = ns
			c.Children = renamed(c.Children, ns)
			n.Element = &c
		}
		out[i] = n
	}
	return out
}
