package gateway

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Registrations keeps who has registered with which gateway, by bare JID. Its methods
// may be called from any goroutine.
type Registrations interface {
	// Registered says whether a user has registered.
	Registered(gateway, user jid.JID) bool
	// Register notes that he has. A *stanza.Error refuses, where there are too many.
	Register(ctx context.Context, gateway, user jid.JID) error
	// Unregister forgets it.
	Unregister(ctx context.Context, gateway, user jid.JID) error
}

// registration answers what is needed in order to register: nothing (XEP-0077 §3.1).
func (g *Gateway) registration(_ context.Context, rq *request) (*xmlwire.Element, error) {
	q := xmlwire.New(nsRegister, "query")
	text := "Nothing has to be filled in. The gateway can be used without registering; who has registered sees it in the roster."
	if g.o.Registrations.Registered(rq.to.jid, rq.From.Bare()) {
		q.Add(xmlwire.New(nsRegister, "registered"))
		text = "You are registered with this gateway."
	}
	return q.Add(xmlwire.New(nsRegister, "instructions").AddText(text)), nil
}

// register registers a user, or takes that back where it holds <remove/>. What else it
// holds is not needed. To register again changes nothing (XEP-0100 §4.2), but asks again for
// a subscription that the user may have lost.
func (g *Gateway) register(ctx context.Context, rq *request) (*xmlwire.Element, error) {
	user := rq.From.Bare() // XEP-0077 §3.2
	if rq.payload.Child(xmlwire.Name{Space: nsRegister, Local: "remove"}) != nil {
		return nil, g.unregister(ctx, rq, user)
	}
	if err := g.o.Registrations.Register(ctx, rq.to.jid, user); err != nil {
		return nil, err
	}
	g.stats.registered.Add(1)
	// XEP-0100 §4.1.1: success first, then the request for the user's presence. His client
	// approves, and asks for ours.
	rq.then = presences(rq.to.jid, user, "subscribe")
	return nil, nil
}

// unregister ends a registration, and then the subscriptions (XEP-0100 §4.3.1).
func (g *Gateway) unregister(ctx context.Context, rq *request, user jid.JID) error {
	n := 0
	for range rq.payload.Elements() {
		n++
	}
	switch {
	case n > 1:
		return &stanza.Error{Condition: stanza.BadRequest, Text: "remove stands alone"} // XEP-0077 §3.2
	case !g.o.Registrations.Registered(rq.to.jid, user):
		return &stanza.Error{Condition: stanza.RegistrationRequired, Text: "you are not registered with this gateway"} // XEP-0077 §3.2
	}
	if err := g.o.Registrations.Unregister(ctx, rq.to.jid, user); err != nil {
		return err
	}
	g.stats.unregistered.Add(1)
	rq.then = presences(rq.to.jid, user, "unsubscribe", "unsubscribed", "unavailable")
	return nil
}

// presences makes presence of each type.
func presences(from, to jid.JID, types ...string) []*stanza.Stanza {
	all := make([]*stanza.Stanza, 0, len(types))
	for _, typ := range types {
		all = append(all, stanza.NewPresence(to, from, typ))
	}
	return all
}
