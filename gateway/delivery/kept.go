package delivery

import (
	"context"
	"slices"
	"sync"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// kept are the users for whom this process has put messages of other users into
// custody, and not yet found that all have ended.
type kept struct {
	mu     sync.Mutex
	routes map[string]*keeping
}

type keeping struct {
	storing int    // calls of Keep that run
	stored  uint64 // calls that have ended
}

func (k *kept) begin(route string) (end func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.routes == nil {
		k.routes = make(map[string]*keeping)
	}
	of := k.routes[route]
	if of == nil {
		of = new(keeping)
		k.routes[route] = of
	}
	of.storing++
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		of.storing--
		of.stored++
	}
}

// seen returns how many messages were kept for a route; settled says that none
// is known of.
func (k *kept) seen(route string) (stored uint64, storing, settled bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.routes[route]
	if of == nil {
		return 0, false, true
	}
	return of.stored, of.storing > 0, false
}

// forget forgets a route for which no message was kept since stored.
func (k *kept) forget(route string, stored uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.routes[route]
	if of == nil {
		return true
	}
	if of.storing > 0 || of.stored != stored {
		return false
	}
	delete(k.routes, route)
	return true
}

// stamped is st with an id of ours (XEP-0359 §3.1), by which a copy that is sent
// again is known as one, and none that only says it is ours (§5). An own id it gets
// where its sender gave none.
func stamped(st *stanza.Stanza, id string) *stanza.Stanza {
	st = st.Clone()
	if st.ID == "" {
		st.ID = id
	}
	by := st.To.Domain()
	st.Element.Children = slices.DeleteFunc(st.Element.Children, func(n xmlwire.Node) bool {
		return n.Element != nil && n.Element.Name == stanza.StanzaID && n.Element.Attr("by") == by
	})
	st.Element.Add(xmlwire.New(stanza.StanzaID.Space, stanza.StanzaID.Local, "by", by, "id", id))
	return st
}

// Waits says whether a message that this process has kept for bare, or a former one
// has, may still wait. Those that an operator holds hold nobody else. The store is
// asked only for users that something was kept for.
func (dl *Delivery) Waits(ctx context.Context, bare jid.JID) bool {
	route := bare.String()
	stored, storing, settled := dl.kept.seen(route)
	switch {
	case storing:
		return true
	case settled && !dl.takenOver(route):
		return false
	case dl.o.Holds != nil && dl.o.Holds.Held(route, bare.Domain()):
		return false
	case settled:
		return true
	}
	// A message is in the second before it is gone from the first.
	for _, stage := range []broker.Stage{broker.Deliver, broker.Park} {
		if last, err := dl.broker.Last(ctx, stage, route); last != nil || err != nil {
			return true
		}
	}
	return !dl.kept.forget(route, stored)
}

// takenOver says whether messages wait that were parked before this process.
func (dl *Delivery) takenOver(route string) bool {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	rt := dl.routes[route]
	return rt != nil && rt.recovered && rt.parked.Load() > 0
}
