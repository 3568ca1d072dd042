package xmpplog

import (
	"net"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Kind is what a record is about.
type Kind uint8

// The kinds. The first two are those of stanzas that pass, the last says that the
// logger is there; between them is what becomes of messages.
const (
	Delivery  Kind = iota // D: sent on a stream
	Reception             // R: received on a stream
	Filtered              // F: a filter dropped it
	Failed                // P: it will never arrive
	Deferred              // T: it waits for its recipient
	Relayed               // L: a mail server took it
	Expired               // E: it waited too long
	Heartbeat             // M: the logger lives
	kinds
)

// Record is what one line tells. What is not known is zero.
type Record struct {
	Kind     Kind
	Time     time.Time // zero: now
	Stanza   string    // iq, message, presence, stream or error
	From, To string
	ID, Type string
	Remote   net.Addr // where the peer is

	// Of messages, beyond what the chapter knows.
	Message string // id in the queue
	Filter  string
	Reason  string
	Attempt int

	passage stream.Passage // with the whole stanza
}

// recordOf is the record of something that passed on a stream.
func recordOf(p stream.Passage) Record {
	r := Record{Kind: Reception, Remote: p.Remote, passage: p}
	if p.Out {
		r.Kind = Delivery
	}
	if st := p.Stanza; st != nil {
		r.Stanza, r.From, r.To, r.ID, r.Type = st.Kind.String(), address(st.From), address(st.To), st.ID, st.Type
		return r
	}
	r.Stanza = p.Element.Name.Local
	for i := range p.Element.Attrs {
		if a := &p.Element.Attrs[i]; a.Name.Space == "" {
			r.attribute(a.Name.Local, a.Value)
		}
	}
	if r.From == "" {
		r.From = address(p.Sender)
	}
	return r
}

func (r *Record) attribute(name, value string) {
	switch name {
	case "from":
		r.From = value
	case "to":
		r.To = value
	case "id":
		r.ID = value
	case "type":
		r.Type = value
	}
}

func address(j jid.JID) string {
	if j.IsZero() {
		return ""
	}
	return j.String()
}

// whole appends what passed as XML, as it is written on its stream.
func (r *Record) whole(b []byte) []byte {
	switch p := &r.passage; {
	case p.Stanza != nil:
		return p.Stanza.Append(b, p.Content)
	case p.Element != nil:
		return appendElement(b, p.Element, p.Content)
	}
	return b
}

// obfuscated is whole without anything that people have written. What streams say of
// themselves stays.
func (r *Record) obfuscated(b []byte) []byte {
	switch p := &r.passage; {
	case p.Stanza != nil:
		st := *p.Stanza
		st.Element = st.Element.Clone()
		obfuscate(st.Element)
		return st.Append(b, p.Content)
	case p.Element != nil && stanza.Is(p.Element.Name):
		e := p.Element.Clone()
		obfuscate(e)
		return appendElement(b, e, p.Content)
	}
	return r.whole(b)
}

// appendElement appends an element, of a stream header its opening tag.
func appendElement(b []byte, e *xmlwire.Element, content string) []byte {
	b = xmlwire.Append(b, e, content)
	if e.Name == (xmlwire.Name{Space: xmlwire.Streams, Local: "stream"}) {
		b = append(b[:len(b)-len("/>")], '>')
	}
	return b
}
