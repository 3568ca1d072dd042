package broker

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
)

// pool is the workers of one Consume. Its slices share them, in the order in
// which their routes become ready.
type pool struct {
	size  int
	flows atomic.Int64 // slices that share

	mu      sync.Mutex
	ready   []readyRoute // when no worker waits
	busy    int          // workers that do not wait
	idle    []*worker    // those that wait; the last is given work first, what it needs is still at hand
	closed  bool
	workers sync.WaitGroup
}

// worker is a goroutine of the pool.
type worker struct{ next chan readyRoute } // holds one; closed when the worker is to end

// maxIdle is how many workers stay when there is nothing to do: a new goroutine
// has to grow its stack first.
const maxIdle = 128

func newPool(size int) *pool { return &pool{size: size} }

type readyRoute struct {
	f    *flow
	r    *route
	work context.Context // of the handler
}

// share is the part of a limit that each slice has.
func (p *pool) share(limit int64) int64 { return max(limit/max(p.flows.Load(), 1), 1) }

// push gives a route to a worker that waits, or to another one if there may be
// one, or queues it.
func (p *pool) push(work context.Context, f *flow, r *route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := readyRoute{f, r, work}
	n := len(p.idle)
	switch {
	case n > 0:
		w := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.busy++
		w.next <- next
	case p.busy < p.size:
		p.busy++
		w := &worker{make(chan readyRoute, 1)}
		w.next <- next
		p.workers.Go(func() { p.run(w) })
	default:
		p.ready = append(p.ready, next)
	}
}

// run runs routes as they become ready.
func (p *pool) run(w *worker) {
	// The collector halves the stack of who waits with three quarters of it unused,
	// and growing it again for each route cost more than reading a message.
	var used [4 << 10]byte
	for next := range w.next {
		next.f.serve(next.work, next.r)
		p.rest(w)
	}
	runtime.KeepAlive(&used)
}

// rest gives w the next route if one is ready.
func (p *pool) rest(w *worker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case len(p.ready) > 0:
		w.next <- p.ready[0]
		p.ready[0] = readyRoute{}
		p.ready = p.ready[1:]
		return
	case p.closed || len(p.idle) >= maxIdle:
		close(w.next)
	default:
		p.idle = append(p.idle, w)
	}
	p.busy--
}

// close ends the workers when nothing is ready any more, and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.idle {
		close(w.next)
	}
	p.idle = nil
	p.mu.Unlock()
	p.workers.Wait()
}
