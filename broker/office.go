package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// officeGrace is how long the work of an office may go on after it is to be given up.
const officeGrace = 3 * time.Second

// Preside has do run in one of the processes that call it for the same office at a
// time, by the leases that slices have, until ctx ends. name is letters. ctx of do
// ends when the office is to be given up or was lost, and do returns soon then; work
// ends when what was begun must stop: at once when it was lost, else after 3 s. A
// server that cannot be reached is waited for. The error is ErrInvalid: this process
// presides already.
func (b *Broker) Preside(ctx context.Context, name string, do func(ctx, work context.Context)) error {
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: preside: %w", err)
	}
	defer b.calls.Done()
	stage := Stage("office-" + name)
	if !b.members.enter(stage) {
		return fmt.Errorf("broker: preside: %w", refuse(ErrInvalid, fmt.Errorf("%s is presided over already", name)))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(b.done, stop)()
	b.beatNow()
	o := &office{b: b, stage: stage, do: do, log: b.log.With().Str("office", name).Logger()}
	o.run(ctx)
	b.members.leave(stage)
	o.resign(ctx)
	b.members.forget(stage)
	b.beatNow()
	return nil
}

// office is one Preside: the first slice of a stage that has no messages. It belongs
// to the goroutine that runs it.
type office struct {
	b     *Broker
	stage Stage
	do    func(ctx, work context.Context)
	log   zerolog.Logger
	held  bool // our claim stands, as far as we know
	slice Slice
	claim uint64 // revision of our claim
}

// run presides whenever it is our turn, until ctx ends.
func (o *office) run(ctx context.Context) {
	for fails := 0; ctx.Err() == nil; {
		p := o.plan()
		switch {
		case !p.want[o.slice] && o.held:
			if o.resign(ctx); o.held {
				pause(ctx, soonest)
			}
		case !p.want[o.slice], !p.free[o.slice]:
			o.await(ctx, p, nil)
		case o.b.lease.await(ctx) == nil:
			fails = o.turn(ctx, fails)
		}
	}
}

// turn presides once, and returns how often that has failed, with the fails before.
func (o *office) turn(ctx context.Context, fails int) int {
	switch err := o.hold(ctx); {
	case errors.Is(err, errLost):
		o.held = false
		o.log.Warn().Err(err).Msg("office lost")
	case errors.Is(err, errOwned):
		pause(ctx, soonest)
	case err != nil && !errors.Is(err, errExpired) && ctx.Err() == nil:
		fails++
		o.log.Warn().Err(err).Msg("office is tried again")
		pause(ctx, soon(fails))
		return fails
	}
	return 0
}

// plan is what the members make of the office now.
func (o *office) plan() plan {
	p := o.b.members.plan(o.stage, time.Now())
	o.slice = Slice{0, p.of}
	return p
}

// await returns when the plan may have changed, when done is closed, or when ctx ends.
func (o *office) await(ctx context.Context, p plan, done <-chan struct{}) {
	var later <-chan time.Time
	if p.after > 0 {
		t := time.NewTimer(p.after)
		defer t.Stop()
		later = t.C
	}
	select {
	case <-ctx.Done():
	case <-p.change:
	case <-later:
	case <-done:
	}
}

// hold presides from now until ctx ends, somebody else is to (nil), the lease runs out
// (errExpired: the claim stands) or the office is lost (errLost).
func (o *office) hold(ctx context.Context) error {
	b, key := o.b, sliceKey{o.stage, o.slice.Index}
	gone, lose := context.WithCancelCause(context.Background())
	defer lose(nil)
	defer context.AfterFunc(b.lease.current(), func() { lose(errExpired) })()
	claim, err := o.take(ctx)
	if err != nil {
		return err
	}
	o.held, o.claim = true, claim
	unguard := b.members.guard(key, claim, func() { lose(errLost) })
	o.log.Debug().Uint64("epoch", claim).Msg("presiding")
	o.preside(ctx, gone)
	unguard() // or it would take our own release for another's claim
	if gone.Err() != nil {
		return context.Cause(gone)
	}
	if ctx.Err() == nil {
		o.resign(ctx)
	}
	return nil
}

// preside runs do until it has returned, as it has to when ctx or gone ends or the
// office is somebody else's.
func (o *office) preside(ctx, gone context.Context) {
	ours, give := context.WithCancel(ctx)
	defer give()
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	defer context.AfterFunc(gone, func() { give(); abort() })()
	defer context.AfterFunc(ours, func() { time.AfterFunc(officeGrace, abort) })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.do(ours, work)
	}()
	for mine := o.slice; ; {
		p := o.plan()
		if !p.want[mine] && (p.firm || mine.Of != p.of) {
			give()
		}
		o.await(ours, p, done)
		select {
		case <-done:
			return
		default:
		}
		if ours.Err() != nil {
			<-done
			return
		}
	}
}

func (o *office) take(ctx context.Context) (uint64, error) {
	ctx, stop := o.b.connected(ctx)
	defer stop()
	claim, _, err := o.b.claim(ctx, o.stage, o.slice, o.held)
	if err != nil && ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	return claim, err
}

// resign releases our claim, if it stands.
func (o *office) resign(ctx context.Context) {
	if !o.held {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalAck)
	defer cancel()
	ctx, stop := o.b.connected(ctx)
	defer stop()
	err := o.b.unclaim(ctx, o.stage, o.slice, o.claim)
	if err != nil && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) { // else it is another's
		o.log.Warn().Err(err).Msg("office not given up in order, others wait for our lease to run out")
		return
	}
	o.held = false
}
