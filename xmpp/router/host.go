package router

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Handler takes the stanzas for a domain of ours that has no accounts. A
// *stanza.Error goes to the sender; any other error reads as one that passes.
type Handler func(ctx context.Context, st *stanza.Stanza) error

// Host is a Handler that answers, such as a gateway. asker is the session that st
// came from, nil for somebody who has none here: see Reply.
type Host func(ctx context.Context, asker Session, st *stanza.Stanza) error

// Handle gives a domain to h: what is addressed to it or to anything in it goes
// there. Nil takes the domain back.
func (r *Router) Handle(domain string, h Handler) {
	if h == nil {
		r.Host(domain, nil)
		return
	}
	r.Host(domain, func(ctx context.Context, _ Session, st *stanza.Stanza) error { return h(ctx, st) })
}

// Host is Handle for a Host.
func (r *Router) Host(domain string, h Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h == nil {
		delete(r.hosts, domain)
		return
	}
	r.hosts[domain] = h
}

func (r *Router) host(domain string) Host {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.hosts[domain]
}

// Reply sends what a Host answers, in the order of the calls. What is for the asker
// itself goes straight to it: unlike a session of the registry it may be sent to
// while its own stanza is dealt with. The rest is forwarded, and so is what changes the
// roster of its user.
func (r *Router) Reply(ctx context.Context, asker Session, st *stanza.Stanza) error {
	_, subscription := roster.KindOf(st.Type)
	if asker == nil || st.To != asker.JID() || st.Kind == stanza.Presence && subscription {
		return r.Forward(ctx, st)
	}
	if err := asker.Send(ctx, st); err != nil {
		return fmt.Errorf("reply: %w", err)
	}
	return nil
}

// items are those of a domain of ours: the domains that have a Host, which clients find
// by those that serve them (XEP-0030 §4.1; XEP-0100 §4.1.1), and itself where a service
// wants that.
func (r *Router) items(of jid.JID) []*xmlwire.Element {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []*xmlwire.Element
	for _, domain := range slices.Sorted(maps.Keys(r.hosts)) {
		all = append(all, xmlwire.New(nsItems, "item", "jid", domain))
	}
	if r.ownItem {
		all = append(all, xmlwire.New(nsItems, "item", "jid", of.Domain()))
	}
	return all
}
