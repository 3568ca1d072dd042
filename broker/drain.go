package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// drainBatch is how many parked messages are fetched at once.
	drainBatch = 128

	// drainPause is how long a drain waits for messages that are there and do not
	// come.
	drainPause = 20 * time.Millisecond

	// drainIdle is when the server forgets the consumer of a drain whose
	// process has died.
	drainIdle = time.Minute
)

// Drain hands everything that Park holds of one route to h, in order, and
// returns how many messages were settled. Drains of one route wait for one
// another. It ends early with ErrPutOff when h asks for a message to be given
// again, and with the store's error when a Move is not taken; the rest stays.
func (b *Broker) Drain(ctx context.Context, stage Stage, routeName string, h Handler) (n int, err error) {
	if stage != Park {
		return 0, fmt.Errorf("broker: drain: %w", refuse(ErrInvalid, fmt.Errorf("no stage %q to drain", stage)))
	}
	if err := b.begin(); err != nil {
		return 0, fmt.Errorf("broker: drain: %w", err)
	}
	defer b.calls.Done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(b.done, stop)()

	leave, err := b.enterDrain(ctx, token(routeName))
	if err != nil {
		return 0, fmt.Errorf("broker: drain: %w", err)
	}
	defer leave()
	n, err = b.drain(ctx, stage, routeName, h)
	if err != nil && !errors.Is(err, ErrPutOff) {
		err = fmt.Errorf("broker: drain: %w", err)
	}
	return n, err
}

// enterDrain waits until no other Drain is on the route.
func (b *Broker) enterDrain(ctx context.Context, key string) (leave func(), err error) {
	for {
		b.drains.Lock()
		other := b.drains.busy[key]
		if other == nil {
			mine := make(chan struct{})
			b.drains.busy[key] = mine
			b.drains.Unlock()
			return func() {
				b.drains.Lock()
				delete(b.drains.busy, key)
				b.drains.Unlock()
				close(mine)
			}, nil
		}
		b.drains.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *Broker) drain(ctx context.Context, stage Stage, routeName string, h Handler) (n int, err error) {
	cons, name, err := b.drainConsumer(ctx, stage, routeName)
	if err != nil {
		return 0, err
	}
	key := token(routeName)
	f := newFlow(b, stage, h, ConsumeOptions{}.withDefaults(), ctx.Done())
	f.drained = b.drainedTo(key)
	defer func() {
		f.finish()
		if err == nil {
			err = f.syncErr
		}
		wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.o.StoreTimeout)
		defer cancel()
		// A consumer that stays would stand in the way of the next drain; the
		// server forgets it after drainIdle.
		if derr := b.admin.js.DeleteConsumer(wctx, streamOf(stage), name); derr != nil && !errors.Is(derr, jetstream.ErrConsumerNotFound) {
			f.log.Warn().Err(derr).Str("consumer", name).Msg("consumer of a drain stays for a minute")
		}
	}()
	r := new(route)
	confirmed := ""     // the acknowledgement that the server is known to have
	var quiet time.Time // since when nothing comes
	for ctx.Err() == nil {
		f.workers.Wait() // acknowledgements that wait for the disk
		// Not every server of a cluster knows yet where a new consumer is.
		if err := f.fetch(cons, r); err != nil && !errors.Is(err, nats.ErrNoResponders) {
			return n, refuse(ErrUnavailable, err)
		}
		if len(r.queue) == 0 {
			if f.lastAck != confirmed {
				// Nothing also comes while the server thinks that we hold
				// MaxAckPending: it works off acknowledgements and pulls side by side.
				if err := f.b.confirmAck(ctx, f.lastAck); err != nil {
					return n, err
				}
				confirmed = f.lastAck
				continue
			}
			if f.syncErr != nil {
				return n, f.syncErr
			}
			if empty, err := f.b.drained(ctx, stage, routeName, &quiet); empty || err != nil {
				return n, err
			}
			continue
		}
		quiet = time.Time{}
		for len(r.queue) > 0 {
			if ctx.Err() != nil {
				return n, ctx.Err()
			}
			f.keepAlive()
			run := r.queue[:min(len(r.queue), f.o.Batch)]
			oneByOne := r.single > 0
			if oneByOne {
				run = run[:1]
			}
			settled, wait := f.run(ctx, r, run)
			n += settled
			if settled > 0 {
				b.markDrained(key, run[settled-1])
			}
			r.queue = r.queue[settled:]
			switch {
			case wait == 0:
			case r.err != nil:
				return n, r.err
			case oneByOne || r.single == 0:
				return n, ErrPutOff
			}
		}
	}
	return n, ctx.Err()
}

