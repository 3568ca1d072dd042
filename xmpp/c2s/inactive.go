package c2s

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsClientState = "urn:xmpp:csi:0"

// waiting is what waits while nobody looks at the client (XEP-0352): presence and
// chat states, of each sender the last. A phone need not wake up for them. They go out,
// in their order, when somebody looks again, before whatever cannot wait, and when
// there are too many of them.
type waiting struct {
	inactive atomic.Bool // changed with mu held

	mu   sync.Mutex // held too while something is sent that must come after them
	held []*stanza.Stanza
}

// clientState takes <active/> or <inactive/> from the client. There is no answer; what
// has waited is queued before anything that the client sends next is handled (§5.1).
func (c *session) clientState(ctx context.Context, e *xmlwire.Element) error {
	switch {
	case c.maxHeld < 1:
	case e.Name.Local == "active":
		c.active(ctx)
		return nil
	case e.Name.Local == "inactive":
		c.waiting.mu.Lock()
		defer c.waiting.mu.Unlock()
		c.waiting.inactive.Store(true)
		return nil
	}
	return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not a state of clients"}
}

// active ends the waiting. A session that is resumed is active, too (§5.2).
func (c *session) active(ctx context.Context) {
	w := &c.waiting
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inactive.Load() {
		c.release(ctx, self{c})
		w.inactive.Store(false)
	}
}

// orHold sends a stanza by send, or holds it back.
func (c *session) orHold(ctx context.Context, st *stanza.Stanza, send func() error) error {
	w := &c.waiting
	if !w.inactive.Load() {
		return send()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.inactive.Load() {
		return send()
	}
	if !c.canWait(st) {
		c.release(ctx, direct{c})
		return send()
	}
	w.held = slices.DeleteFunc(w.held, func(old *stanza.Stanza) bool { return old.Kind == st.Kind && old.From == st.From })
	w.held = append(w.held, st)
	c.server.stats.held.Add(1)
	if len(w.held) > c.maxHeld {
		c.release(ctx, direct{c})
	}
	return nil
}

// release sends what has waited; waiting.mu is held. A session that is going away has
// no use for it any more.
func (c *session) release(ctx context.Context, by interface {
	Send(ctx context.Context, st *stanza.Stanza) error
}) {
	held := c.waiting.held
	c.waiting.held = nil
	for _, st := range held {
		if by.Send(ctx, st) != nil {
			return
		}
	}
}

// direct is the session as others send to it, with nothing held back.
type direct struct{ *session }

// Send queues a stanza.
func (c direct) Send(ctx context.Context, st *stanza.Stanza) error {
	return c.write(ctx, func(w *stream.Writer) error { return w.SendStanza(ctx, st) })
}

// canWait says whether a stanza may wait until somebody looks.
func (c *session) canWait(st *stanza.Stanza) bool {
	switch st.Kind {
	case stanza.Presence:
		// What a room says to who joins is part of a conversation (XEP-0045 §7.2).
		room := st.Element.Child(xmlwire.Name{Space: "http://jabber.org/protocol/muc#user", Local: "x"})
		return (st.Type == "" || st.Type == "unavailable") && room == nil
	case stanza.Message:
		return !c.server.o.Router.Tells(st)
	}
	return false
}

// clientState announces that the client may say whether somebody looks at it.
type clientState struct{ o ConnOptions }

// Name is <csi/>.
func (clientState) Name() xmlwire.Name { return xmlwire.Name{Space: nsClientState, Local: "csi"} }

// Advertise announces it to a client that has logged in (§4.1).
func (f clientState) Advertise(s *stream.Stream) *xmlwire.Element {
	if f.o.MaxHeld < 1 || s.Mechanism() == "" {
		return nil
	}
	return xmlwire.New(nsClientState, "csi")
}

// Negotiate refuses: there is nothing to negotiate.
func (clientState) Negotiate(context.Context, *stream.Stream, *xmlwire.Element) (stream.Next, error) {
	return 0, notNegotiated
}
