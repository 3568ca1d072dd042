package broker

import (
	"context"
	"sync"
	"sync/atomic"
)

// pool is the workers of one Consume. Its slices share them, in the order in
// which their routes become ready.
type pool struct {
	size  int
	flows atomic.Int64 // slices that share

	mu      sync.Mutex
	more    sync.Cond // with mu: something is ready, or the pool is closed
	ready   []readyRoute
	busy    int // workers that do not wait
	idle    int // workers that wait for something to do
	closed  bool
	workers sync.WaitGroup
}

// maxIdle is how many workers stay when there is nothing to do: a new goroutine
// has to grow its stack first.
const maxIdle = 64

func newPool(size int) *pool {
	p := &pool{size: size}
	p.more.L = &p.mu
	return p
}

type readyRoute struct {
	f    *flow
	r    *route
	work context.Context // of the handler
}

// share is the part of a limit that each slice has.
func (p *pool) share(limit int64) int64 { return max(limit/max(p.flows.Load(), 1), 1) }

// push queues a route, for a worker that waits or for another one if there may be
// one.
func (p *pool) push(work context.Context, f *flow, r *route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, readyRoute{f, r, work})
	switch {
	case p.idle >= len(p.ready):
		p.more.Signal()
	case p.busy+p.idle < p.size:
		p.busy++
		p.workers.Go(p.run)
	}
}

// run runs routes as they become ready.
func (p *pool) run() {
	for {
		next, ok := p.next()
		if !ok {
			return
		}
		next.f.serve(next.work, next.r)
	}
}

// next waits for a route. It reports false for a worker that is to end.
func (p *pool) next() (readyRoute, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ready) == 0 {
		p.busy--
		if p.closed || p.idle >= maxIdle {
			return readyRoute{}, false
		}
		p.idle++
		p.more.Wait()
		p.idle--
		p.busy++
	}
	next := p.ready[0]
	p.ready[0] = readyRoute{}
	p.ready = p.ready[1:]
	return next, true
}

// close ends the workers when nothing is ready any more, and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.more.Broadcast()
	p.mu.Unlock()
	p.workers.Wait()
}
