package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
)

// owned is a slice of the DELIVER stage that this process owns, with all that it
// knows of the slice's routes. What PARK holds of them is this process's alone.
type owned struct {
	slice broker.Slice
	wake  chan struct{} // holds one when there is something to look at

	lookedUp atomic.Int64 // with former, see before.go
	former   former

	// Guarded by Delivery.mu.
	woken []string // routes to be drained, each there once
	due   schedule
	marks map[string]mark // see resume.go
}

// own is broker.ConsumeOptions.Own: it finds what former owners have parked, and
// drains it when its time has come, until ctx ends.
func (dl *Delivery) own(ctx, work context.Context, s broker.Slice, ready func()) error {
	o := &owned{slice: s, wake: make(chan struct{}, 1), marks: make(map[string]mark)}
	if err := dl.takeOver(ctx, o); err != nil {
		return err
	}
	defer dl.letGo(o)
	stop, err := dl.answerOrders(o)
	if err != nil {
		return err
	}
	defer stop()
	ready()
	dl.drainer(ctx, work, o)
	return nil
}

// takeOver reads which routes of the slice have parked messages and how they
// stand. None is tried for that alone, except where its recipient is there, or where
// nothing is known of the last attempt on a domain of others.
func (dl *Delivery) takeOver(ctx context.Context, o *owned) error {
	parked, err := dl.broker.RoutesIn(ctx, broker.Park, o.slice.HasPartition)
	if err != nil {
		return fmt.Errorf("delivery: parked routes: %w", err)
	}
	var states map[string]store.RouteState
	if dl.o.States != nil && len(parked) > 0 {
		if states, err = dl.o.States.Load(ctx, o.slice.Partitions()); err != nil {
			return fmt.Errorf("delivery: %w", err)
		}
	}
	now := time.Now()
	messages, routes := 0, 0
	dl.mu.Lock()
	defer dl.mu.Unlock()
	dl.owned = append(dl.owned, o)
	for name, n := range parked {
		if custody.IsMail(name) != (dl.stage == broker.Mail) {
			continue // the other's
		}
		rt := &route{name: name, recovered: true, RouteState: states[name]}
		rt.parked.Store(int64(n))
		longest := dl.o.Outgoing(rt.domain()).MaxRetryInterval
		switch {
		case rt.Next.IsZero() && dl.serves(rt.domain()):
			rt.Next = now.Add(rand.N(longest)) // only to see whether they are too old: not all at once
		case rt.Next.After(now.Add(longest)):
			rt.Next = now.Add(longest) // the clock was set back
		}
		dl.routes[name] = rt
		o.due.add(rt)
		if dl.reachableLocally(rt) {
			o.push(rt)
		}
		messages, routes = messages+n, routes+1
	}
	if routes > 0 {
		dl.log.Info().Int("slice", o.slice.Index).Int("messages", messages).Int("routes", routes).Msg("waiting for their recipients")
	}
	o.nudge()
	return nil
}

// letGo forgets the slice and what is known of its routes. One that is in use
// yet is forgotten by its last user.
func (dl *Delivery) letGo(o *owned) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	dl.owned = slices.DeleteFunc(dl.owned, func(other *owned) bool { return other == o })
	for name, rt := range dl.routes {
		if rt.users == 0 && o.slice.Has(name) {
			delete(dl.routes, name)
		}
	}
}

// owner is the slice that a route belongs to, nil when it is another process's.
// dl.mu is held.
func (dl *Delivery) owner(name string) *owned {
	for _, o := range dl.owned {
		if o.slice.Has(name) {
			return o
		}
	}
	return nil
}

func (dl *Delivery) ownerOf(name string) *owned {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	return dl.owner(name)
}

// push has a route drained. dl.mu is held.
func (o *owned) push(rt *route) {
	if !rt.woken {
		rt.woken = true
		o.woken = append(o.woken, rt.name)
	}
}

// nudge makes the drainer look.
func (o *owned) nudge() {
	select {
	case o.wake <- struct{}{}:
	default: // it will
	}
}
