package events

import (
	"context"
	"time"

	"mcmt2xmpp/broker"
)

const (
	// readAhead is how many records are read at once.
	readAhead = 256

	// batchBytes bounds the events that are sent at once, but for the first.
	batchBytes = 256 << 10
)

// way goes through the journal, from event to event that its receiver wants.
type way struct {
	next  broker.Mark // what is before it is done with
	end   broker.Mark // where the way ends; zero: nowhere
	ahead []step      // events that were read and are not done with
}

// step is an event, with the place behind it and behind what nobody wants that follows.
type step struct {
	event *Event
	next  broker.Mark
}

// over says whether there is nothing left on the way.
func (w *way) over() bool {
	return len(w.ahead) == 0 && w.end != (broker.Mark{}) && !w.next.Before(w.end)
}

// fill reads on where nothing is ahead. It passes one stretch of the journal at most, in
// which there may be nothing that is wanted: more says that there is another. unreadable
// is how many records were passed over as nobody understands them.
func (w *way) fill(ctx context.Context, b Broker, wants func(*Event) bool) (more bool, unreadable int, err error) {
	if len(w.ahead) > 0 || w.over() {
		return false, 0, nil
	}
	records, err := b.RecordsFrom(ctx, w.next, readAhead)
	if err != nil {
		return false, 0, err
	}
	more = len(records) >= readAhead
	for _, r := range records {
		if w.end != (broker.Mark{}) && w.end.Before(r.Next) {
			more = false
			break
		}
		e, err := newEvent(r)
		if err != nil {
			unreadable++
		}
		w.add(e, r.Next, wants)
	}
	if !more && w.end != (broker.Mark{}) {
		w.pass(w.end)
	}
	return more, unreadable, nil
}

func (w *way) add(e *Event, next broker.Mark, wants func(*Event) bool) {
	if e != nil && wants(e) {
		w.ahead = append(w.ahead, step{e, next})
		return
	}
	w.pass(next)
}

// pass goes on to a mark that nothing wanted is before, behind what is ahead.
func (w *way) pass(next broker.Mark) {
	if n := len(w.ahead); n > 0 {
		w.ahead[n-1].next = next
	} else {
		w.next = next
	}
}

// take returns the next events, at most n.
func (w *way) take(n int) []*Event {
	var all []*Event
	size := 0
	for _, s := range w.ahead[:min(n, len(w.ahead))] {
		size += len(s.event.body)
		if len(all) > 0 && size > batchBytes {
			break
		}
		all = append(all, s.event)
	}
	return all
}

// done says that the next n events are done with.
func (w *way) done(n int) {
	if n > 0 {
		w.next = w.ahead[n-1].next
		w.ahead = w.ahead[n:]
	}
}

// drop passes the next events over that are older than a time, and returns them.
func (w *way) drop(before time.Time) (old []*Event) {
	for len(old) < len(w.ahead) && w.ahead[len(old)].event.Timestamp.Before(before) {
		old = append(old, w.ahead[len(old)].event)
	}
	w.done(len(old))
	return old
}
