package delivery

import (
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
)

// inVain notes an attempt on what waits for a route, and puts the route off. What PARK holds
// is not written again for that: the attempts stand in the state of the route, which is
// written anyway.
func (dl *Delivery) inVain(rt *route, reason string) {
	add := custody.Steps(rt.Tried).With
	if rt.anew {
		add = custody.Steps(rt.Tried).Apart // so that the attempts since then can be told from those before
	}
	tried := add(custody.Step{At: time.Now(), Kind: custody.StepAttempt, Node: dl.o.Node, Route: rt.name, Answer: reason})
	dl.mu.Lock()
	rt.Tried = string(tried)
	dl.mu.Unlock()
	rt.anew = false
	dl.putOff(rt, reason)
}

// Tried are the attempts on a route since a message began to wait for it.
func Tried(s store.RouteState, since time.Time) (steps []custody.Step) {
	for _, step := range custody.Steps(s.Tried).All() {
		if !step.At.Before(since.Truncate(time.Microsecond)) {
			steps = append(steps, step)
		}
	}
	return steps
}

// record reads the record of a message, with the attempts on its route since it was parked.
func (dl *Delivery) record(d *broker.Delivery) (custody.Record, error) {
	rec, err := custody.Read(d)
	if err != nil || d.Stage != broker.Park {
		return rec, err
	}
	var s store.RouteState
	dl.mu.Lock()
	if rt := dl.routes[d.Route]; rt != nil {
		s = rt.RouteState
	}
	dl.mu.Unlock()
	if s.Tried != "" {
		rec.Steps = rec.Steps.Apart(Tried(s, rec.Parked)...)
	}
	return rec, nil
}
