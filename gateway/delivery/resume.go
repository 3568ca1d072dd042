package delivery

import (
	"context"
	"fmt"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// mark is how far a former owner had come with parking a route: up to that
// position of DELIVER everything of the route is parked, delivered or dead, even
// where a crash kept DELIVER from knowing.
type mark struct {
	seq uint64
	at  time.Time // when that message was parked
}

// note remembers how far parking had come, from messages of a former owner that
// leave PARK. The marks are of the slice: the route may be forgotten before
// DELIVER gives its messages again.
func (dl *Delivery) note(rt *route, ds []*broker.Delivery) {
	if !rt.recovered || len(ds) == 0 {
		return
	}
	if rec, err := custody.Read(ds[len(ds)-1]); err == nil && rec.Source > 0 {
		dl.setMark(rt.name, mark{rec.Source, rec.Parked})
	}
}

func (dl *Delivery) setMark(name string, m mark) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	if o := dl.owner(name); o != nil && m.seq > o.marks[name].seq {
		o.marks[name] = m
	}
}

// alreadyParked acknowledges the messages at the beginning of ds that a former
// owner has dealt with: without it a message whose copy is in PARK would be given
// again by DELIVER, and arrive twice. Positions start again when DELIVER is made
// anew, so only messages from before this ownership, and from before the one
// parked last, are taken for such.
func (dl *Delivery) alreadyParked(ctx context.Context, rt *route, ds []*broker.Delivery) (done []broker.Disposition, err error) {
	if ds[0].Redelivered && rt.recovered && !rt.marked && rt.parked.Load() > 0 {
		if err := dl.findMark(ctx, rt); err != nil {
			return nil, err
		}
	}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	o := dl.owner(rt.name)
	if o == nil {
		return nil, nil
	}
	m, ok := o.marks[rt.name]
	if !ok {
		return nil, nil
	}
	for _, d := range ds {
		if !d.Redelivered || d.Seq > m.seq || d.Stored.After(m.at) {
			delete(o.marks, rt.name) // this one and all after it are new
			break
		}
		done = append(done, broker.Ack())
	}
	return done, nil
}

// findMark looks at the last parked message of a route.
func (dl *Delivery) findMark(ctx context.Context, rt *route) error {
	d, err := dl.broker.Last(ctx, broker.Park, rt.name)
	if err != nil {
		return fmt.Errorf("last parked message of %s: %w", rt.name, err)
	}
	rt.marked = true
	if d == nil {
		return nil
	}
	if rec, err := custody.Read(d); err == nil && rec.Source > 0 { // unreadable: its drain makes it a dead one
		dl.setMark(rt.name, mark{rec.Source, rec.Parked})
	}
	return nil
}