// mark is a message up to which a route was drained.
type mark struct {
	seq    uint64
	stored time.Time // positions count from one again when a stream is made anew
	at     time.Time // when
}

// covers reports whether a message of the route was settled by an earlier drain:
// in a cluster it may be handed over again, by a server that has just come back
// or has missed the acknowledgement.
func (m mark) covers(seq uint64, stored time.Time) bool {
	return seq <= m.seq && !stored.After(m.stored)
}

// marksKept is how many marks are kept even when they are old.
const marksKept = 1024

func (b *Broker) drainedTo(key string) mark {
	b.drains.Lock()
	defer b.drains.Unlock()
	return b.drains.marks[key]
}

func (b *Broker) markDrained(key string, it *item) {
	if b.o.Replicas == 1 {
		return
	}
	b.drains.Lock()
	defer b.drains.Unlock()
	now := time.Now()
	b.drains.marks[key] = mark{it.seq, it.stored, now}
	if len(b.drains.marks) > b.drains.prune {
		maps.DeleteFunc(b.drains.marks, func(_ string, m mark) bool { return now.Sub(m.at) > 2*drainIdle })
		b.drains.prune = max(marksKept, 2*len(b.drains.marks))
	}
}

// drained reports whether a route has no messages left, when none have come since
// quiet. That none come does not say so: the server that was asked may have died
// meanwhile, or not have heard of the latest ones; and in a cluster messages leave
// the stage some time after their acknowledgement. It waits a moment before it
// says no, and is ErrUnavailable when it has said so for too long.
func (b *Broker) drained(ctx context.Context, stage Stage, routeName string, quiet *time.Time) (bool, error) {
	last, err := b.last(ctx, stage, routeName)
	if err != nil {
		return false, err
	}
	if last == nil {
		return true, nil
	}
	if quiet.IsZero() {
		*quiet = time.Now()
	}
	if time.Since(*quiet) > b.o.StoreTimeout {
		return false, refuse(ErrUnavailable, fmt.Errorf("message %d is there and does not come", last.Seq))
	}
	if !pause(ctx, drainPause) {
		return false, ctx.Err()
	}
	return false, nil
}

// fetch gets the next messages of the route, none when there are no more.
func (f *flow) fetch(cons jetstream.Consumer, r *route) error {
	batch, err := cons.FetchNoWait(drainBatch)
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		seq := meta.Sequence.Stream
		f.mu.Lock()
		switch {
		case f.held[seq] != nil || f.done.has(seq):
		case f.drained.covers(seq, meta.Timestamp):
			f.sendAck(m.Reply())
		default:
			it := &item{
				seq: seq, reply: m.Reply(), alive: time.Now(), stored: meta.Timestamp,
				redelivered: meta.NumDelivered > 1 || seq <= f.b.recovered[f.stage],
				raw:         &rawMsg{m.Subject(), m.Headers(), m.Data()},
			}
			f.held[seq] = it
			r.queue = append(r.queue, it)
		}
		f.mu.Unlock()
	}
	for i, it := range r.queue {
		it.behind = len(r.queue) - i - 1
	}
	return batch.Error()
}

