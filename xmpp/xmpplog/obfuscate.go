package xmpplog

import (
	"strings"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// hidden stands for what people have written, however long it is.
const hidden = "***"

// obfuscate hides all text of a stanza and, in what it carries, the attributes whose
// meaning no protocol fixes: text is in more places than <body/>, such as the reason of
// an invitation (XEP-0249 §2) or the alt of an image (XEP-0071 §6.6).
func obfuscate(st *xmlwire.Element) {
	for i := range st.Attrs {
		switch a := &st.Attrs[i]; a.Name.Local {
		case "from", "to", "id", "type", "lang":
		default:
			a.Value = hidden
		}
	}
	hideText(st)
	for c := range st.Elements() {
		hide(c)
	}
}

func hide(e *xmlwire.Element) {
	for i := range e.Attrs {
		if a := &e.Attrs[i]; !protocolWords[a.Name.Local] {
			a.Value = hidden
		}
	}
	if !public(e.Name) {
		hideText(e)
	}
	for c := range e.Elements() {
		hide(c)
	}
}

func hideText(e *xmlwire.Element) {
	for i := range e.Children {
		if n := &e.Children[i]; n.Element == nil && strings.TrimSpace(n.Text) != "" {
			n.Text = hidden
		}
	}
}

// public are elements whose text is a word of the protocol (RFC 6121 §4.7.2).
func public(n xmlwire.Name) bool {
	switch n.Local {
	case "show", "priority":
		return n.Space == stanza.Client || n.Space == stanza.Server || n.Space == stanza.Component
	}
	return false
}

// protocolWords are the attributes that stay: addresses, ids, times, names of things
// that a protocol has.
var protocolWords = map[string]bool{
	"affiliation": true, "algo": true, "ask": true, "by": true, "category": true, "code": true, "from": true, "hash": true,
	"id": true, "jid": true, "lang": true, "node": true, "queryid": true, "role": true, "sid": true, "rid": true, "stamp": true,
	"subscription": true, "to": true, "type": true, "var": true, "ver": true, "version": true, "complete": true,
}
