package app

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// part is something that runs until its context ends and then finishes what it
// began.
type part struct {
	name string
	run  func(ctx context.Context) error
}

// stopGrace is how long the parts before one wait for it to end. Delivery needs
// the sessions for the proofs it waits for; a client that is dead and not yet
// known to be holds it no longer than this, and then the sessions end under it.
const stopGrace = 5 * time.Second

// runParts starts the parts in their order and blocks until ctx ends or one of
// them does. Then it stops them in reverse order, each when the one after it is
// done or has had grace for it: what takes work in ends before what works it
// off. It returns when all are done.
func runParts(ctx context.Context, parts []part, grace time.Duration) error {
	type running struct {
		name   string
		cancel context.CancelFunc
		done   chan struct{}
		err    error
	}
	started := make([]*running, len(parts))
	ended := make(chan *running, len(parts))
	for i, p := range parts {
		pctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		r := &running{name: p.name, cancel: cancel, done: make(chan struct{})}
		started[i] = r
		go func() {
			defer close(r.done)
			if err := p.run(pctx); err != nil {
				r.err = fmt.Errorf("%s: %w", p.name, err)
			}
			ended <- r
		}()
	}
	var alone error
	select {
	case <-ctx.Done():
	case r := <-ended: // a part that ends by itself takes the others with it
		if r.err == nil {
			alone = fmt.Errorf("%s: ended by itself", r.name)
		}
	}
	for i := len(started) - 1; i >= 0; i-- {
		started[i].cancel()
		select {
		case <-started[i].done:
		case <-time.After(grace):
		}
	}
	errs := []error{alone}
	for _, r := range started {
		<-r.done
		errs = append(errs, r.err)
	}
	return errors.Join(errs...)
}
