package c2s

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// subscription takes a subscription stanza of the client (RFC 6121 §3). What
// cannot be done is said to the client (§3.1.2).
func (c *session) subscription(ctx context.Context, st *stanza.Stanza) error {
	if err := c.server.o.Router.Subscription(ctx, st); err != nil {
		return c.reply(ctx, st.ErrorReply(c.refusal(err)))
	}
	return nil
}

// arrived is what initial presence brings: the requests that the user has not
// answered (RFC 6121 §3.1.3), and the presence of the contacts (§4.2.2).
func (c *session) arrived(ctx context.Context) {
	for _, st := range c.server.o.Router.Roster(c.full.Bare()).Requests() {
		st.To = c.full.Bare()
		_ = c.reply(ctx, st) // an error shows at the next answer
	}
	c.server.o.Router.Arrived(ctx, c)
}

// Shown is the presence that others see, nil for none. It must not be changed.
func (c *session) Shown() *stanza.Stanza { return c.shows.last.Load() }

// Show sends the session's presence to somebody, if it has any, and again what it has
// become meanwhile: that may have been overtaken.
func (c *session) Show(ctx context.Context, to jid.JID) {
	c.present(ctx, to, c.server.o.Router.Forward)
}

// subscribed says whether somebody gets the user's presence without being sent it.
func (c *session) subscribed(j jid.JID) bool {
	return c.server.o.Router.Roster(c.full.Bare()).State(j).HasFrom()
}
