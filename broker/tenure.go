package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
)

// tenure is one slice for as long as this process is to own it. It belongs to
// the goroutine that runs it.
type tenure struct {
	c     *consumption
	slice Slice
	log   zerolog.Logger
	flow  *flow
	held  bool // our claim stands, as far as we know
	fresh bool // the slice never had an owner before
	known bool // it is clear what others may have handed over
	epoch *epoch
	claim uint64 // revision of our claim
}

// errUnbeside means that what runs beside the slice has ended with an error.
var errUnbeside = errors.New("what runs beside the slice")

// run owns the slice until ctx ends or it is lost. A server that cannot be
// reached is waited for.
func (t *tenure) run(ctx context.Context) {
	defer t.close()
	for fails := 0; t.c.b.lease.await(ctx) == nil; {
		err := t.hold(ctx)
		switch {
		case errors.Is(err, errLost):
			t.c.count().losses.Add(1)
			t.log.Warn().Err(err).Msg("slice lost")
			return
		case ctx.Err() != nil:
		case errors.Is(err, errOwned):
			t.log.Debug().Err(err).Msg("slice not taken over")
			pause(ctx, soonest) // who asks for it at once hears the same
			return
		case errors.Is(err, errExpired):
			t.log.Debug().Err(err).Msg("slice rests") // once for all slices at a higher level, see heart
		default:
			fails++
			t.log.Warn().Err(err).Msg("slice is tried again")
			pause(ctx, soon(fails))
		}
	}
	t.giveBack(ctx)
}

// tidy gives a claim up that was left behind: the store did not take its release.
func (t *tenure) tidy(ctx context.Context) {
	if t.c.b.lease.await(ctx) != nil {
		return
	}
	if t.giveBack(ctx); t.held {
		pause(ctx, soonest)
	}
}

// giveBack releases a claim that still stands although the work under it has
// ended already.
func (t *tenure) giveBack(ctx context.Context) {
	if !t.held {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalAck)
	defer cancel()
	ctx, stop := t.c.b.connected(ctx)
	defer stop()
	err := context.Cause(ctx)
	if err == nil {
		err = t.release(ctx)
	}
	if err != nil {
		t.log.Warn().Err(err).Msg("slice not given up in order, others wait for our lease to run out")
	}
}

func (t *tenure) close() {
	if t.flow != nil {
		t.dropFlow()
	}
}

func (t *tenure) dropFlow() {
	t.flow.drop()
	t.flow.report(0, false)
	t.c.pool.flows.Add(-1)
	t.flow = nil
}

// take takes the slice over, for the first time or anew.
func (t *tenure) take(ctx context.Context) error {
	ctx, stop := t.c.b.connected(ctx)
	defer stop()
	err := ctx.Err()
	if err == nil {
		err = t.takeOver(ctx)
	}
	if err != nil && ctx.Err() != nil && !errors.Is(err, errLost) {
		return context.Cause(ctx)
	}
	return err
}

// takeOver claims the slice and begins an epoch on it.
func (t *tenure) takeOver(ctx context.Context) error {
	b := t.c.b
	again := b.members.layout(sliceKey{t.c.stage, t.slice.Index}) > 0
	claim, fresh, err := b.claim(ctx, t.c.stage, t.slice, t.held)
	if err != nil {
		return err
	}
	t.held, t.claim = true, claim
	first := t.flow == nil
	if first {
		t.makeFlow()
		t.fresh = fresh
	}
	t.flow.forgetAcks()
	begun, err := b.beginEpoch(ctx, t.c.stage, t.slice, claim, t.maxAckPending())
	if err != nil {
		return err
	}
	t.epoch = begun
	last, err := t.flow.checkStream(ctx)
	if err != nil || t.known {
		return err
	}
	// Alone, what came in since the start was handed over by nobody, unless by us.
	t.known = true
	switch {
	case !b.members.alone && (!t.fresh || t.epoch.old), b.members.alone && again:
		t.flow.recovered = last
	case !b.members.alone:
		t.flow.recovered = 0
	}
	return nil
}

// maxAckPending is the slice's part of the most messages held at one time. It
// depends on nothing that changes while an epoch lasts: a consumer with replicas
// whose limit is lowered forgets what it was about to deliver (server 2.15.2).
func (t *tenure) maxAckPending() int { return max(t.c.o.MaxAckPending/t.slice.Of, 1) }

func (t *tenure) makeFlow() {
	t.c.pool.flows.Add(1)
	t.flow = newFlow(t.c.b, t.c.stage, t.c.h, t.c.o, nil)
	t.flow.pool, t.flow.log, t.flow.stopping = t.c.pool, t.log, true
	t.known = false
}

