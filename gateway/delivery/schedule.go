package delivery

import (
	"container/heap"
	"time"

	"mcmt2xmpp/xmpp/backoff"
)

// retry is the first pause where the recipient is there and did not take a
// message: time for the client to come back, or for its absence to be known.
const retry = 200 * time.Millisecond

// putOff notes a failure of the route and when it is tried again: soon where its
// recipient is there, else as the domain's schedule says.
func (dl *Delivery) putOff(rt *route, reason string) {
	out := dl.o.Outgoing(rt.domain())
	first := dl.firstPause(rt, dl.reachableLocally(rt))
	dl.mu.Lock()
	rt.Attempts++
	now := time.Now()
	if rt.First.IsZero() {
		rt.First = now
	}
	rt.Reason = reason
	wait := backoff.Pause(first, out.MaxRetryInterval, rt.Attempts)
	if out.Fallback && !rt.expires.IsZero() {
		// Its mail goes out then, or did not now.
		wait = min(wait, max(rt.expires.Sub(now), backoff.Pause(retry, out.MaxRetryInterval, rt.Attempts)))
	}
	if !rt.Warn.IsZero() {
		wait = min(wait, max(rt.Warn.Sub(now), retry)) // its author is to hear of it
	}
	dl.setNext(rt, now.Add(wait))
	dl.mu.Unlock()
}

// firstPause is the longest that a route pauses after the first failure; there says that
// its recipient is a user of ours, and there.
func (dl *Delivery) firstPause(rt *route, there bool) time.Duration {
	first := dl.o.Outgoing(rt.domain()).RetryInterval
	if there {
		first = min(retry, first)
	}
	return first
}

// rest has the route tried again after a while, without calling it a failure.
func (dl *Delivery) rest(rt *route, after time.Duration) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	dl.setNext(rt, time.Now().Add(after))
}

// setNext puts the route into the schedule. dl.mu is held.
func (dl *Delivery) setNext(rt *route, at time.Time) {
	rt.Next = at
	o := dl.owner(rt.name)
	if o == nil {
		return
	}
	o.due.add(rt)
	if dl.o.States != nil {
		rt.saved = true
		dl.o.States.Save(rt.name, rt.RouteState)
	}
	if o.due.first() == rt {
		o.nudge()
	}
}

// taken notes that the route takes messages again.
func (dl *Delivery) taken(rt *route) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	rt.Attempts, rt.First, rt.Reason = 0, time.Time{}, ""
}

// schedule is a heap of routes by the time of their next attempt. Its methods
// need Delivery.mu.
type schedule struct{ routes []*route }

// add puts rt where its time belongs, whether or not it is there.
func (s *schedule) add(rt *route) {
	if rt.place == 0 {
		heap.Push((*dueHeap)(s), rt)
		return
	}
	heap.Fix((*dueHeap)(s), rt.place-1)
}

func (s *schedule) remove(rt *route) {
	if rt.place > 0 {
		heap.Remove((*dueHeap)(s), rt.place-1)
	}
}

// first is the route that is due first, nil for none.
func (s *schedule) first() *route {
	if len(s.routes) == 0 {
		return nil
	}
	return s.routes[0]
}

// dueHeap is a heap.Interface that keeps the places of its routes.
type dueHeap schedule

func (h *dueHeap) Len() int           { return len(h.routes) }
func (h *dueHeap) Less(i, j int) bool { return h.routes[i].Next.Before(h.routes[j].Next) }

func (h *dueHeap) Swap(i, j int) {
	h.routes[i], h.routes[j] = h.routes[j], h.routes[i]
	h.routes[i].place, h.routes[j].place = i+1, j+1
}

func (h *dueHeap) Push(x any) {
	rt := x.(*route)
	h.routes = append(h.routes, rt)
	rt.place = len(h.routes)
}

func (h *dueHeap) Pop() any {
	last := len(h.routes) - 1
	rt := h.routes[last]
	h.routes[last] = nil
	h.routes = h.routes[:last]
	rt.place = 0
	return rt
}
