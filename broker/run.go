package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// maxRun bounds the bytes of the messages that a handler gets at once; a single
// message may be larger.
const maxRun = 16 << 20

// run works on the first messages of a route. It returns how many are settled
// and how long the route rests before the next.
func (f *flow) run(ctx context.Context, r *route, items []*item) (settled int, wait time.Duration) {
	r.err = nil
	n := 0
	for n < len(items) && items[n].decided != nil {
		n++
	}
	if n > 0 {
		return f.carryOut(ctx, r, items[:n])
	}
	n, err := f.load(ctx, items)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && f.gone(items[0]):
		// Somebody has emptied the stage by hand.
		f.log.Warn().Err(err).Msg("message is gone")
		_ = f.settle(ctx, items[0], false) // fails only when it waits
		return 1, 0
	case errors.Is(err, errSettled):
		_ = f.settle(ctx, items[0], false) // as above
		return 1, 0
	case errors.Is(err, errBodyMissing) && f.gone(items[0]), errors.Is(err, errUnreadable):
		d := Term("unreadable: " + err.Error())
		items[0].decided = &d
		return f.carryOut(ctx, r, items[:1])
	case err != nil:
		f.log.Warn().Err(err).Msg("message cannot be read back now")
		return 0, r.failed(err)
	}
	items = items[:n]
	ds := make([]*Delivery, n)
	for i, it := range items {
		it.attempts++
		it.del.Attempt, it.del.Behind = it.attempts, it.behind
		ds[i] = it.del
	}
	for i, d := range f.handle(ctx, r, ds) {
		if i >= n {
			break
		}
		items[i].note(d.cause)
		items[i].decided = &d
		if d.kind == kindRetry {
			break
		}
	}
	return f.carryOut(ctx, r, items)
}

// disbelief is how long a cluster has to say that something is not there before
// it counts as gone: longer than a server that is cut off goes on believing that
// it leads.
const disbelief = 30 * time.Second

// gone is called each time the store does not find it or its body, and reports
// whether that is to be believed.
func (f *flow) gone(it *item) bool {
	if f.b.o.Replicas == 1 {
		return true
	}
	if it.missed.IsZero() {
		it.missed = time.Now()
	}
	return time.Since(it.missed) > disbelief
}

// carryOut does what was decided about items, in order, and stops at the first
// that is to be given again or that the store does not take. What was decided
// about the rest is kept for the next time: its effects have happened.
func (f *flow) carryOut(ctx context.Context, r *route, items []*item) (settled int, wait time.Duration) {
	for i, it := range items {
		if i > 0 {
			r.fails = 0
		}
		if it.decided == nil || it.decided.kind == kindRetry {
			wait = r.failed(nil)
			if it.decided != nil && it.decided.after > 0 {
				wait = it.decided.after
			}
			it.decided = nil
			f.c.retried.Add(1)
			f.dropBodies(items[i:])
			return i, wait
		}
		if err := f.do(ctx, it); err != nil {
			f.log.Warn().Err(err).Uint64("seq", it.seq).Msg("message stays, the store does not take what follows from it")
			f.dropBodies(items[i:])
			return i, r.failed(err)
		}
		r.single = max(r.single-1, 0)
	}
	r.fails = 0
	return len(items), 0
}

// failed counts a failure of the route and returns how long it rests.
func (r *route) failed(err error) time.Duration {
	r.fails++
	r.err = err
	return soon(r.fails)
}

// do carries out one decision that is not Retry.
func (f *flow) do(ctx context.Context, it *item) error {
	d := *it.decided
	passed := false
	if d.kind != kindAck {
		if err := f.b.disk.healthy(); err != nil {
			return err
		}
	}
	if d.kind == kindMove {
		// Moving on needs little, and frees the source.
		err := f.b.store(ctx, d.msgs, it.del, f.b.o.DiskReserve/4)
		switch {
		case err == nil:
			passed = it.del.ref != nil && len(d.msgs) == 1 && d.msgs[0].BodyOf == it.del
		case permanent(err):
			d = Term("invalid: " + err.Error())
			it.decided = &d
		default:
			return err
		}
	}
	if d.kind == kindTerm {
		if err := f.b.bury(ctx, it, d); err != nil {
			return err
		}
		passed = true // the dead message keeps the reference
	}
	if err := f.letGo(ctx, it, d.kind != kindAck, passed); err != nil {
		return err
	}
	switch d.kind {
	case kindMove:
		f.c.moved.Add(1)
	case kindTerm:
		f.c.dead.Add(1)
	}
	return nil
}

