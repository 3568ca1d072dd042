package stanza

import (
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/xmlwire"
)

// NewMessage returns a message; an empty body is left out.
func NewMessage(to, from jid.JID, typ, body string) *Stanza {
	s := newStanza(Message, to, from, typ)
	if body != "" {
		s.Element.Add(xmlwire.New(Client, "body").AddText(body))
	}
	return s
}

// NewPresence returns a presence; the type "" is available.
func NewPresence(to, from jid.JID, typ string) *Stanza {
	return newStanza(Presence, to, from, typ)
}

// NewIQ returns an iq with the given child, nil for none. The id must not be
// empty (RFC 6120 §8.1.3).
func NewIQ(to, from jid.JID, typ, id string, child *xmlwire.Element) *Stanza {
	s := newStanza(IQ, to, from, typ)
	s.ID = id
	if child != nil {
		s.Element.Add(child)
	}
	return s
}

func newStanza(k Kind, to, from jid.JID, typ string) *Stanza {
	return &Stanza{Kind: k, To: to, From: from, Type: typ, Element: xmlwire.New(Client, k.String())}
}

// Reply returns an empty stanza of the same kind, of type t, back to the sender:
// the addresses change places, the id stays (RFC 6120 §8.1.2, §8.2.3).
func (s *Stanza) Reply(t string) *Stanza {
	r := newStanza(s.Kind, s.From, s.To, t)
	r.ID = s.ID
	return r
}

// ErrorReply returns the stanza that tells the sender of s about e, nil where
// none may be sent: an error is never answered by an error (RFC 6120 §8.3.1),
// nor is an iq result (§8.2.3).
func (s *Stanza) ErrorReply(e *Error) *Stanza {
	if s.Type == TypeError || s.Kind == IQ && s.Type == TypeResult {
		return nil
	}
	r := s.Reply(TypeError)
	r.Element.Add(e.Element())
	return r
}
