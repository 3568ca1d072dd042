package s2s

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// managing is how a stream with another server is managed (XEP-0198). It is not resumed:
// what is not acknowledged goes into custody, and out again on another stream.
func (c *conn) managing() stream.Managing {
	return stream.Managing{Answer: c.v.o.ProofTime, Overdue: func() {
		c.end(&stream.Error{Condition: stream.ConnectionTimeout, Text: "stanzas were not acknowledged"})
	}}
}

// enable asks the peer for stream management, once, where it has it and takes our
// stanzas (§3: after authentication).
func (c *conn) enable() {
	c.mu.Lock()
	ask := c.manages && !c.incoming && !c.enabling
	c.enabling = c.enabling || ask
	c.mu.Unlock()
	if !ask {
		return
	}
	// An error is that of the stream, which its reader finds too.
	_ = c.s.Writer().Manage(c.life, xmlwire.New(stream.NSManagement, "enable"), c.managing())
}

// unmanaged says whether the peer has refused what it offers.
func (p *peer) unmanaged() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plain
}

// manage takes an element of stream management.
func (c *conn) manage(ctx context.Context, e *xmlwire.Element) error {
	switch e.Name.Local {
	case "enable":
		return c.enabled(ctx, e)
	case "enabled", "failed":
		return c.answered(e.Name.Local == "enabled")
	case "resume":
		return c.s.Send(ctx, (&stream.Failed{Condition: stanza.ItemNotFound}).Element())
	case "r":
		if c.managed {
			return c.s.Send(ctx, stream.Ack(c.handled))
		}
	case "a":
		if c.s.Writer().Managed() {
			h, err := stream.ParseCount(e)
			if err != nil {
				return err
			}
			return c.s.Writer().Acknowledge(h)
		}
	}
	return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not an element to send now"}
}

// enabled answers <enable/> (§3).
func (c *conn) enabled(ctx context.Context, e *xmlwire.Element) error {
	var failed *stream.Failed
	switch _, err := stream.ParseEnable(e); {
	case c.managed:
		return errors.Join(c.s.Send(ctx, (&stream.Failed{Condition: stanza.UnexpectedRequest}).Element()),
			&stream.Error{Condition: stream.PolicyViolation, Text: "stream management is enabled already"})
	case !c.incoming || !c.proven():
		return c.s.Send(ctx, (&stream.Failed{Condition: stanza.UnexpectedRequest}).Element())
	case errors.As(err, &failed):
		return c.s.Send(ctx, failed.Element())
	}
	c.managed, c.handled = true, 0
	answer := stream.Enabled("", 0)
	if !c.bidi {
		return c.s.Send(ctx, answer)
	}
	return c.s.Writer().Manage(ctx, answer, c.managing())
}

// errUnmanaged ends a stream whose peer has offered what it then refuses: the next one
// is without it.
var errUnmanaged = errors.New("peer offers stream management and refuses it")

// answered takes the answer to our <enable/>.
func (c *conn) answered(enabled bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.enabling || c.managed:
		return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "nobody asked for stream management"}
	case enabled:
		c.managed, c.handled = true, 0
		return nil
	}
	for p := range c.carries {
		p.mu.Lock()
		p.plain = true
		p.mu.Unlock()
	}
	return errUnmanaged
}
