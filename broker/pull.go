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

// errNewEpoch ends one epoch, to be followed by the next: deliveries of this one
// may have been lost.
var errNewEpoch = errors.New("deliveries or acknowledgements may have been lost")

// pull gets the deliveries of one epoch into the flow.
func (f *flow) pull(ctx, work context.Context, e *epoch) error {
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
	f.since.Store(time.Now().UnixNano())
	f.forgetAcks()
	cc, err := e.cons.Consume(func(m jetstream.Msg) {
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
			return err
		case <-t.C:
			if err := f.check(ctx, e, &w); err != nil {
				return err
			}
		}
	}
}

// forgetAcks is called when a consumer goes: what it has not confirmed it never will.
func (f *flow) forgetAcks() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastAck = ""
}

// watch is what check remembers from one time to the next.
type watch struct {
	idle    int    // times in a row that messages waited and nobody asked
	behind  int    // times in a row that the server was ahead of us
	last    uint64 // our last delivery then
	floor   uint64 // up to which delivery everything was acknowledged then
	unheard int    // times in a row that the next one was acknowledged by us, and the server did not know
	checked int

	silent   time.Time // since when the consumer has not answered; zero: it has
	silentAt uint64    // our last delivery then
}

// leaderless is how long a consumer may say nothing at all: longer than an election
// takes. A server of a cluster that is restarted now and then leaves a consumer for
// which none is ever held (nats-server 2.15.2).
const leaderless = 15 * time.Second

// unanswered is called when the consumer has not answered, with our last delivery. The
// error says that it will not do so any more.
func (w *watch) unanswered(last uint64, now time.Time, err error) error {
	switch {
	case w.silent.IsZero() || last != w.silentAt:
		w.silent, w.silentAt = now, last
	case now.Sub(w.silent) > leaderless:
		return fmt.Errorf("%w: the consumer says nothing for %v: %w", errNewEpoch, leaderless, err)
	}
	return nil
}

// check asks the server how the consumer stands: for the statistics, for what
// needs no remembering, and for deliveries that have not arrived.
func (f *flow) check(ctx context.Context, e *epoch, w *watch) error {
	ctx, cancel := context.WithTimeout(ctx, checkInterval)
	defer cancel()
	if w.checked++; w.checked%30 == 0 {
		f.keepAlive()
	}
	info, err := e.cons.Info(ctx)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		return err
	case err != nil:
		// The server is busy or away; its absence is noticed elsewhere.
		return w.unanswered(f.last.Load(), time.Now(), err)
	}
	w.silent = time.Time{}
	f.mu.Lock()
	f.done.forget(info.AckFloor.Stream)
	f.mu.Unlock()

	w.idle++
	if info.NumPending == 0 || info.NumWaiting > 0 || info.NumAckPending >= info.Config.MaxAckPending {
		w.idle = 0
	}
	f.report(info.NumPending+uint64(info.NumAckPending), w.idle >= 3)

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
		// The server that led the consumer died with it. It would give the messages
		// again after AckWait, or to the next owner, and until then count them
		// among those that we may hold.
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

// report puts the slice's part into the statistics of the stage.
func (f *flow) report(lag uint64, idle bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.c.lag.Add(lag - f.lag)
	f.lag = lag
	if f.idle != idle {
		f.idle = idle
		if idle {
			f.c.stalled.Add(1)
		} else {
			f.c.stalled.Add(-1)
		}
	}
}

// checkStream forgets what was acknowledged when the stream is not the one of
// the last epoch: positions count from one again. It returns the last position.
func (f *flow) checkStream(ctx context.Context) (last uint64, err error) {
	var s jetstream.Stream
	err = f.b.admin.insist(ctx, createTimeout, func(ctx context.Context) (err error) {
		s, err = f.b.admin.js.Stream(ctx, streamOf(f.stage))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("stream: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if created := s.CachedInfo().Created; !created.Equal(f.created) {
		f.created = created
		f.done = make(seqSet)
	}
	return s.CachedInfo().State.LastSeq, nil
}
