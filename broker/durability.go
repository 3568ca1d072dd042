package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// Durability is what stored messages survive.
type Durability string

const (
	// DurabilityProcess is the default: the server answers after the write, so
	// the death of any process loses nothing. A power cut may lose what was
	// stored in the second before it.
	DurabilityProcess Durability = "process"

	// DurabilityPower also survives a power cut: Store returns, and the source
	// of a Move or Term is acknowledged, only when the message is on the disk.
	// One sync of the file system serves all that wait for it.
	DurabilityPower Durability = "power"
)

// errSync means that the disk has not taken what was written. The kernel may
// have dropped it (fsync(2), "may mark the pages clean"): the next sync would
// succeed without it, and a message that is stored again would count as a
// duplicate of the one that is gone. So nothing more is promised until a
// restart, which reads back what is really there.
var errSync = errors.New("the disk has failed to take a write; repair it and restart")

// groupSync puts on the disk what was written before a call, with one sync for
// all calls that wait for it. A call that finds none running begins one at once:
// a message by itself waits for nobody.
type groupSync struct {
	sync func() error // blocks until everything written before is on the disk

	failed atomic.Bool

	mu      sync.Mutex
	next    *syncRound // begins after now; nil: nobody waits for it
	running bool       // a goroutine syncs
	workers sync.WaitGroup
}

// syncRound is one sync and those who wait for it.
type syncRound struct {
	done chan struct{} // closed when it is over
	err  error         // valid then
}

// wait returns when a sync that began after the call has ended. The error is
// ErrUnavailable: when the sync has failed, and when ctx ends first, which
// leaves it unknown.
func (g *groupSync) wait(ctx context.Context) error {
	r := g.join()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return refuse(ErrUnavailable, fmt.Errorf("sync: %w", ctx.Err()))
	}
}

// join adds the caller to the sync that begins next.
func (g *groupSync) join() *syncRound {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		g.next = &syncRound{done: make(chan struct{})}
	}
	r := g.next
	if !g.running {
		g.running = true
		g.workers.Go(g.run)
	}
	return r
}

// run syncs until nobody waits.
func (g *groupSync) run() {
	for {
		g.mu.Lock()
		r := g.next
		g.next = nil
		g.running = r != nil
		g.mu.Unlock()
		if r == nil {
			return
		}
		r.err = g.once()
		close(r.done)
	}
}

func (g *groupSync) once() error {
	if err := g.healthy(); err != nil {
		return err
	}
	if err := g.sync(); err != nil {
		g.failed.Store(true)
		return refuse(ErrUnavailable, fmt.Errorf("%w: %w", errSync, err))
	}
	return nil
}

// healthy returns why nothing can be promised any more, or nil.
func (g *groupSync) healthy() error {
	if g != nil && g.failed.Load() {
		return refuse(ErrUnavailable, errSync)
	}
	return nil
}
