package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// ackWait is when the server gives a message again of which it has heard
	// nothing. While we hold one we say so every third of it.
	ackWait = 10 * time.Minute

	// Pulls: fewer than 256 messages each stall for up to two heartbeats
	// (nats.go 1.55), and their bytes are bounded.
	pullMessages  = 512
	pullBytes     = 16 << 20
	pullExpiry    = 5 * time.Second
	pullHeartbeat = time.Second

	// checkInterval is how often the server is asked how the consumer stands.
	checkInterval = time.Second

	// finalAck bounds the last acknowledgement of a Consume that ends.
	finalAck = 2 * time.Second
)

// ConsumeOptions tune Consume. The zero value is good.
type ConsumeOptions struct {
	// Batch is the most messages of a route that a handler gets at once. Zero is 64.
	Batch int

	// Workers is the most routes that are worked on at the same time; a handler
	// that waits keeps one. Zero is 256.
	Workers int

	// MaxAckPending is the most messages held at one time, those of waiting
	// routes included. Zero is 8192.
	MaxAckPending int

	// HeldBytes is how much of the held messages stays in memory; the rest is
	// read again from the store when its turn comes. Zero is 64 MiB.
	HeldBytes int64

	// Grace is how long handlers may go on after the end of ctx. Zero is 15 s.
	Grace time.Duration
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

// errNewEpoch ends one ownership, to be followed by the next: deliveries of
// this one may have been lost.
var errNewEpoch = errors.New("deliveries or acknowledgements may have been lost")

// Consume hands the messages of Ingest, Deliver or Mail to h until ctx ends:
// those of one route one run after the other, those of different routes side by
// side. It then lets the handlers finish, carries out what they have decided and
// returns nil. A server that cannot be reached is waited for. ErrFenced says that
// another process has taken the stage over.
func (b *Broker) Consume(ctx context.Context, stage Stage, h Handler, o ConsumeOptions) error {
	if stage != Ingest && stage != Deliver && stage != Mail {
		return fmt.Errorf("broker: consume: %w", refuse(ErrInvalid, fmt.Errorf("no stage %q to consume", stage)))
	}
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: consume: %w", err)
	}
	defer b.calls.Done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(b.done, stop)()

	f := newFlow(b, stage, h, o.withDefaults(), ctx.Done())
	// Handlers outlive ctx by the grace they are given.
	work, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	err := f.own(ctx, work)
	if err != nil {
		// The new owner is at it already: what we would do now comes twice.
		abort()
		f.disown()
	}
	grace := time.AfterFunc(f.o.Grace, abort)
	defer grace.Stop()
	f.finish()
	b.counts[stage].stalled.Store(false)
	if err != nil {
		return fmt.Errorf("broker: consume %s: %w", stage, err)
	}
	return nil
}

// own takes the stage over and pulls, epoch after epoch, until ctx ends (nil) or
// another process takes it over (ErrFenced).
func (f *flow) own(ctx, work context.Context) error {
	for fails := 0; ; {
		cons, epoch, err := f.b.takeOver(ctx, f.stage, f.o.MaxAckPending)
		if err == nil {
			err = f.checkStream(ctx)
		}
		if err == nil {
			fails = 0
			f.since.Store(time.Now().UnixNano())
			f.wakeFailed(work)
			f.log.Debug().Uint64("epoch", epoch).Msg("stage taken over")
			err = f.pull(ctx, work, cons, epoch)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrFenced):
			return err
		}
		fails++
		f.log.Warn().Err(err).Uint64("epoch", epoch).Msg("stage is taken over anew")
		if !pause(ctx, soon(fails)) {
			return nil
		}
	}
}

// checkStream forgets what was acknowledged when the stream is not the one of
// the last epoch: positions count from one again.
func (f *flow) checkStream(ctx context.Context) error {
	s, err := f.b.admin.js.Stream(ctx, streamOf(f.stage))
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if created := s.CachedInfo().Created; !created.Equal(f.created) {
		f.created = created
		f.done = make(seqSet)
	}
	return nil
}

