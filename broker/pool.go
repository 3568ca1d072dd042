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
	ready   []readyRoute
	busy    int            // workers
	workers sync.WaitGroup // the same, to wait for
}

type readyRoute struct {
	f    *flow
	r    *route
	work context.Context // of the handler
}

// share is the part of a limit that each slice has.
func (p *pool) share(limit int64) int64 { return max(limit/max(p.flows.Load(), 1), 1) }

// push queues a route and starts a worker if there may be another.
func (p *pool) push(work context.Context, f *flow, r *route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, readyRoute{f, r, work})
	if p.busy < p.size {
		p.busy++
		p.workers.Go(p.run)
	}
}

// run runs routes until none is ready.
func (p *pool) run() {
	for {
		p.mu.Lock()
		if len(p.ready) == 0 {
			p.busy--
			p.mu.Unlock()
			return
		}
		next := p.ready[0]
		p.ready[0] = readyRoute{}
		p.ready = p.ready[1:]
		p.mu.Unlock()
		next.f.serve(next.work, next.r)
	}
}
