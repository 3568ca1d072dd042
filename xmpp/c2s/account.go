package c2s

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
)

// account answers an IQ on behalf of the client's own account (RFC 6120 §10.3.3,
// RFC 6121 §8.5.2.1.3). The answer comes from where the request went, which is
// nowhere for one without `to`.
func (c *session) account(ctx context.Context, st *stanza.Stanza) error {
	if st.Type != stanza.TypeGet && st.Type != stanza.TypeSet {
		return nil // an answer to nothing that we asked
	}
	to := st.To
	st.To = c.full.Bare()
	if query := st.Element.Child(roster.Name); query != nil {
		return c.roster(ctx, st, query, to)
	}
	answer, err := c.server.o.Router.Answer(ctx, self{c}, st)
	if err != nil {
		answer = st.ErrorReply(c.refusal(err))
	}
	return c.replyAs(ctx, answer, to)
}

// replyAs sends an answer of the account to what was addressed to it as to.
func (c *session) replyAs(ctx context.Context, answer *stanza.Stanza, to jid.JID) error {
	if answer == nil {
		return nil
	}
	if to.IsZero() {
		answer.From = jid.JID{}
	}
	return c.reply(ctx, answer)
}