// drainConsumer makes a consumer for one route. The server refuses a second one
// on a work queue (10100): one that another process has left behind is deleted.
func (b *Broker) drainConsumer(ctx context.Context, stage Stage, routeName string) (jetstream.Consumer, string, error) {
	name, err := b.drainName(ctx, stage)
	if err != nil {
		return nil, "", err
	}
	filter := routeFilter(stage, routeName)
	cfg := jetstream.ConsumerConfig{
		Name: name, FilterSubject: filter, MemoryStorage: true, InactiveThreshold: drainIdle,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 2 * drainBatch,
	}
	for try := 0; ; try++ {
		cons, err := b.createConsumer(ctx, stage, cfg)
		var api *jetstream.APIError
		switch {
		case err == nil:
			return cons, name, nil
		case try > 0 || !errors.As(err, &api) || server.ErrorIdentifier(api.ErrorCode) != server.JSConsumerWQConsumerNotUniqueErr:
			return nil, "", refuse(ErrUnavailable, err)
		}
		if err := b.deleteDrains(ctx, stage, filter); err != nil {
			return nil, "", refuse(ErrUnavailable, err)
		}
	}
}

// deleteDrains deletes the consumers on filter. None is ours: drains of a route
// exclude one another in this process.
func (b *Broker) deleteDrains(ctx context.Context, stage Stage, filter string) error {
	s, err := b.admin.js.Stream(ctx, streamOf(stage))
	if err != nil {
		return err
	}
	l := s.ListConsumers(ctx)
	for info := range l.Info() {
		if info.Config.FilterSubject != filter {
			continue
		}
		if err := s.DeleteConsumer(ctx, info.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	return l.Err()
}

// drainName is `s<slice>-<epoch>-w<n>`; the epoch is taken at the first drain.
func (b *Broker) drainName(ctx context.Context, stage Stage) (string, error) {
	b.drains.Lock()
	defer b.drains.Unlock()
	if b.drains.epoch == 0 {
		epoch, err := b.nextEpoch(ctx, stage)
		if err != nil {
			return "", refuse(ErrUnavailable, err)
		}
		b.drains.epoch = epoch
	}
	b.drains.n++
	return fmt.Sprintf("%s-w%d", consumerName(b.drains.epoch), b.drains.n), nil
}

// Routes returns the routes that have messages in the stage, each with how many.
func (b *Broker) Routes(ctx context.Context, stage Stage) (map[string]int, error) {
	if streamOf(stage) == "" || stage == Dead {
		return nil, fmt.Errorf("broker: routes: %w", refuse(ErrInvalid, fmt.Errorf("no stage %q", stage)))
	}
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: routes: %w", err)
	}
	defer b.calls.Done()
	s, err := b.admin.js.Stream(ctx, streamOf(stage))
	if err != nil {
		return nil, fmt.Errorf("broker: routes: %w", requestRefusal(err))
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(string(stage)+".>"))
	if err != nil {
		return nil, fmt.Errorf("broker: routes: %w", requestRefusal(err))
	}
	routes := make(map[string]int)
	hashed := make(map[string]string) // token to full name
	for subject, n := range info.State.Subjects {
		tok := routeKey(subject)
		name, ok := untoken(tok)
		if !ok {
			if hashed[tok] == "" {
				if hashed[tok], err = routeOf(ctx, s, subject); err != nil {
					return nil, fmt.Errorf("broker: routes: %w", requestRefusal(err))
				}
			}
			name = hashed[tok]
		}
		routes[name] += int(n) //nolint:gosec // a count of messages
	}
	return routes, nil
}

// routeOf reads the full route out of a message, tok being only its hash.
func routeOf(ctx context.Context, s jetstream.Stream, subject string) (string, error) {
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return strings.Clone(routeKey(subject)), nil // handled this moment
	}
	if err != nil {
		return "", err
	}
	return unescape(m.Header.Get(hdrRoute)), nil
}
