package c2s

import (
	"context"
	"errors"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// management is what a session knows of its stream management (XEP-0198). Only
// the goroutine of the connection touches it, and whoever takes over from it.
type management struct {
	enabled bool
	handled uint32 // stanzas of the client, modulo 2^32
}

// manage takes an element of stream management from the client.
func (c *session) manage(ctx context.Context, e *xmlwire.Element) error {
	switch {
	case e.Name.Local == "enable":
		return c.enable(ctx, e)
	case e.Name.Local == "resume":
		// §5: in place of binding, not after it.
		return c.out().Send(ctx, (&stream.Failed{Condition: stanza.UnexpectedRequest}).Element())
	case !c.sm.enabled:
	case e.Name.Local == "r": // §4: answered at once
		return c.out().Send(ctx, stream.Ack(c.sm.handled))
	case e.Name.Local == "a":
		h, err := stream.ParseCount(e)
		if err != nil {
			return err
		}
		return c.out().Acknowledge(h)
	}
	return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not an element to send now"}
}

// enable begins stream management (§3).
func (c *session) enable(ctx context.Context, e *xmlwire.Element) error {
	req, err := stream.ParseEnable(e)
	var failed *stream.Failed
	if c.sm.enabled {
		// §3 has the text that it ends the stream, and an example of <failed/>.
		failed = &stream.Failed{Condition: stanza.UnexpectedRequest}
		return errors.Join(c.out().Send(ctx, failed.Element()),
			&stream.Error{Condition: stream.PolicyViolation, Text: "stream management is enabled already"})
	}
	if errors.As(err, &failed) {
		return c.out().Send(ctx, failed.Element())
	}
	enabled, o := c.grant(req)
	return c.out().Manage(ctx, enabled, o)
}

// grant enables what req asks for, as far as it may, and returns the answer.
func (c *session) grant(req stream.Enable) (*xmlwire.Element, stream.Managing) {
	id, wait := "", c.resumeTime
	switch {
	case !req.Resume || wait < time.Second: // the least that max can say
		wait = 0
	case req.Max > 0:
		wait = min(wait, req.Max)
	}
	if wait > 0 {
		id = c.server.o.Hibernation.newID()
	}
	c.life.mu.Lock()
	c.life.id, c.life.wait = id, wait
	by := c.life.by
	c.life.mu.Unlock()
	c.sm.enabled, c.sm.handled = true, 0
	enabled := stream.Enabled(id, wait)
	if wait > 0 {
		// Another process may stand behind the name that the client knows, and would have
		// to fetch the session from here.
		enabled.SetAttr("location", c.location)
	}
	return enabled, managing(by, wait, c.server.o.ProofTime)
}

// enableInline is enable while the resource is bound (XEP-0386): the answer goes with
// that of binding.
func (n *negotiation) enableInline(ctx context.Context, s *stream.Stream, e *xmlwire.Element) (*xmlwire.Element, error) {
	if e.Name.Local != "enable" || n.c.sm.enabled {
		return (&stream.Failed{Condition: stanza.UnexpectedRequest}).Element(), nil
	}
	req, err := stream.ParseEnable(e)
	var failed *stream.Failed
	if errors.As(err, &failed) {
		return failed.Element(), nil
	}
	enabled, o := n.c.grant(req)
	return enabled, s.Manage(ctx, o)
}

// Handled is how many stanzas of its client the session has handled, if previd is its
// SM-ID and it is suspended: another process, which cannot take it over, tells the client
// (XEP-0198 §5), so that it need not send them again.
func (c *session) Handled(_ context.Context, previd string) (h uint32, ok bool) {
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	if c.life.by != nil || c.life.id == "" || !same(c.life.id, previd) {
		return 0, false
	}
	return c.sm.handled, true
}

// handledTime bounds the search for what was handled: the client waits.
const handledTime = 2 * time.Second

// handledElsewhere asks the processes that have sessions of an account.
func (v *Server) handledElsewhere(ctx context.Context, previd string, bare jid.JID) (h uint32, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, handledTime)
	defer cancel()
	for _, s := range v.o.Router.Sessions(bare) {
		if o, asks := s.(interface {
			Handled(ctx context.Context, previd string) (uint32, bool)
		}); asks {
			if h, ok := o.Handled(ctx, previd); ok {
				return h, true
			}
		}
	}
	return 0, false
}

// settling is how long a client has for itself after <enabled/>. xmpp.js 0.14 sets its
// count to zero a moment after it has read that, and so miscounts a message that comes
// right behind, such as those of custody.
const settling = 100 * time.Millisecond

// managing is how the stream of a connection is managed.
func managing(by *carrier, wait, answer time.Duration) stream.Managing {
	return stream.Managing{Resumable: wait > 0, Answer: answer, Settling: settling, Overdue: func() {
		by.end(&stream.Error{Condition: stream.ConnectionTimeout, Text: "stanzas were not acknowledged"})
	}}
}

// lastAck tells the client what was handled, before the stream is closed by either
// side: what it has not sent a request for, it need not send again (§4).
func (c *session) lastAck(ctx context.Context) {
	if !c.sm.enabled {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel() // nobody waits for room now
	_ = c.out().Send(ctx, stream.Ack(c.sm.handled))
}

// givingBack is whether what a session has not delivered is still to come back from
// it: from the moment that others may not find it any more until all is back,
// nothing newer is dealt with, so that it stays in order.
type givingBack struct {
	mu   sync.Mutex
	done func() // nil: it has not begun
	over bool
}

func (c *session) returning() {
	g := &c.back
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done == nil && !g.over {
		g.done = c.server.o.Router.Returning(c.full.Bare())
	}
}

// remains takes returning back, for a session that is not ending after all.
func (c *session) remains() { c.back.end(false) }

func (c *session) returned() { c.back.end(true) }

func (g *givingBack) end(over bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = g.over || over
	if g.done != nil {
		g.done()
		g.done = nil
	}
}

// giveBackTime bounds how long the end of a session waits for custody.
const giveBackTime = 10 * time.Second

// giveBack treats what the client has not acknowledged like stanzas for a
// resource that is not there (§4). priority is the one that the session had.
func (c *session) giveBack(ctx context.Context, priority int32) {
	left := c.out().Release()
	if len(left) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	for _, u := range left {
		if c.elsewhere(u, priority) {
			continue
		}
		if err := c.server.o.Router.Return(ctx, u.Stanza, u.Sent); err != nil {
			c.log.Warn().Err(err).Str("id", u.Stanza.ID).Stringer("from", u.Stanza.From).Msg("message not kept, its sender is told")
		}
	}
	c.log.Info().Int("stanzas", len(left)).Msg("unacknowledged stanzas given back")
}

// elsewhere says whether another session has got the same message, which went to
// all with the highest priority (RFC 6121 §8.5.2.1.1): that one answers for it.
func (c *session) elsewhere(u stream.Unacked, priority int32) bool {
	if u.Stanza.Kind != stanza.Message || !u.Stanza.To.IsBare() || priority == unavailable {
		return false
	}
	for _, s := range c.server.o.Router.Sessions(u.Stanza.To) {
		if other, ok := s.(*session); ok && other != c && other.shows.got(priority, u.Sent) {
			return true
		}
	}
	return false
}
