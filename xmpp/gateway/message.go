package gateway

import (
	"context"

	"mcmt2xmpp/xmpp/stanza"
)

// message hands a message to an address on, unless there is nothing in it for the other
// network. The errors are those of XEP-0100 §4.8.2.
func (g *Gateway) message(ctx context.Context, st *stanza.Stanza, to entity, ok bool) (err error) {
	note := ""
	if g.o.Filter != nil {
		st, note, err = g.o.Filter(ctx, st)
		if err == nil && st == nil {
			g.stats.filtered.Add(1)
			return nil
		}
	}
	switch {
	case err != nil:
	case !ok:
		err = g.noAddress(to.jid)
	case to.gateway():
		err = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable, Text: "the gateway reads no messages: write to an address"}
	case st.Type == stanza.TypeGroupchat, g.o.Message == nil:
		err = unavailable
	default:
		err = g.o.Message(ctx, st, note)
	}
	switch {
	case refused(err):
		g.stats.refused.Add(1)
	case err == nil:
		g.stats.messages.Add(1)
	}
	return err
}
