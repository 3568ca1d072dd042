package router

import (
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Software is what a bound session claims to run: the node of the capabilities in
// its last presence (XEP-0115 §4), a URI. Empty: it has sent none, or is not bound
// in this process.
func (r *Router) Software(full jid.JID) string {
	s, ok := r.Session(full).(interface{ Presence() *stanza.Stanza })
	if !ok {
		return ""
	}
	st := s.Presence()
	if st == nil {
		return ""
	}
	caps := st.Element.Child(xmlwire.Name{Space: nsCaps, Local: "c"})
	if caps == nil {
		return ""
	}
	return caps.Attr("node")
}
