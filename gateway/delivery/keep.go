package delivery

import (
	"sync"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
)

// keeping are the messages between Jabber users that this process has put into custody
// and not seen again: what comes after one of them must not overtake it. The zero value
// has none.
type keeping struct {
	mu     sync.Mutex
	routes map[string]map[string]time.Time // by route and id: since when
}

// keepingTime is how long one counts that is not seen again: another process may have
// delivered it.
const keepingTime = 30 * time.Second

func (k *keeping) add(route, id string, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.routes == nil {
		k.routes = make(map[string]map[string]time.Time)
	}
	if k.routes[route] == nil {
		k.routes[route] = make(map[string]time.Time)
	}
	k.routes[route][id] = now
}

func (k *keeping) remove(route, id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if ids := k.routes[route]; ids != nil {
		delete(ids, id)
		if len(ids) == 0 {
			delete(k.routes, route)
		}
	}
}

// any says whether some of a route are on their way.
func (k *keeping) any(route string, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, since := range k.routes[route] {
		if now.Sub(since) < keepingTime {
			return true
		}
		delete(k.routes[route], id)
	}
	delete(k.routes, route)
	return false
}

// seen takes off what is settled of a run: it is delivered, or parked.
func (k *keeping) seen(ds []*broker.Delivery, done []broker.Disposition) {
	for i, d := range done {
		if d.Settled() {
			k.remove(ds[i].Route, ds[i].ID)
		}
	}
}

// Waiting says whether messages to a recipient wait in custody, as far as this process
// knows: one that comes now has to wait behind them.
func (dl *Delivery) Waiting(bare jid.JID) bool {
	route := bare.Bare().String()
	// In this order: a message is parked before it is seen.
	if dl.keeping.any(route, time.Now()) {
		return true
	}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	rt := dl.routes[route]
	return rt != nil && rt.parked.Load() > 0
}