// hold owns the slice without interruption: from taking it over until it was
// given up because ctx ended or what runs beside it has failed (it is released
// then), until it is lost (errLost), or until the lease runs out (errExpired:
// the claim stands, and nobody works under it).
func (t *tenure) hold(ctx context.Context) error {
	b, key := t.c.b, sliceKey{t.c.stage, t.slice.Index}
	lease := b.lease.current()
	gone, lose := context.WithCancelCause(context.Background())
	defer lose(nil)
	defer context.AfterFunc(lease, func() { lose(errExpired) })()
	ours, give := context.WithCancelCause(ctx) // ends when the slice is to be given up or is gone
	defer give(nil)
	defer context.AfterFunc(gone, func() { give(context.Cause(gone)) })()

	if err := t.take(ours); err != nil {
		if gone.Err() != nil {
			return context.Cause(gone)
		}
		return err
	}
	unguard := b.members.guard(key, t.claim, func() { lose(errLost) })
	defer unguard()
	t.c.count().owned.Add(1)
	defer t.c.count().owned.Add(-1)
	t.c.count().takeovers.Add(1)
	t.log.WithLevel(t.level()).Uint64("epoch", t.epoch.number).Msg("slice taken over")

	// Handlers outlive ctx by the grace they are given, and a slice that is gone not at all.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	r := &right{lease: lease}
	defer context.AfterFunc(gone, func() {
		r.gone.Store(true)
		abort()
	})()
	fail := func(err error) { give(fmt.Errorf("%w: %w", errUnbeside, err)) }
	beside := runBeside(ours, work, t.c.o.Own, t.slice, fail)
	if err := beside.awaitReady(ours); err == nil {
		t.flow.resume(work, r, ours.Done())
		t.pulls(ours, work, lose)
	} else {
		fail(err)
	}
	t.rest(beside, abort)
	if gone.Err() != nil {
		return context.Cause(gone)
	}
	unguard() // or it would take our own release for another's claim
	err := t.surrender(ctx)
	if gone.Err() != nil {
		return context.Cause(gone)
	}
	if err == nil && ctx.Err() == nil {
		err = context.Cause(ours)
	}
	return err
}

// rest waits until nobody works on the slice any more; after the grace those
// that still do are told.
func (t *tenure) rest(beside *beside, abort func()) {
	grace := time.AfterFunc(t.c.o.Grace, abort)
	defer grace.Stop()
	t.flow.halt()
	beside.end()
}

// level is that of the news that a slice comes and goes.
func (t *tenure) level() zerolog.Level {
	if t.c.b.members.alone {
		return zerolog.DebugLevel
	}
	return zerolog.InfoLevel
}

// pulls gets deliveries, epoch after epoch, until ctx ends.
func (t *tenure) pulls(ctx, work context.Context, lose func(error)) {
	for fails := 0; ; {
		err := t.flow.pull(ctx, work, t.epoch)
		for {
			if ctx.Err() != nil {
				return
			}
			fails++
			t.log.Warn().Err(err).Uint64("epoch", t.epoch.number).Msg("slice has to be taken over anew")
			if !pause(ctx, soon(fails)) {
				return
			}
			if err = t.take(ctx); err == nil {
				break
			}
			if errors.Is(err, errLost) {
				lose(err)
				return
			}
		}
		fails = 0
		t.log.WithLevel(t.level()).Uint64("epoch", t.epoch.number).Msg("slice taken over anew")
		t.flow.wakeFailed(work)
	}
}

// surrender lets the next owner begin: the server has our acknowledgements, the
// consumer goes, and the claim is released.
func (t *tenure) surrender(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.c.b.o.StoreTimeout)
	defer cancel()
	ctx, stop := t.c.b.connected(ctx)
	defer stop()
	t.flow.confirmLast()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := t.flow.entitled(); err != nil {
		return err
	}
	if err := t.c.b.endEpoch(ctx, t.c.stage, t.epoch); err != nil {
		return err
	}
	if err := t.release(ctx); err != nil {
		return err
	}
	t.c.count().handovers.Add(1)
	t.log.WithLevel(t.level()).Uint64("epoch", t.epoch.number).Msg("slice given up")
	t.dropFlow()
	return nil
}

func (t *tenure) release(ctx context.Context) error {
	err := t.c.b.unclaim(ctx, t.c.stage, t.slice, t.claim)
	if err == nil {
		t.held = false
	}
	return err
}
