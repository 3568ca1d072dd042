package s2s

import (
	"context"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// JID implements router.Session: the domain that the stream leads to. For one that came
// in that is the first that was proven, zero before: its header may say what it likes.
func (c *conn) JID() jid.JID {
	if !c.incoming {
		return c.s.Peer()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

// Priority implements router.Session.
func (c *conn) Priority() (int8, bool) { return 0, !c.isOver() }

// Send implements router.Session.
func (c *conn) Send(ctx context.Context, st *stanza.Stanza) error {
	c.count()
	return c.s.Writer().SendStanza(ctx, st)
}

// SendKept implements router.Session.
func (c *conn) SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	c.count()
	return c.s.Writer().SendKept(ctx, st, st.ID)
}

func (c *conn) count() {
	c.touch()
	c.sent.Add(1)
	c.v.stats.sent.Add(1)
}

// Close implements router.Session.
func (c *conn) Close(why *stream.Error) {
	if why == nil {
		c.end(errIdle)
		return
	}
	c.end(why)
}

// hold says that the stream is used until release, if it can be.
func (c *conn) hold() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.unused {
		return false
	}
	c.users++
	return true
}

func (c *conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
}

// closeUnused ends a stream that we opened for a pair that was refused, if there is no
// other use of it.
func (c *conn) closeUnused() {
	c.mu.Lock()
	used := len(c.in) > 0 || c.users > 0
	for _, cl := range c.out {
		used = used || !cl.settled() || cl.valid()
	}
	c.unused = c.unused || !used
	c.mu.Unlock()
	if !used {
		c.end(errIdle)
	}
}

// giveBackTime bounds how long the end of a stream waits for custody.
const giveBackTime = 10 * time.Second

// giveBack returns to the router what the peer has not acknowledged (XEP-0198 §4).
func (c *conn) giveBack(ctx context.Context) {
	left := c.s.Writer().Release()
	if len(left) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	for _, u := range left {
		if u.Stanza.Kind == stanza.Message && router.Storable(u.Stanza) {
			if err := c.v.o.Router.Return(ctx, u.Stanza, u.Sent); err != nil {
				c.log.Warn().Err(err).Str("id", u.Stanza.ID).Msg("message not kept, its sender is told")
			}
			continue
		}
		c.v.bounce(u.Stanza, nil)
	}
	c.log.Info().Int("stanzas", len(left)).Msg("unacknowledged stanzas given back")
}
