package stream

import (
	"net"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Observer sees what passes on streams: stanzas, stream headers and stream errors.
// Its methods are called by many goroutines, and while a stream is locked: they must
// not block or use the stream, and may keep or change nothing that they are given.
type Observer interface {
	// Observing says whether Observe does anything at the moment: it spares the work
	// of finding out what it would be told.
	Observing() bool
	// Observe is called for what was received, and for what was queued on a
	// connection in the order in which it is written.
	Observe(p Passage)
}

// Passage is something that passes on a stream: a Stanza where it is known as one,
// else an Element.
type Passage struct {
	Out     bool
	Remote  net.Addr // the peer's
	Content string   // content namespace of the stream (RFC 6120 §4.8.2)
	Stanza  *stanza.Stanza
	Element *xmlwire.Element
	// Sender is who an Element without a from attribute is from (RFC 6120 §8.1.2.1).
	Sender jid.JID
}

var (
	nameStream = xmlwire.Name{Space: xmlwire.Streams, Local: "stream"}
	nameError  = xmlwire.Name{Space: xmlwire.Streams, Local: "error"}
)

// observed says whether an Observer is told of an element of that name.
func observed(n xmlwire.Name) bool { return n == nameError || n == nameStream || stanza.Is(n) }

// SetRemote has the Observer told that the peer is elsewhere than the connection says:
// behind a proxy. It is called before the stream begins.
func (s *Stream) SetRemote(addr net.Addr) { s.out.remote = addr }

// observeIn tells of an element that was received.
func (s *Stream) observeIn(e *xmlwire.Element) {
	if o := s.o.Observer; o != nil {
		p := Passage{Remote: s.out.remote, Content: s.o.Content, Element: e}
		if s.o.Receiving && s.o.Content == NSClient {
			p.Sender = s.bound
		}
		o.Observe(p)
	}
}

// observe tells of what was queued: a stanza or an element. It is called with w.mu held
// where others may send, so that what it tells is in the order of the queue.
func (w *Writer) observe(st *stanza.Stanza, e *xmlwire.Element) {
	if w.observer != nil && (st != nil || e != nil && observed(e.Name)) {
		w.observer.Observe(Passage{Out: true, Remote: w.remote, Content: w.content, Stanza: st, Element: e})
	}
}
