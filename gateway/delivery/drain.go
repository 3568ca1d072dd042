package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"mcmt2xmpp/broker"
)

const (
	// drains is how many parked routes are drained at the same time. Each waits
	// for its client, so it is not the processor that bounds it, but each has a
	// run of messages in memory.
	drains = 256

	// drainTries is how often a route whose recipient is there, but takes
	// nothing, is tried in a row; then the sweep or a login tries again.
	drainTries = 6

	// sweepEvery is how often parked routes are tried without an event.
	sweepEvery = 30 * time.Second
)

// drainer empties parked routes whose recipient is back, several at a time,
// until ctx ends. What was begun goes on with work.
func (dl *Delivery) drainer(ctx, work context.Context) {
	busy := make(chan struct{}, drains)
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-dl.wake:
		case <-sweep.C:
			for _, name := range dl.parkedRoutes() {
				dl.wakeRoute(name)
			}
		}
		for name := dl.nextWoken(); name != ""; name = dl.nextWoken() {
			if !dl.reachable(name) {
				continue
			}
			select {
			case busy <- struct{}{}:
			case <-ctx.Done():
				return
			}
			running.Go(func() {
				defer func() { <-busy }()
				dl.drain(ctx, work, name)
			})
		}
	}
}

// drain delivers what is parked for one route, in several tries where the
// recipient is there but does not take it.
func (dl *Delivery) drain(ctx, work context.Context, name string) {
	wait := retry
	for range drainTries {
		n, again := dl.drainOnce(ctx, work, name)
		if !again {
			return
		}
		if n > 0 {
			wait = retry
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		wait *= 2
	}
}

// drainOnce delivers parked messages until there are none left or one is not
// taken. The route's mutex is held for as long, so nothing newer overtakes. It
// returns how many messages are settled and whether to try again soon.
func (dl *Delivery) drainOnce(ctx, work context.Context, name string) (n int, again bool) {
	rt := dl.lock(name)
	defer dl.unlock(name, rt)
	if ctx.Err() != nil || rt.parked.Load() == 0 || rt.unsure || !dl.reachable(name) {
		return 0, false
	}
	n, err := dl.broker.Drain(work, broker.Park, name, &drainHandler{dl: dl, over: ctx})
	if err == nil {
		// It is empty: the count is exact again, whatever it was.
		rt.parked.Store(0)
	} else {
		rt.parked.Store(max(1, rt.parked.Load()-int64(n)))
	}
	if err != nil && !errors.Is(err, broker.ErrPutOff) && ctx.Err() == nil {
		dl.log.Warn().Err(err).Str("jid", name).Msg("parked messages not read")
	}
	if n > 0 {
		dl.log.Info().Str("jid", name).Int("messages", n).Int64("left", rt.parked.Load()).Msg("parked messages settled")
	}
	return n, err != nil
}

// drainHandler delivers parked messages until over ends; those that cannot be
// delivered stay where they are.
type drainHandler struct {
	dl   *Delivery
	over context.Context // the end of Run; a run that was begun goes on beyond it
	// steady: the run before was delivered as a whole.
	steady bool
}

// Handle delivers a run of parked messages of one route.
func (h *drainHandler) Handle(ctx context.Context, ds []*broker.Delivery) []broker.Disposition {
	if h.over.Err() != nil {
		return nil
	}
	done, _ := h.dl.deliver(ctx, ds, !h.steady)
	h.steady = len(done) == len(ds)
	return done
}
