package relay

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// downTime is how long a host that could not be connected to is not tried again:
	// all who have mail for it get the error of the first.
	downTime = 10 * time.Second
	// clearTime is how long a host whose handshake failed is spoken to in clear text.
	clearTime = 10 * time.Minute
	// maxDestinations is how many hosts are remembered.
	maxDestinations = 4096
)

// pool is the connections to all hosts. Its zero value is empty.
type pool struct {
	mu   sync.Mutex
	all  map[target]*destination
	over bool
	ends sync.WaitGroup // of connections that are being closed, and of timers that will
}

// destination is one host.
type destination struct {
	open    int     // connections, those being made included
	ready   int     // of them, those that a host has taken
	idle    []*conn // of them, those that nobody uses; the one used last is at the end
	waiting []*waiter

	// down is why the host could not be connected to, until downUntil; nil while it has
	// taken connections.
	down      error
	downUntil time.Time
	// few is how many connections the host takes, until fewUntil; it refused one more.
	few      int
	fewUntil time.Time
	// clearUntil is until when TLS is not tried.
	clearUntil time.Time
}

// waiter waits for a connection of its own, or for leave to make one.
type waiter struct {
	turn chan struct{} // closed when one of the others holds
	conn *conn         // nil, without err: leave to make one
	err  error
}

// of returns the destination of a host. The mutex is held.
func (p *pool) of(t target) *destination {
	d := p.all[t]
	if d == nil {
		if p.all == nil {
			p.all = make(map[target]*destination)
		}
		p.room()
		d = new(destination)
		p.all[t] = d
	}
	return d
}

// room makes place: of the hosts without connections those go of which nothing is
// remembered, and if that is not enough, others, so many that the next look is a
// while away.
func (p *pool) room() {
	if len(p.all) < maxDestinations {
		return
	}
	now := time.Now()
	for t, d := range p.all {
		if d.unused() && !now.Before(d.downUntil) && !now.Before(d.clearUntil) {
			delete(p.all, t)
		}
	}
	for t, d := range p.all {
		if len(p.all) < maxDestinations*3/4 {
			break
		}
		if d.unused() {
			delete(p.all, t)
		}
	}
}

func (d *destination) unused() bool { return d.open == 0 && len(d.waiting) == 0 }

// limit is how many connections may be open.
func (d *destination) limit(most int) int {
	if d.few > 0 && time.Now().Before(d.fewUntil) {
		return min(d.few, most)
	}
	return most
}

// get returns an unused connection to the host, or nil for leave to make one, which
// ends with made or failed. It waits, in the order of the calls, while there are as
// many as there may be. The error is that of ctx, of a host that is down, or
// errClosed.
func (p *pool) get(ctx context.Context, t target, o *Options) (*conn, error) {
	p.mu.Lock()
	d := p.of(t)
	switch {
	case p.over:
		p.mu.Unlock()
		return nil, errClosed
	case len(d.waiting) == 0:
		if c := p.pick(d, o); c != nil {
			p.mu.Unlock()
			return c, nil
		}
		if d.down != nil && time.Now().Before(d.downUntil) {
			p.mu.Unlock()
			return nil, d.down
		}
		if d.open < d.limit(o.maxConnections()) {
			d.open++
			p.mu.Unlock()
			return nil, nil
		}
	}
	w := &waiter{turn: make(chan struct{})}
	d.waiting = append(d.waiting, w)
	p.mu.Unlock()
	select {
	case <-w.turn:
		return w.conn, w.err
	case <-ctx.Done():
		p.leave(d, w, o)
		return nil, ctx.Err()
	}
}

// leave takes a waiter out, or gives back what it got in this moment.
func (p *pool) leave(d *destination, w *waiter, o *Options) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(d.waiting, w); i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
		return
	}
	switch {
	case w.conn != nil:
		p.hand(d, w.conn, o)
	case w.err == nil:
		d.open--
		p.wake(d, o)
	}
}

// pick takes an idle connection that the options would make too.
func (p *pool) pick(d *destination, o *Options) *conn {
	for len(d.idle) > 0 {
		c := d.idle[len(d.idle)-1]
		d.idle = d.idle[:len(d.idle)-1]
		if c.idle.Stop() {
			p.ends.Done()
		}
		if c.suits(o) {
			return c
		}
		d.open--
		d.ready--
		p.end(c)
	}
	return nil
}

