package delivery

import (
	"sync"
	"sync/atomic"

	"mcmt2xmpp/xmpp/jid"
)

// route is one recipient's way. Whoever holds its mutex delivers for it: the
// handler of live messages and the drain of parked ones never run at once. It
// exists while somebody uses it or messages are parked for it.
type route struct {
	mu sync.Mutex
	// parked is how many messages PARK holds for it, or more after the store did
	// not say what it did; zero is always exact. Changed only with mu held.
	parked atomic.Int64
	// unsure: the first live message may be in PARK too. Guarded by mu.
	unsure bool

	users int  // goroutines that hold or wait for mu; guarded by Delivery.mu
	woken bool // it is in Delivery.woken; guarded by Delivery.mu
}

// lock takes the route's mutex.
func (dl *Delivery) lock(name string) *route {
	dl.mu.Lock()
	rt := dl.routes[name]
	if rt == nil {
		rt = new(route)
		dl.routes[name] = rt
	}
	rt.users++
	dl.mu.Unlock()
	rt.mu.Lock()
	return rt
}

// unlock releases it, and forgets a route that nobody uses and nothing waits for.
func (dl *Delivery) unlock(name string, rt *route) {
	rt.mu.Unlock()
	dl.mu.Lock()
	defer dl.mu.Unlock()
	rt.users--
	if rt.users == 0 && rt.parked.Load() == 0 {
		delete(dl.routes, name)
	}
}

// Wake says that the recipient with the bare JID bare may be reachable now. It
// does not block, and costs nothing where no message waits.
func (dl *Delivery) Wake(bare jid.JID) { dl.wakeRoute(bare.String()) }

// wakeRoute has a route drained. One that is not known needs no waking: whoever
// is about to use it will find the recipient there.
func (dl *Delivery) wakeRoute(name string) {
	dl.mu.Lock()
	rt := dl.routes[name]
	news := rt != nil && !rt.woken
	if news {
		rt.woken = true
		dl.woken = append(dl.woken, name)
	}
	dl.mu.Unlock()
	if !news {
		return
	}
	select {
	case dl.wake <- struct{}{}:
	default: // it is being looked after
	}
}

// nextWoken takes the first of the routes that were woken, "" for none.
func (dl *Delivery) nextWoken() string {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	if len(dl.woken) == 0 {
		dl.woken = nil // the memory of a wave of logins
		return ""
	}
	name := dl.woken[0]
	dl.woken = dl.woken[1:]
	if rt := dl.routes[name]; rt != nil {
		rt.woken = false
	}
	return name
}

// parkedRoutes returns the routes for which messages are parked.
func (dl *Delivery) parkedRoutes() []string {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	var names []string
	for name, rt := range dl.routes {
		if rt.parked.Load() > 0 {
			names = append(names, name)
		}
	}
	return names
}

// reachable asks the router without sending: a sweep over thousands of absent
// recipients must not touch the broker.
func (dl *Delivery) reachable(name string) bool {
	to, err := jid.Parse(name)
	return err == nil && dl.router.Reachable(to)
}
