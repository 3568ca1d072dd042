package gateway

import (
	"context"

	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// presence answers for the gateway and for addresses, which are always there and have no
// resource (XEP-0100 §4.4.1). Nothing is remembered of who has asked: the roster of each
// user says whom he is subscribed to, and his server asks anew.
//
// An address does not ask for the user's presence in return, as that of a client proxy
// does (XEP-0100 §4.6.1, step 5): nobody over there could see it.
func (g *Gateway) presence(ctx context.Context, asker router.Session, st *stanza.Stanza, to entity, ok bool) error {
	reply := func(types ...string) {
		for _, p := range presences(to.jid, st.From, types...) {
			if _, ok := roster.KindOf(p.Type); ok {
				p.To = st.From.Bare() // RFC 6121 §3.1.2: subscriptions are between bare JIDs
			}
			if p.Type == "" {
				p.Element.Add(g.capabilities(to).Element()) // XEP-0115 §6.1
			}
			g.send(ctx, asker, p)
		}
	}
	switch {
	case st.From.Domain() == st.To.Domain():
		// One address to another: what we have sent ourselves.
	case st.Type == string(roster.Subscribe) && !ok:
		return g.noAddress(to.jid)
	case st.Type == string(roster.Subscribe):
		g.stats.subscribed.Add(1)
		reply("subscribed", "") // XEP-0100 §4.1.1, §4.6.1
	case st.Type == string(roster.Unsubscribe):
		reply("unsubscribed", "unavailable") // as where the address goes (XEP-0100 §5.2.1)
	case st.Type == "probe" && !ok:
		reply("unsubscribed") // RFC 6121 §4.3.2
	case st.Type == "probe":
		reply("")
	case !ok, st.From.IsBare():
		// To nobody it is ignored (RFC 6121 §8.5.1). And only a resource is answered: two
		// gateways, which have none, would answer each other for ever.
	case st.Type == "":
		reply("") // XEP-0100 §4.4.1: the user has logged in
	case st.Type == "unavailable" && to.gateway():
		reply("unavailable") // XEP-0100 §4.5.1
	}
	return nil
}
