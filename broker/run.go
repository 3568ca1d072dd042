package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// maxRun bounds the bytes of the messages that a handler gets at once; a single
// message may be larger.
const maxRun = 16 << 20

// run works on the first messages of a route. It returns how many are settled
// and how long the route rests before the next.
func (f *flow) run(ctx context.Context, r *route, items []*item) (settled int, wait time.Duration) {
	r.again, r.err = r.err != nil, nil
	n := 0
	for n < len(items) && items[n].decided != nil {
		n++
	}
	if n > 0 {
		return f.carryOut(ctx, r, items[:n])
	}
	if err := f.trust(ctx, r, items); err != nil {
		f.log.WithLevel(r.level(err)).Err(err).Msg("messages cannot be looked for now")
		return 0, r.failed(err)
	}
	n, err := f.load(ctx, items)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && f.gone(items[0]):
		// Somebody has emptied the stage by hand.
		f.log.Warn().Err(err).Msg("message is gone")
		if err := f.settle(ctx, items[0], false); err != nil {
			return 0, r.failed(err)
		}
		return 1, 0
	case errors.Is(err, errSettled):
		if err := f.settle(ctx, items[0], false); err != nil {
			return 0, r.failed(err)
		}
		return 1, 0
	case errors.Is(err, errBodyMissing) && f.gone(items[0]), errors.Is(err, errUnreadable):
		d := Term("unreadable: " + err.Error())
		items[0].decided = &d
		return f.carryOut(ctx, r, items[:1])
	case err != nil:
		f.log.WithLevel(r.level(err)).Err(err).Msg("message cannot be read back now")
		return 0, r.failed(err)
	}
	items = items[:n]
	ds := make([]*Delivery, n)
	backlog := f.backlog(r)
	for i, it := range items {
		it.attempts++
		it.del.Attempt, it.del.Behind, it.del.Backlog = it.attempts, it.behind, backlog
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

// backlog is Delivery.Backlog for a route.
func (f *flow) backlog(r *route) func() int {
	if r.key == "" {
		return nil // of a Drain, which nothing is added to
	}
	return func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(r.queue)
	}
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
			f.log.WithLevel(r.level(err)).Err(err).Uint64("seq", it.seq).Msg("message stays, the store does not take what follows from it")
			f.dropBodies(items[i:])
			return i, r.failed(err)
		}
		r.single = max(r.single-1, 0)
	}
	r.fails = 0
	return len(items), 0
}

// levelOf is quiet about what another process does now.
func levelOf(err error) zerolog.Level {
	if errors.Is(err, errNotOurs) {
		return zerolog.DebugLevel
	}
	return zerolog.WarnLevel
}

// level is levelOf for a failure of the route, and quiet about one that goes on.
func (r *route) level(err error) zerolog.Level {
	if r.again {
		return zerolog.DebugLevel
	}
	return levelOf(err)
}

// storeRest is the longest that a route rests because of the store. Nobody tells
// it when a cluster has a leader again, and all wait for that.
const storeRest = 2 * time.Second

// failed counts a failure of the route and returns how long it rests. err is why the
// store made it fail, nil when it was the handler.
func (r *route) failed(err error) time.Duration {
	r.fails++
	r.err = err
	if err != nil {
		return min(soon(r.fails), storeRest)
	}
	return soon(r.fails)
}

// do carries out one decision that is not Retry.
func (f *flow) do(ctx context.Context, it *item) error {
	d := *it.decided
	passed := false
	if err := f.entitled(); err != nil {
		return err
	}
	if d.kind != kindAck {
		if err := f.b.disk.healthy(); err != nil {
			return err
		}
	}
	if d.kind == kindMove {
		err := f.b.store(ctx, d.msgs, it.del, f.b.o.DiskReserve/onTheWay)
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
		if err := f.entitled(); err != nil { // a Move may have taken its time
			return err
		}
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
	it.due = due{record: f.record(it), disk: f.b.disk != nil && (stored || it.decided.record != nil)}
	if !passed {
		it.due.body = it.del.ref
	}
	waits := it.due.record != nil || it.due.disk
	switch {
	case f.purges:
		f.b.unfill(it)
		return nil
	case waits && it.due.body == nil:
		f.b.unfill(it)
		f.settleLater(ctx, it)
		return nil
	case waits:
		if err := f.commit(ctx, []*item{it}); err != nil {
			return err
		}
	}
	if err := f.settle(ctx, it, it.due.body != nil); err != nil {
		return err
	}
	f.b.unfill(it)
	f.b.release(ctx, it.due.body)
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

// errSettled means that a message was acknowledged by an earlier owner.
var errSettled = errors.New("message is settled")

// trust asks the leader where the route of items begins, once for all of them:
// what comes from there on is still there, because a route is settled in order.
// What comes before is asked about one by one.
func (f *flow) trust(ctx context.Context, r *route, items []*item) error {
	if !items[0].doubt || r.key == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	filter := string(f.stage) + "." + strconv.Itoa(partition(r.key)) + "." + r.key + ".*"
	m, err := f.b.get(ctx, streamOf(f.stage), server.JSApiMsgGetRequest{Seq: items[0].seq, NextFor: filter})
	if err != nil {
		return err
	}
	for _, it := range items {
		if m != nil && it.seq >= m.seq {
			it.doubt = false
		}
	}
	return nil
}

// stillThere returns errSettled when the leader of a stream has removed a message
// that a server of the cluster has handed over again. Only a leader that has a
// later message is believed: one that has none may not have heard of it.
func (b *Broker) stillThere(ctx context.Context, stage Stage, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, directTimeout)
	defer cancel()
	m, err := b.get(ctx, streamOf(stage), server.JSApiMsgGetRequest{Seq: seq, NextFor: string(stage) + ".>"})
	switch {
	case err != nil:
		return fmt.Errorf("look for %d: %w", seq, err)
	case m != nil && m.seq > seq:
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
			if raw, err = f.b.readBack(ctx, streamOf(f.stage), it.seq); err != nil {
				return fmt.Errorf("read back %d: %w", it.seq, err)
			}
		}
		del, err := decode(f.stage, raw.header, raw.data)
		del.flow = f
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