// made says that the connection for which get gave leave is there.
func (p *pool) made(t target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.of(t)
	d.ready++
	d.down = nil
}

// failed says that it could not be made. Where the host has taken others it takes no
// more than these, for now, and the caller may wait for one of them: again is true.
// Else the host is down, and all who wait for it get the error.
func (p *pool) failed(t target, err error, remember bool, o *Options) (again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.of(t)
	d.open--
	switch {
	case !remember:
		p.wake(d, o)
		return false
	case d.ready > 0:
		d.few, d.fewUntil = d.ready, time.Now().Add(downTime)
		p.wake(d, o)
		return true
	}
	d.down, d.downUntil = err, time.Now().Add(downTime)
	for _, w := range d.waiting {
		w.err = err
		close(w.turn)
	}
	d.waiting = nil
	return false
}

// put gives a connection back: to who has waited longest, or to nobody for a while.
// A broken one is closed.
func (p *pool) put(t target, c *conn, o *Options) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hand(p.of(t), c, o)
}

func (p *pool) hand(d *destination, c *conn, o *Options) {
	switch {
	case c.broken || p.over || !c.suits(o) || d.open > o.maxConnections() || c.used >= maxUses:
		d.open--
		d.ready--
		p.end(c)
		p.wake(d, o)
	case len(d.waiting) > 0:
		d.next().give(c)
	case o.idleTimeout() < 0:
		d.open--
		d.ready--
		p.end(c)
	default:
		d.idle = append(d.idle, c)
		p.ends.Add(1)
		c.idle = time.AfterFunc(o.idleTimeout(), func() {
			defer p.ends.Done()
			p.expire(d, c)
		})
	}
}

// wake gives leave to make connections to those who have waited longest.
func (p *pool) wake(d *destination, o *Options) {
	for len(d.waiting) > 0 && d.open < d.limit(o.maxConnections()) {
		d.open++
		d.next().give(nil)
	}
}

func (d *destination) next() *waiter {
	w := d.waiting[0]
	d.waiting = d.waiting[1:]
	return w
}

func (w *waiter) give(c *conn) {
	w.conn = c
	close(w.turn)
}

// expire closes a connection that was idle for too long.
func (p *pool) expire(d *destination, c *conn) {
	p.mu.Lock()
	i := slices.Index(d.idle, c)
	if i >= 0 {
		d.idle = slices.Delete(d.idle, i, i+1)
		d.open--
		d.ready--
	}
	p.mu.Unlock()
	if i >= 0 {
		c.quit()
	}
}

// end closes a connection without holding up anybody. The mutex is held.
func (p *pool) end(c *conn) { p.ends.Go(c.quit) }

// inClear tells whether a host is spoken to in clear text for now.
func (p *pool) inClear(t target) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.all[t]
	return d != nil && time.Now().Before(d.clearUntil)
}

// goClear remembers that a host cannot do TLS.
func (p *pool) goClear(t target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(t).clearUntil = time.Now().Add(clearTime)
}

// forget drops what is remembered of hosts, since new options may change it.
func (p *pool) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.all {
		d.down, d.few, d.clearUntil = nil, 0, time.Time{}
	}
}

// close ends all connections that nobody uses, and each other one when it is given
// back, and waits for those that were ended.
func (p *pool) close() {
	p.mu.Lock()
	p.over = true
	for _, d := range p.all {
		for _, c := range d.idle {
			if c.idle.Stop() {
				p.ends.Done()
			}
			d.open--
			d.ready--
			p.end(c)
		}
		d.idle = nil
		for _, w := range d.waiting {
			w.err = errClosed
			close(w.turn)
		}
		d.waiting = nil
	}
	p.mu.Unlock()
	p.ends.Wait()
}

// count returns how many connections there are, and how many of them nobody uses.
func (p *pool) count() (open, idle, waiting int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.all {
		open += d.open
		idle += len(d.idle)
		waiting += len(d.waiting)
	}
	return open, idle, waiting
}
