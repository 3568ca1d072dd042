package broker

import (
	"context"
	"fmt"
	"time"
)

// ConsumeOptions tune Consume. The zero value is good.
type ConsumeOptions struct {
	// Batch is the most messages of a route that a handler gets at once. Zero is 64.
	Batch int

	// Workers is the most routes that are worked on at the same time; a handler
	// that waits keeps one. Zero is 256.
	Workers int

	// MaxAckPending is the most messages held at one time, those of waiting
	// routes included, in all slices of the stage together: each has an equal
	// part, whoever owns it. Zero is 8192.
	MaxAckPending int

	// HeldBytes is how much of the held messages stays in memory; the rest is
	// read again from the store when its turn comes. Zero is 64 MiB.
	HeldBytes int64

	// Grace is how long handlers may go on after the end of ctx. Zero is 15 s.
	Grace time.Duration

	// Own, when set, runs beside each slice that this process owns. It is called
	// in a goroutine of its own after the slice was taken over; the first message
	// of the slice is handed over after it has called ready. ctx ends when the
	// slice is to be given up or was lost; work when what was begun must stop: at
	// once when the slice was lost, else after Grace. The slice is given to
	// another process only after Own has returned. An error before ready gives the
	// slice back, and it is tried again.
	Own func(ctx, work context.Context, s Slice, ready func()) error
}

func (o ConsumeOptions) withDefaults() ConsumeOptions {
	or := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	or(&o.Batch, 64)
	or(&o.Workers, 256)
	or(&o.MaxAckPending, 8192)
	if o.HeldBytes <= 0 {
		o.HeldBytes = 64 * mib
	}
	if o.Grace <= 0 {
		o.Grace = 15 * time.Second
	}
	return o
}

// Consume hands the messages of Ingest, Deliver or Mail to h until ctx ends:
// those of one route one run after the other, those of different routes side by
// side. With URLs it shares the stage with the other processes that consume it:
// each slice has one owner, and passes to another one when members come and go,
// or die. At the end it lets the handlers finish, carries out what they have
// decided, gives its slices up and returns nil. A server that cannot be reached
// is waited for. The error is ErrInvalid: no such stage, or one that this
// process consumes already.
func (b *Broker) Consume(ctx context.Context, stage Stage, h Handler, o ConsumeOptions) error {
	if stage != Ingest && stage != Deliver && stage != Mail {
		return fmt.Errorf("broker: consume: %w", refuse(ErrInvalid, fmt.Errorf("no stage %q to consume", stage)))
	}
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: consume: %w", err)
	}
	defer b.calls.Done()
	if !b.members.enter(stage) {
		return fmt.Errorf("broker: consume: %w", refuse(ErrInvalid, fmt.Errorf("stage %q is consumed already", stage)))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(b.done, stop)()

	o = o.withDefaults()
	c := &consumption{
		b: b, stage: stage, h: h, o: o, pool: newPool(o.Workers),
		tenures: make(map[Slice]func()), ended: make(chan Slice),
	}
	b.beatNow()
	c.run(ctx)
	b.members.leave(stage)
	b.beatNow()
	c.finish()
	b.members.forget(stage)
	b.beatNow()
	return nil
}

// consumption is one Consume. It belongs to the goroutine that runs it.
type consumption struct {
	b       *Broker
	stage   Stage
	h       Handler
	o       ConsumeOptions
	pool    *pool
	tenures map[Slice]func() // those that run; the function has them give the slice up
	ended   chan Slice       // what a tenure was about that has ended
}

func (c *consumption) count() *counters { return c.b.counts[c.stage] }

// run holds the slices that are to be ours until ctx ends.
func (c *consumption) run(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		p := c.b.members.plan(c.stage, time.Now())
		c.follow(ctx, p)
		var later <-chan time.Time
		if p.after > 0 {
			t.Reset(p.after)
			later = t.C
		}
		select {
		case <-ctx.Done():
			return
		case <-p.change:
		case <-later:
		case s := <-c.ended:
			delete(c.tenures, s)
		}
	}
}

// follow does what the plan says.
func (c *consumption) follow(ctx context.Context, p plan) {
	for s, giveUp := range c.tenures {
		if !p.want[s] && (p.firm || s.Of != p.of) {
			giveUp()
		}
	}
	for s := range p.want {
		if p.free[s] && !c.working(s) {
			c.start(ctx, c.tenure(s), (*tenure).run)
		}
	}
	for s, claim := range p.stale {
		if !c.working(s) {
			t := c.tenure(s)
			t.held, t.claim = true, claim
			c.start(ctx, t, (*tenure).tidy)
		}
	}
}

// working reports whether a tenure runs that has partitions of s.
func (c *consumption) working(s Slice) bool {
	for o := range c.tenures {
		if o.overlaps(s) {
			return true
		}
	}
	return false
}

func (c *consumption) tenure(s Slice) *tenure {
	return &tenure{c: c, slice: s, log: c.b.log.With().Str("stage", string(c.stage)).Stringer("slice", s).Logger()}
}

func (c *consumption) start(ctx context.Context, t *tenure, do func(*tenure, context.Context)) {
	ctx, giveUp := context.WithCancel(ctx)
	c.tenures[t.slice] = giveUp
	go func() {
		do(t, ctx)
		giveUp()
		c.ended <- t.slice
	}()
}

// finish waits for the tenures, whose context has ended.
func (c *consumption) finish() {
	for len(c.tenures) > 0 {
		delete(c.tenures, <-c.ended)
	}
	c.pool.close()
}
