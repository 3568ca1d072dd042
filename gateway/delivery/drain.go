package delivery

import (
	"context"
	"errors"
	"sync"
	"time"

	"mcmt2xmpp/broker"
)

// drains is how many parked routes of a slice are drained at the same time. Each
// waits for its client, so it is not the processor that bounds it, but each has a
// run of messages in memory.
const drains = 256

// drainer empties parked routes whose recipient is back or whose time has come,
// several at a time, until ctx ends. What was begun goes on with work.
func (dl *Delivery) drainer(ctx, work context.Context, o *owned) {
	busy := make(chan struct{}, drains)
	var running sync.WaitGroup
	defer running.Wait()
	for {
		rt, due := dl.nextRoute(o)
		if rt == nil {
			if !dl.await(ctx, o) {
				return
			}
			continue
		}
		select {
		case busy <- struct{}{}:
		case <-ctx.Done():
			return
		}
		running.Go(func() {
			defer func() { <-busy }()
			dl.drain(ctx, work, rt.name, due)
		})
	}
}

// await waits until a route is woken or due, and says whether ctx is still alive.
func (dl *Delivery) await(ctx context.Context, o *owned) bool {
	var due <-chan time.Time
	dl.mu.Lock()
	if rt := o.due.first(); rt != nil {
		t := time.NewTimer(time.Until(rt.Next))
		defer t.Stop()
		due = t.C
	}
	dl.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-o.wake:
	case <-due:
	}
	return true
}

// nextRoute takes the next route that there is something to do for, nil for none
// now. due says that its time has come; else it was woken.
func (dl *Delivery) nextRoute(o *owned) (_ *route, due bool) {
	for {
		rt, due := dl.pop(o)
		switch {
		case rt == nil:
			return nil, false
		case rt.parked.Load() == 0:
		case dl.held(rt):
			if due {
				dl.rest(rt, dl.o.Outgoing(rt.domain()).MaxRetryInterval) // its release wakes it
			}
		case due || dl.reachable(rt):
			return rt, due
		}
	}
}

// pop takes a route that was woken, or one whose time has come.
func (dl *Delivery) pop(o *owned) (_ *route, due bool) {
	dl.mu.Lock()
	defer dl.mu.Unlock()
	if len(o.woken) > 0 {
		name := o.woken[0]
		if o.woken = o.woken[1:]; len(o.woken) == 0 {
			o.woken = nil // the memory of a wave of logins
		}
		rt := dl.routes[name]
		if rt == nil {
			return &route{name: name}, false // nothing waits for it any more
		}
		rt.woken = false
		return rt, false
	}
	rt := o.due.first()
	if rt == nil || time.Now().Before(rt.Next) {
		return nil, false
	}
	o.due.remove(rt)
	return rt, true
}

// drain delivers what is parked for one route, until there is none left or one is
// not taken, or gives up what is too old. The route's mutex is held for as long,
// so nothing newer overtakes.
func (dl *Delivery) drain(ctx, work context.Context, name string, due bool) {
	rt := dl.lock(name)
	defer dl.unlock(rt)
	if ctx.Err() != nil || rt.parked.Load() == 0 {
		return
	}
	if rt.unsure { // the messages that come first are parked again before
		dl.rest(rt, retry)
		return
	}
	dl.warn(work, rt)
	h := &drainHandler{dl: dl, rt: rt, over: ctx, absent: !dl.reachable(rt)}
	if h.absent {
		h.reason = dl.absence(rt)
		switch {
		case !due:
			return
		case !rt.expires.IsZero() && time.Now().Before(rt.expires):
			dl.inVain(rt, h.reason)
			return
		}
	}
	n, err := dl.broker.Drain(work, broker.Park, name, h)
	if n > 0 {
		dl.taken(rt)
		dl.log.Info().Str("route", name).Int("messages", n).Int64("left", max(0, rt.parked.Load()-int64(n))).Msg("parked messages settled")
	}
	switch {
	case err == nil:
		// It is empty: the count is exact again, whatever it was.
		rt.parked.Store(0)
		rt.diverted = nil
		return
	case ctx.Err() != nil:
	case errors.Is(err, broker.ErrPutOff) && h.wait > 0:
		dl.rest(rt, h.wait)
	case errors.Is(err, broker.ErrPutOff):
		dl.inVain(rt, h.reason)
	default:
		dl.log.Warn().Err(err).Str("route", name).Msg("parked messages not read")
		dl.putOff(rt, err.Error())
	}
	rt.parked.Store(max(1, rt.parked.Load()-int64(n)))
}

// absence is why nothing is sent to who cannot be reached now: of a domain of others, why
// the last attempt failed.
func (dl *Delivery) absence(rt *route) string {
	if dl.serves(rt.domain()) {
		return "recipient has no available resource"
	}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	if rt.Reason != "" {
		return rt.Reason
	}
	return "the servers of the domain cannot be reached"
}

// drainHandler delivers parked messages until over ends; those that cannot be
// delivered stay where they are.
type drainHandler struct {
	dl   *Delivery
	rt   *route
	over context.Context // the end of ownership; a run that was begun goes on beyond it
	// absent: the recipient is not there, and only what is too old is dealt with.
	absent bool
	// steady: the run before was delivered as a whole.
	steady bool
	reason string        // why the first that stays was not delivered
	wait   time.Duration // how long to wait for the domain's throttle
}

// Handle delivers a run of parked messages of one route.
func (h *drainHandler) Handle(ctx context.Context, ds []*broker.Delivery) []broker.Disposition {
	if h.over.Err() != nil || h.dl.held(h.rt) {
		return nil
	}
	for _, d := range ds {
		d.Redelivered = d.Redelivered || h.rt.recovered // by a former owner
	}
	if h.absent {
		return h.giveUp(ctx, ds)
	}
	n, wait := h.dl.throttle.allow(h.rt.domain(), h.dl.o.Outgoing(h.rt.domain()).Throttle, len(ds))
	if n == 0 {
		h.wait = wait
		return nil
	}
	done, notNow := h.dl.deliver(ctx, ds[:n], !h.steady)
	h.steady = len(done) == n && notNow == nil
	h.reason, h.rt.expires = unproven, time.Time{}
	var joined *waitError
	switch {
	case errors.As(notNow, &joined):
		h.wait = joined.wait
	case notNow != nil:
		h.reason = notNow.Error()
	}
	if len(done) == n && n < len(ds) {
		h.wait = time.Millisecond // it is asked again at once, and then says how long
	}
	h.dl.note(h.rt, ds[:len(done)])
	return done
}

// unproven is why messages that were sent are sent again.
const unproven = "delivery not proven"

// giveUp ends the messages that are too old.
func (h *drainHandler) giveUp(ctx context.Context, ds []*broker.Delivery) (done []broker.Disposition) {
	now := time.Now()
	for _, d := range ds {
		rec, err := h.dl.record(d)
		if err != nil {
			done = append(done, h.dl.bury(ctx, rec, d, "unreadable: "+err.Error()))
			continue
		}
		out, over := h.dl.overdue(ctx, rec, d, now)
		if !over {
			h.rt.expires = h.dl.deadline(rec)
			break
		}
		if done = append(done, out); out.Again() {
			break
		}
	}
	h.dl.note(h.rt, ds[:len(done)])
	return done
}
