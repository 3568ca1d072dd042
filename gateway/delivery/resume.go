package delivery

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// mark is how far a former process had come with parking a route: up to that
// position of DELIVER everything of the route is parked, delivered or dead, even
// where a crash kept DELIVER from knowing.
type mark struct {
	seq uint64
	at  time.Time // when that message was parked
}

// findMarks looks at the last message of each route that has parked ones.
// Without it a message whose copy is in PARK would be given again by DELIVER, and
// arrive twice.
func (dl *Delivery) findMarks(ctx context.Context, parked map[string]int) error {
	const parallel = 64
	var g errgroup.Group
	g.SetLimit(parallel)
	for name := range parked {
		g.Go(func() error {
			d, err := dl.broker.Last(ctx, broker.Park, name)
			if err != nil {
				return fmt.Errorf("delivery: last parked message of a route: %w", err)
			}
			if d == nil {
				return nil
			}
			rec, err := custody.Read(d)
			if err != nil || rec.Source == 0 {
				return nil // unreadable: its drain makes it a dead one
			}
			dl.mu.Lock()
			defer dl.mu.Unlock()
			if dl.marks == nil {
				dl.marks = make(map[string]mark)
			}
			dl.marks[name] = mark{rec.Source, rec.Parked}
			return nil
		})
	}
	return g.Wait()
}

// alreadyParked acknowledges the messages at the beginning of ds that a former
// process has dealt with. Positions start again when DELIVER is made anew, so
// only messages from before this process, and from before the one parked last,
// are taken for such.
func (dl *Delivery) alreadyParked(name string, ds []*broker.Delivery) (done []broker.Disposition) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	m, ok := dl.marks[name]
	if !ok {
		return nil
	}
	for _, d := range ds {
		if !d.Redelivered || d.Seq > m.seq || d.Stored.After(m.at) {
			delete(dl.marks, name) // this one and all after it are new
			break
		}
		done = append(done, broker.Ack())
	}
	return done
}
