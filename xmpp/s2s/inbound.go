package s2s

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// take deals with one element.
func (c *conn) take(ctx context.Context, e *xmlwire.Element) error {
	switch {
	case stanza.Is(e.Name) && e.Name.Space == stanza.Server:
		return c.stanza(ctx, e)
	case e.Name.Space == stanza.Dialback:
		c.touch()
		return c.takeDialback(ctx, e)
	case e.Name.Space == stream.NSManagement:
		return c.manage(ctx, e)
	case e.Name == xmlwire.Name{Space: nsBidi, Local: "bidi"} && c.incoming && c.becomeBidi():
		return nil
	}
	return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not an element to send now"}
}

// becomeBidi has stanzas go both ways, unless there is a proof already (XEP-0288 §2.2).
func (c *conn) becomeBidi() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bidi = c.bidi || len(c.in) == 0
	return c.bidi
}

// isBidi is for goroutines that do not read the stream.
func (c *conn) isBidi() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bidi
}

// proven says whether any domain of the peer is.
func (c *conn) proven() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.in) > 0
}

// stanza takes a stanza if its pair is authorised (RFC 6120 §8.1.1.2, §8.1.2.2).
func (c *conn) stanza(ctx context.Context, e *xmlwire.Element) error {
	st, err := stanza.Parse(e)
	var bad *stanza.Error
	switch {
	case errors.As(err, &bad) && (st.From.IsZero() || st.To.IsZero()) && bad.Condition == stanza.JIDMalformed:
		return &stream.Error{Condition: stream.ImproperAddressing, Text: bad.Text}
	case err != nil && bad == nil:
		return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not a stanza"}
	case st.From.IsZero() || st.To.IsZero():
		return &stream.Error{Condition: stream.ImproperAddressing, Text: "from and to are needed between servers"} // §4.9.3.7
	}
	if err := c.authorised(Pair{st.To.Domain(), st.From.Domain()}); err != nil {
		return err
	}
	c.touch()
	c.received.Add(1)
	c.v.stats.received.Add(1)
	if st.Lang == "" {
		st.Lang = c.s.Lang() // RFC 6120 §4.7.4
	}
	switch {
	case bad != nil:
		if answer := st.ErrorReply(bad); answer != nil {
			_ = c.v.Route(ctx, answer) // it cannot be helped
		}
	case !c.v.answered(st):
		c.v.o.Router.Receive(ctx, st)
	}
	c.handled++
	return nil
}

// authorised returns the stream error for a stanza of a pair that is not: the peer has
// sent it on a stream on which it never proved that it may.
func (c *conn) authorised(p Pair) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in[p] != "" {
		return nil
	}
	c.v.stats.unauthorised.Add(1)
	switch {
	case len(c.in) == 0:
		return &stream.Error{Condition: stream.NotAuthorized, Text: "no domain is proven on this stream"} // §4.9.3.12
	case !c.v.o.Serves(p.Ours):
		return &stream.Error{Condition: stream.HostUnknown, Text: "to is no domain of ours"} // §4.9.3.6
	}
	for other := range c.in {
		if other.Theirs == p.Theirs {
			return &stream.Error{Condition: stream.NotAuthorized, Text: "the pair of domains of the stanza is not proven on this stream"}
		}
	}
	return &stream.Error{Condition: stream.InvalidFrom, Text: "from is not proven on this stream"} // §4.9.3.9
}

// allow records that a domain of the peer is proven towards one of ours, and how.
func (c *conn) allow(p Pair, how string) {
	c.mu.Lock()
	c.in[p] = how
	inverse := c.incoming && c.bidi
	if c.first.IsZero() {
		c.first = domainJID(p.Theirs)
	}
	c.mu.Unlock()
	c.v.stats.proven.Add(1)
	c.log.Info().Str("domain", p.Theirs).Str("to", p.Ours).Str("by", how).Bool("tls", c.s.TLS() != nil).Msg("server proven")
	other, err := c.v.peer(p.Theirs)
	if err != nil {
		return
	}
	if inverse {
		// XEP-0288 §2.2: the inverse of what was proven, and nothing else.
		c.granted(p, how)
		c.attach(other)
	}
	other.heard()
}

func domainJID(domain string) jid.JID {
	j, _ := jid.New("", domain, "") // it was taken from a JID
	return j
}