// pull gets the deliveries of one epoch into the flow.
func (f *flow) pull(ctx, work context.Context, cons jetstream.Consumer, epoch uint64) error {
	lost := make(chan error, 1)
	lose := func(err error) {
		select {
		case lost <- err:
		default:
		}
	}
	again := f.b.work.reconnected()
	broken := false // belongs to the callback
	f.last.Store(0)
	cc, err := cons.Consume(func(m jetstream.Msg) {
		if broken {
			return
		}
		meta, err := m.Metadata()
		if err == nil && meta.Sequence.Consumer != f.last.Load()+1 {
			err = fmt.Errorf("%w: delivery %d after %d", errNewEpoch, meta.Sequence.Consumer, f.last.Load())
		}
		if err != nil {
			// Later messages of a route must not overtake the lost one: from
			// here on nothing of this epoch counts.
			broken = true
			lose(err)
			return
		}
		f.last.Store(meta.Sequence.Consumer)
		f.accept(work, m, meta)
	},
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			if errors.Is(err, jetstream.ErrConsumerDeleted) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrConnectionClosed) {
				lose(err)
				return
			}
			f.log.Debug().Err(err).Msg("pull")
		}))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	defer func() {
		cc.Stop()
		<-cc.Closed()
	}()

	t := time.NewTicker(checkInterval)
	defer t.Stop()
	var w watch
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
			return fmt.Errorf("%w: connection was lost", errNewEpoch)
		case err := <-lost:
			return f.orFenced(ctx, err, epoch)
		case <-t.C:
			if err := f.check(ctx, cons, &w); err != nil {
				return f.orFenced(ctx, err, epoch)
			}
		}
	}
}

// orFenced turns err into ErrFenced when the stage has a newer owner.
func (f *flow) orFenced(ctx context.Context, err error, epoch uint64) error {
	taken, ferr := f.b.fenced(ctx, f.stage, epoch)
	switch {
	case ferr != nil:
		return errors.Join(err, ferr)
	case taken:
		return ErrFenced
	}
	return err
}

// watch is what check remembers from one time to the next.
type watch struct {
	idle    int    // times in a row that messages waited and nobody asked
	behind  int    // times in a row that the server was ahead of us
	last    uint64 // our last delivery then
	floor   uint64 // up to which delivery everything was acknowledged then
	unheard int    // times in a row that the next one was acknowledged by us, and the server did not know
	checked int
}

// check asks the server how the consumer stands: for the statistics, for what
// needs no remembering, and for deliveries that have not arrived.
func (f *flow) check(ctx context.Context, cons jetstream.Consumer, w *watch) error {
	ctx, cancel := context.WithTimeout(ctx, checkInterval)
	defer cancel()
	if w.checked++; w.checked%30 == 0 {
		f.keepAlive()
	}
	info, err := cons.Info(ctx)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return err
	case err != nil:
		return nil // the server is busy or away; its absence is noticed elsewhere
	}
	f.c.lag.Store(info.NumPending + uint64(info.NumAckPending))
	f.mu.Lock()
	f.done.forget(info.AckFloor.Stream)
	f.mu.Unlock()

	w.idle++
	if info.NumPending == 0 || info.NumWaiting > 0 || info.NumAckPending >= f.o.MaxAckPending {
		w.idle = 0
	}
	f.c.stalled.Store(w.idle >= 3)

	last := f.last.Load()
	w.behind++
	if info.Delivered.Consumer <= last || last != w.last {
		w.behind = 0
	}
	w.last = last
	w.unheard++
	if info.AckFloor.Consumer != w.floor || info.AckFloor.Consumer >= f.settledTo(info.Delivered.Consumer) {
		w.unheard = 0
	}
	w.floor = info.AckFloor.Consumer
	if w.unheard >= 3 {
		// It would give the messages again after AckWait, or to the next owner, and
		// until then count them among those that we may hold.
		return fmt.Errorf("%w: acknowledgement of delivery %d", errNewEpoch, w.floor+1)
	}
	if w.behind >= 3 {
		// Nothing follows that would show the gap.
		return fmt.Errorf("%w: %d sent, %d received", errNewEpoch, info.Delivered.Consumer, last)
	}
	return nil
}

// settledTo is the delivery up to which we hold nothing, last if we hold nothing
// at all.
func (f *flow) settledTo(last uint64) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range f.held {
		last = min(last, it.cseq-1)
	}
	return last
}
