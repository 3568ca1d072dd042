package c2s

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// take handles one element from the client. An error ends the stream.
func (c *session) take(ctx context.Context, e *xmlwire.Element) error {
	if e.Name.Space == stream.NSManagement {
		return c.manage(ctx, e)
	}
	if e.Name.Space == nsClientState {
		return c.clientState(ctx, e)
	}
	c.received++
	c.server.stats.received.Add(1)
	if err := c.stanza(ctx, e); err != nil {
		return err
	}
	c.sm.handled++ // from here on it is ours (XEP-0198 §4)
	return nil
}

func (c *session) stanza(ctx context.Context, e *xmlwire.Element) error {
	if e.Name.Space != stream.NSClient {
		return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not a stanza of jabber:client"}
	}
	st, err := stanza.Parse(e)
	if st == nil {
		return &stream.Error{Condition: stream.UnsupportedStanzaType} // RFC 6120 §4.9.3.24
	}
	if err := c.stamp(st, e.Attr("from")); err != nil {
		return err
	}
	var refused *stanza.Error
	switch {
	case errors.As(err, &refused):
		return c.reply(ctx, st.ErrorReply(refused))
	case st.Kind == stanza.IQ:
		return c.iq(ctx, st)
	case st.Kind == stanza.Presence:
		return c.presence(ctx, st)
	}
	if st.To.IsZero() {
		st.To = c.full.Bare() // RFC 6120 §10.3.1
	}
	return c.server.o.Router.Route(ctx, self{c}, st)
}

// stamp sets the sender to what was bound and refuses a client that says it is
// somebody else (RFC 6120 §8.1.2.1). The language of the stream becomes that of the
// stanza (§8.1.5).
func (c *session) stamp(st *stanza.Stanza, from string) error {
	if from != "" && st.From != c.full && st.From != c.full.Bare() {
		return &stream.Error{Condition: stream.InvalidFrom} // §4.9.3.9
	}
	st.From = c.full
	if st.Lang == "" {
		st.Lang = c.s.Lang()
	}
	return nil
}

// reply sends an answer of ours, if there is one.
func (c *session) reply(ctx context.Context, st *stanza.Stanza) error {
	if st == nil {
		return nil
	}
	return self{c}.Send(ctx, st)
}

// iq handles what is for the account here, and routes the rest.
func (c *session) iq(ctx context.Context, st *stanza.Stanza) error {
	if st.Type == stanza.TypeResult || st.Type == stanza.TypeError {
		// Wherever the answer to a ping is addressed: its id cannot be guessed.
		if c.proofs.answered(st) {
			return nil
		}
	}
	account := st.To.IsZero() || st.To == c.full.Bare()
	session := stream.Session{}
	switch {
	case (account || st.To == c.s.Local()) && st.Type == stanza.TypeSet && st.Element.Child(stream.NameBind) != nil:
		// RFC 6120 §7.1: one stream has one resource.
		return c.reply(ctx, st.ErrorReply(&stanza.Error{Condition: stanza.NotAllowed, Text: "a resource is bound"}))
	case (account || st.To == c.s.Local()) && st.Type == stanza.TypeSet && st.Element.Child(session.Name()) != nil:
		_, err := session.Negotiate(ctx, c.s, st.Element)
		return err
	case account:
		return c.account(ctx, st)
	case c.othersRoster(st):
		return c.reply(ctx, st.ErrorReply(&stanza.Error{Condition: stanza.Forbidden})) // RFC 6121 §2.3.3
	}
	return c.server.o.Router.Route(ctx, self{c}, st)
}

// presence handles the client's own presence and routes directed presence.
func (c *session) presence(ctx context.Context, st *stanza.Stanza) error {
	if _, ok := roster.KindOf(st.Type); ok && !st.To.IsZero() {
		return c.subscription(ctx, st)
	}
	if !st.To.IsZero() {
		if !c.shows.direct(st) {
			return nil
		}
		return c.server.o.Router.Route(ctx, self{c}, c.server.o.Router.Dress(st))
	}
	switch st.Type {
	case "":
		return c.available(ctx, st)
	case "unavailable":
		c.leave(ctx, st, false)
		return nil
	case "probe", stanza.TypeError:
		return nil // RFC 6120 §10.3.2: for the account, which asks nobody
	}
	return c.reply(ctx, st.ErrorReply(&stanza.Error{Condition: stanza.BadRequest, Text: "no address"}))
}
