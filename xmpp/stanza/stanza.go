// Package stanza is the three kinds of XML stanza, message, presence and iq,
// with their common attributes and errors (RFC 6120 §8).
package stanza

import (
	"errors"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Content namespaces (RFC 6120 §4.8.2, XEP-0114 §3). Inside the program every
// stanza is in Client; Parse and Append translate.
const (
	Client    = "jabber:client"
	Server    = "jabber:server"
	Component = "jabber:component:accept"
)

// Dialback is the namespace of what servers say beside stanzas (XEP-0220).
const Dialback = xmlwire.Dialback

// The names of ids that are given to a stanza beside the one of its sender
// (XEP-0359 §3), of the mark of a delay (XEP-0203 §2).
var (
	OriginID = xmlwire.Name{Space: "urn:xmpp:sid:0", Local: "origin-id"}
	StanzaID = xmlwire.Name{Space: OriginID.Space, Local: "stanza-id"}
	Delay    = xmlwire.Name{Space: "urn:xmpp:delay", Local: "delay"}
)

// Kind is the name of a stanza. The zero Kind is not valid.
type Kind uint8

// The kinds of stanza (RFC 6120 §8.2).
const (
	Message Kind = iota + 1
	Presence
	IQ
)

// String returns the element's name: message, presence or iq.
func (k Kind) String() string {
	switch k {
	case Message:
		return "message"
	case Presence:
		return "presence"
	case IQ:
		return "iq"
	}
	return "unknown"
}

// kindOf is the kind of an element's name, 0 for another one.
func kindOf(n xmlwire.Name) Kind {
	if n.Space != Client && n.Space != Server && n.Space != Component {
		return 0
	}
	switch n.Local {
	case "message":
		return Message
	case "presence":
		return Presence
	case "iq":
		return IQ
	}
	return 0
}

// Is reports whether an element of that name is a stanza.
func Is(n xmlwire.Name) bool { return kindOf(n) != 0 }

// Types that more than one kind has, or that decide something here (RFC 6120
// §8.2.3, RFC 6121 §4.7.1, §5.2.2). The type attribute may hold any text.
const (
	TypeError     = "error"
	TypeGet       = "get"
	TypeSet       = "set"
	TypeResult    = "result"
	TypeChat      = "chat"
	TypeGroupchat = "groupchat"
	TypeHeadline  = "headline"
	TypeNormal    = "normal"
)

// Stanza is one stanza. Element holds its name, its children and the attributes
// as they came; the fields hold the common attributes (RFC 6120 §8.1) and win
// over it: a zero field means that the attribute is not there.
type Stanza struct {
	Kind     Kind
	From, To jid.JID
	ID       string
	Type     string // as written: "" for a message means normal, for a presence available
	Lang     string // xml:lang; "" means that of the stream
	Element  *xmlwire.Element
}

// ErrNoStanza is what Parse returns for an element that is no stanza: the
// stream error unsupported-stanza-type (RFC 6120 §4.9.3.24).
var ErrNoStanza = errors.New("stanza: not a message, presence or iq")

// Parse takes e, which it changes and keeps, for a stanza. The namespace of the
// stream becomes Client in the stanza and in its own children; what they carry
// of other namespaces, such as a forwarded stanza (XEP-0297), stays as it is.
//
// An error is ErrNoStanza, or an *Error that may be sent back: jid-malformed for
// a bad address, bad-request for what breaks RFC 6120 §8.1 or §8.2. In the
// latter case the stanza is returned too, as far as it is good, for ErrorReply.
func Parse(e *xmlwire.Element) (*Stanza, error) {
	k := kindOf(e.Name)
	if k == 0 {
		return nil, ErrNoStanza
	}
	if e.Name.Space != Client {
		rename(e, e.Name.Space)
	}
	s := &Stanza{Kind: k, Element: e}
	var bad *Error
	for i := range e.Attrs {
		a := &e.Attrs[i]
		var err error
		switch a.Name {
		case xmlwire.Name{Local: "from"}:
			s.From, err = jid.Parse(a.Value)
		case xmlwire.Name{Local: "to"}:
			s.To, err = jid.Parse(a.Value)
		case xmlwire.Name{Local: "id"}:
			s.ID = a.Value
		case xmlwire.Name{Local: "type"}:
			s.Type = a.Value
		case xmlwire.Name{Space: xmlwire.XML, Local: "lang"}:
			s.Lang = a.Value
		}
		if err != nil {
			bad = &Error{Condition: JIDMalformed, Text: a.Name.Local + ": " + err.Error()}
		}
	}
	if bad == nil {
		bad = s.check()
	}
	if bad != nil {
		return s, bad
	}
	return s, nil
}

// ParseBytes parses a stanza that stands alone. Errors are those of
// xmlwire.Parse and of Parse.
func ParseBytes(b []byte, lim xmlwire.Limits) (*Stanza, error) {
	e, err := xmlwire.Parse(b, lim)
	if err != nil {
		return nil, err
	}
	return Parse(e)
}

// rename moves e and, under it, all that is in the content namespace from
// without a break, to Client.
func rename(e *xmlwire.Element, from string) {
	e.Name.Space = Client
	for c := range e.Elements() {
		if c.Name.Space == from {
			rename(c, from)
		}
	}
}

// check holds the stanza against the rules for its kind. A message of unknown
// type is a normal one (RFC 6121 §5.2.2), so there is none for messages.
func (s *Stanza) check() *Error {
	switch s.Kind {
	case Presence:
		switch s.Type {
		case "", "unavailable", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "probe", TypeError:
			return nil
		}
		return &Error{Condition: BadRequest, Text: "unknown type of presence"} // RFC 6121 §4.7.1
	case IQ:
		return s.checkIQ()
	}
	return nil
}

// checkIQ holds an iq against RFC 6120 §8.2.3.
func (s *Stanza) checkIQ() *Error {
	if s.ID == "" {
		return &Error{Condition: BadRequest, Text: "iq without an id"}
	}
	n := 0
	for range s.Element.Elements() {
		n++
	}
	switch {
	case (s.Type == TypeGet || s.Type == TypeSet) && n != 1:
		return &Error{Condition: BadRequest, Text: "iq request without exactly one child element"}
	case s.Type == TypeResult && n > 1:
		return &Error{Condition: BadRequest, Text: "iq result with several child elements"}
	case s.Type != TypeGet && s.Type != TypeSet && s.Type != TypeResult && s.Type != TypeError:
		return &Error{Condition: BadRequest, Text: "unknown type of iq"}
	}
	return nil
}

// Clone returns a deep copy that may be changed.
func (s *Stanza) Clone() *Stanza {
	c := *s
	c.Element = s.Element.Clone()
	return &c
}

// Child returns the first child element of that name in the stanza's own
// namespace, such as body or error, nil when there is none.
func (s *Stanza) Child(local string) *xmlwire.Element {
	return s.Element.Child(xmlwire.Name{Space: Client, Local: local})
}
