package router

import (
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Avatars knows the photos of local accounts, by bare JID. Its methods may be called
// from any goroutine.
type Avatars interface {
	// Avatar is the hash of a photo (XEP-0153 §3.1), empty for none.
	Avatar(user jid.JID) string
}

var nameUpdate = xmlwire.Name{Space: "vcard-temp:x:update", Local: "x"}

// Dress returns presence that a client has sent with the hash of its user's photo
// (XEP-0398 §3): where the client itself names one, or says that there is none, it
// stays as it is.
func (r *Router) Dress(st *stanza.Stanza) *stanza.Stanza {
	if r.o.Avatars == nil || st.Type != "" {
		return st
	}
	hash := r.o.Avatars.Avatar(st.From.Bare())
	if own := st.Element.Child(nameUpdate); hash == "" || own != nil && own.Child(xmlwire.Name{Space: nameUpdate.Space, Local: "photo"}) != nil {
		return st
	}
	out := without(st, func(e *xmlwire.Element) bool { return e.Name == nameUpdate })
	out.Element.Add(xmlwire.New(nameUpdate.Space, "x").Add(xmlwire.New(nameUpdate.Space, "photo").AddText(hash)))
	return out
}

// AvatarChanged has the resources of an account that are bound in this process show
// their presence anew. Whoever keeps the photos calls it in every process.
func (r *Router) AvatarChanged(user jid.JID) {
	for _, s := range r.Sessions(user) {
		if o, ok := s.(interface{ Redress() }); ok {
			o.Redress()
		}
	}
}
