package link

import (
	"context"

	"mcmt2xmpp/xmpp/stanza"
)

// Subscriptions says what becomes of people who want to see the presence of an account
// (RFC 6121 §3.1).
type Subscriptions string

// The policies. Empty is ask.
const (
	// Ask leaves requests to a person who is logged in to the account with another
	// client; its server keeps them until then (§3.1.3).
	Ask Subscriptions = "ask"
	// Accept grants them, and asks for the same.
	Accept Subscriptions = "accept"
	// Refuse denies them.
	Refuse Subscriptions = "refuse"
)

// presence answers requests for a subscription. That of contacts is for nobody here: it
// is the account's, and whom they answer changes.
func (l *Link) presence(ctx context.Context, c *session, st *stanza.Stanza) {
	switch {
	case st.Type != "subscribe":
	case l.o.Subscriptions == Accept:
		c.answer(ctx, st.Reply("subscribed"))                                             // §3.1.4
		c.answer(ctx, stanza.NewPresence(st.From.Bare(), st.To, "subscribe"))             // §3.1.2
		l.log.Info().Stringer("from", st.From).Msg("subscription to the account granted") // whoever reads the roster
	case l.o.Subscriptions == Refuse:
		c.answer(ctx, st.Reply("unsubscribed")) // §3.2.1
	default:
		l.log.Info().Stringer("from", st.From).Msg("subscription to the account asked for")
	}
}
