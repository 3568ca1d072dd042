package delivery

import (
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
)

// route is one recipient's way, also where he is in a domain that is not ours: one that
// refuses is not in the way of the others there. Whoever holds its mutex delivers for it: the handler of live messages
// and the drain of parked ones never run at once. It exists while somebody uses
// it or messages are parked for it.
type route struct {
	name      string // bare JID
	recovered bool   // it had parked messages when the slice was taken over

	mu sync.Mutex
	// parked is how many messages PARK holds for it, or more after the store did
	// not say what it did; zero is always exact. Changed only with mu held.
	parked atomic.Int64
	// Guarded by mu.
	unsure  bool      // the first live message may be in PARK too
	expires time.Time // when the first parked message is given up or diverted; zero: not known
	marked  bool      // the mark of resume.go was looked for
	// diverted are messages that may be among the mail already, see divert.go.
	diverted map[string]bool

	// Guarded by Delivery.mu.
	users            int  // goroutines that hold or wait for mu
	woken            bool // it is in owned.woken
	saved            bool // States knows of it
	place            int  // in the schedule, from 1; zero: it is not there
	store.RouteState      // the schedule
}

// domain is that of a route's recipients.
func (rt *route) domain() string { return custody.DomainOf(rt.name) }

// lock takes the route's mutex.
func (dl *Delivery) lock(name string) *route {
	dl.mu.Lock()
	rt := dl.routes[name]
	if rt == nil {
		rt = &route{name: name}
		dl.routes[name] = rt
	}
	rt.users++
	dl.mu.Unlock()
	rt.mu.Lock()
	return rt
}

// unlock releases it, and forgets a route that nobody uses and nothing waits
// for, or that is another process's now.
func (dl *Delivery) unlock(rt *route) {
	rt.mu.Unlock()
	dl.mu.Lock()
	defer dl.mu.Unlock()
	rt.users--
	if rt.users > 0 {
		return
	}
	o := dl.owner(rt.name)
	if o != nil && rt.parked.Load() > 0 {
		return
	}
	delete(dl.routes, rt.name)
	if o != nil {
		o.due.remove(rt)
		if rt.saved {
			dl.o.States.Forget(rt.name)
		}
	}
}

// Wake says that the recipient with the bare JID bare, or a whole domain, may be
// reachable now. It does not block, and costs nothing where no message waits.
func (dl *Delivery) Wake(bare jid.JID) { dl.WakeRoute(bare.String()) }

// WakeRoute has a route drained. One that is not known needs no waking: whoever
// is about to use it will find the recipient there.
func (dl *Delivery) WakeRoute(name string) {
	dl.mu.Lock()
	rt := dl.routes[name]
	o := dl.owner(name)
	if rt != nil && o != nil {
		o.push(rt)
	}
	dl.mu.Unlock()
	if rt != nil && o != nil {
		o.nudge()
	}
}

// WakeAll has the routes drained that are name, or that lead into the domain of
// that name, and returns how many messages are parked for them.
func (dl *Delivery) WakeAll(name string) (messages int) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	for _, rt := range dl.routes {
		if rt.parked.Load() == 0 || rt.name != name && rt.domain() != name {
			continue
		}
		if o := dl.owner(rt.name); o != nil {
			messages += int(rt.parked.Load())
			o.push(rt)
			o.nudge()
		}
	}
	return messages
}

// WakeDomains has the routes drained that lead into domains which are told apart by leads.
func (dl *Delivery) WakeDomains(leads func(domain string) bool) {
	dl.mu.Lock()
	domains := make(map[string]bool)
	for _, rt := range dl.routes {
		if rt.parked.Load() > 0 {
			domains[rt.domain()] = true
		}
	}
	dl.mu.Unlock()
	for domain := range domains {
		if leads(domain) {
			dl.WakeAll(domain)
		}
	}
}

// reachable asks the router without sending: a schedule of thousands of absent
// recipients, or of those in a domain that is down, must not touch the broker.
func (dl *Delivery) reachable(rt *route) bool {
	if dl.router == nil {
		return true // mail servers are asked by sending
	}
	to, err := jid.Parse(rt.name)
	return err == nil && dl.router.Reachable(to)
}

// reachableLocally says whether the recipient is a user of ours, and there.
func (dl *Delivery) reachableLocally(rt *route) bool {
	to, err := jid.Parse(rt.name)
	return err == nil && dl.serves(rt.domain()) && dl.router.Reachable(to)
}

// serves says whether the users of a domain are ours, and delivery is to them.
func (dl *Delivery) serves(domain string) bool { return dl.router != nil && dl.router.Serves(domain) }

func (dl *Delivery) held(rt *route) bool {
	return dl.o.Holds != nil && dl.o.Holds.Held(rt.name, rt.domain())
}
