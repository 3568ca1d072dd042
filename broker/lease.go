package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// leaseTimes say when a process counts as dead. Others hear of it every beat;
// when they have heard nothing for ttl its slices are theirs. It stops by itself
// margin before that.
type leaseTimes struct {
	beat, ttl, margin time.Duration

	// settle is how long the members must have been the same before slices move.
	settle time.Duration

	// orphan is how long a slice may be without a live owner before somebody is told.
	orphan time.Duration
}

// patience is how long the answer to a heartbeat is waited for: a late one is
// good until the lease that the last one gave runs out.
func (t leaseTimes) patience() time.Duration {
	return min(t.ttl-t.margin-t.beat, 5*time.Second)
}

func (t leaseTimes) withDefaults() leaseTimes {
	or := func(v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
	}
	// A cluster that has lost the leader of the leases chooses another within 4 to
	// 9 s: most times before the lease, of 9 s, runs out.
	or(&t.beat, 2*time.Second)
	or(&t.ttl, 12*time.Second)
	or(&t.margin, 3*time.Second)
	or(&t.settle, time.Second)
	or(&t.orphan, 15*time.Second)
	return t
}

var (
	// errExpired means that our last heartbeat is so old that others may soon
	// take our slices.
	errExpired = errors.New("no heartbeat was written for too long")

	// errLost means that another process has the slice.
	errLost = errors.New("another process has taken the slice over")

	// errNotOurs is what an effect fails with that would come too late.
	errNotOurs = errors.New("the slice is not ours any more")
)

// lease is the right of this process to work on its slices. It is judged by the
// monotonic clock, which no correction of the time of day moves.
type lease struct {
	// forever: nobody else can take our place, however slow we are: the lock of
	// the data folder is held as long as we live.
	forever bool
	term    time.Duration // how long a heartbeat lasts
	born    time.Time

	good atomic.Int64 // when the last good heartbeat was sent, in nanoseconds after born

	mu     sync.Mutex
	ctx    context.Context // ends when the lease has run out
	cancel context.CancelCauseFunc
	again  chan struct{} // closed when it is valid again
	timer  *time.Timer
}

// newLease returns one that is not valid before it is renewed, unless forever.
func newLease(forever bool, t leaseTimes) *lease {
	l := &lease{forever: forever, term: t.ttl - t.margin, born: time.Now(), again: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.good.Store(-int64(l.term))
	if !forever {
		l.timer = time.AfterFunc(0, l.check)
	}
	return l
}

// valid says whether we may still act.
func (l *lease) valid() bool {
	return l.forever || time.Since(l.born)-time.Duration(l.good.Load()) < l.term
}

// renew notes a heartbeat that was sent at that time and written.
func (l *lease) renew(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil || !l.valid() {
		// It had run out. Whoever began before must see that first.
		l.cancel(errExpired)
		l.ctx, l.cancel = context.WithCancelCause(context.Background())
	}
	l.good.Store(int64(max(sent.Sub(l.born), time.Duration(l.good.Load()))))
	if l.timer != nil {
		l.timer.Reset(time.Until(sent.Add(l.term)))
	}
	if l.valid() {
		close(l.again)
		l.again = make(chan struct{})
	}
}

// await returns nil when the lease is valid, and the error of ctx when that has ended.
func (l *lease) await(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		l.mu.Lock()
		again := l.again
		l.mu.Unlock()
		if l.valid() {
			return nil
		}
		select {
		case <-again:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// revoke ends the lease before its time.
func (l *lease) revoke() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel(errExpired)
	l.good.Store(int64(time.Since(l.born) - l.term))
}

func (l *lease) check() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.valid() {
		l.cancel(errExpired)
	}
}

// current ends when the lease runs out that is valid now; it is over already
// when none is.
func (l *lease) current() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.valid() {
		l.cancel(errExpired)
	}
	return l.ctx
}

func (l *lease) stop() {
	if l.timer != nil {
		l.timer.Stop()
	}
}