// letGo acknowledges it. stored: what follows from it was stored, and has to be
// on the disk before, see Durability; passed: the reference to its body, if it
// has one, went there.
func (f *flow) letGo(ctx context.Context, it *item, stored, passed bool) error {
	ref := it.del.ref
	release := ref != nil && !passed
	switch {
	case !stored || f.b.disk == nil:
	case release:
		if err := f.b.onDisk(ctx); err != nil {
			return err
		}
	default:
		f.b.unfill(it)
		f.settleSynced(it)
		return nil
	}
	if err := f.settle(ctx, it, release); err != nil {
		return err
	}
	f.b.unfill(it)
	if release {
		f.b.release(ctx, ref)
	}
	return nil
}

// handle calls the handler. A panic is a bug of ours, and a message that causes
// one at each start must not keep the process down: the route's messages are
// then given one by one, and the one that does it again is given up.
func (f *flow) handle(ctx context.Context, r *route, ds []*Delivery) (out []Disposition) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		f.log.Error().Interface("panic", v).Uint64("seq", ds[0].Seq).Int("messages", len(ds)).Bytes("stack", debug.Stack()).Msg("handler panicked")
		if len(ds) > 1 {
			r.single = len(ds)
			out = nil
			return
		}
		out = []Disposition{Term(fmt.Sprintf("panic: %v", v))}
	}()
	f.c.handled.Add(uint64(len(ds)))
	return f.h.Handle(ctx, ds)
}

// errUnreadable means that a message is not one that Store has written.
var errUnreadable = errors.New("not a message of ours")

// load makes the deliveries of items: n of them, as many as may be handed over
// together. n is zero only with an error, which is about the first.
func (f *flow) load(ctx context.Context, items []*item) (n int, err error) {
	var bytes int64
	for i, it := range items {
		if it.decided != nil || i > 0 && bytes > maxRun {
			return i, nil
		}
		if err := f.loadOne(ctx, it, i == 0); err != nil {
			if i == 0 {
				return 0, err
			}
			return i, nil
		}
		bytes += it.del.size()
	}
	return len(items), nil
}

// errSettled means that a message was acknowledged by an earlier owner.
var errSettled = errors.New("message is settled")

// stillThere returns errSettled when the leader of a stream has removed a message
// that a server of the cluster has handed over again. Only a leader that has a
// later message is believed: one that has none may not have heard of it.
func (b *Broker) stillThere(ctx context.Context, stage Stage, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	m, err := b.askLeader(ctx, streamOf(stage), server.JSApiMsgGetRequest{Seq: seq, NextFor: string(stage) + ".>"})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("look for %d: %w", seq, err)
	case m.Sequence > seq:
		return errSettled
	}
	return nil
}

// errNoRoom means that a body has to wait for others to be done with.
var errNoRoom = errors.New("no room for the body")

func (f *flow) loadOne(ctx context.Context, it *item, wait bool) error {
	if it.doubt {
		if err := f.b.stillThere(ctx, f.stage, it.seq); err != nil {
			return err
		}
		it.doubt = false
	}
	if it.del == nil {
		raw := it.raw
		if raw == nil {
			var err error
			if raw, err = f.b.read(ctx, streamOf(f.stage), it.seq); err != nil {
				return fmt.Errorf("read back %d: %w", it.seq, err)
			}
		}
		del, err := decode(f.stage, raw.header, raw.data)
		del.Seq, del.Stored, del.Redelivered = it.seq, it.stored, it.redelivered
		it.del, it.inline = del, raw.data
		if err != nil {
			it.broken = fmt.Errorf("%w: %s: %w", errUnreadable, raw.subject, err)
		}
	}
	if it.broken != nil {
		return it.broken
	}
	err := f.b.fill(ctx, it, wait)
	if err == nil {
		it.missed = time.Time{}
	}
	return err
}

// fill reads the body of it back when it is stored apart.
func (b *Broker) fill(ctx context.Context, it *item, wait bool) error {
	d := it.del
	if d.ref == nil || it.room > 0 {
		return nil
	}
	room := min(max(d.ref.size, 1), maxBodies)
	if !b.inflight.TryAcquire(room) {
		// Who holds some while it waits for more might wait for itself.
		if !wait {
			return errNoRoom
		}
		if err := b.inflight.Acquire(ctx, room); err != nil {
			return fmt.Errorf("room for the body: %w", err)
		}
	}
	data, err := b.readBody(ctx, d.ref)
	if err != nil {
		b.inflight.Release(room)
		return err
	}
	d.Body, it.room = data, room
	return nil
}

// dropBodies gives the memory back of bodies whose messages are undecided.
func (f *flow) dropBodies(items []*item) {
	for _, it := range items {
		if it.decided == nil {
			f.b.unfill(it)
		}
	}
}

// unfill is the reverse of fill.
func (b *Broker) unfill(it *item) {
	if it.room > 0 {
		it.del.Body = nil
		b.inflight.Release(it.room)
		it.room = 0
	}
}
