package c2s

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

var nameRoster = xmlwire.Name{Space: "jabber:iq:roster", Local: "query"}

// account answers an IQ on behalf of the client's own account (RFC 6120 §10.3.3,
// RFC 6121 §8.5.2.1.3). The answer comes from where the request went, which is
// nowhere for one without `to`.
func (c *session) account(ctx context.Context, st *stanza.Stanza) error {
	if st.Type != stanza.TypeGet && st.Type != stanza.TypeSet {
		return nil // an answer to nothing that we asked
	}
	to := st.To
	st.To = c.full.Bare()
	answer, err := c.answer(st)
	var refused *stanza.Error
	switch {
	case errors.As(err, &refused):
		answer = st.ErrorReply(refused)
	case err != nil:
		return err
	}
	if answer == nil {
		return nil
	}
	if to.IsZero() {
		answer.From = jid.JID{}
	}
	return c.reply(ctx, answer)
}

func (c *session) answer(st *stanza.Stanza) (*stanza.Stanza, error) {
	if st.Element.Child(nameRoster) != nil {
		return roster(st)
	}
	return c.server.o.Router.Answer(st)
}

// roster answers as an account does that has no contacts and can have none: a
// client that asks at login goes on (RFC 6121 §2.1.3, §2.1.6).
func roster(st *stanza.Stanza) (*stanza.Stanza, error) {
	if st.Type == stanza.TypeSet {
		return nil, &stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "no rosters here"}
	}
	answer := st.Reply(stanza.TypeResult)
	answer.Element.Add(xmlwire.New(nameRoster.Space, nameRoster.Local))
	return answer, nil
}
