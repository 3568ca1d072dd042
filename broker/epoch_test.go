package broker

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// A connection that breaks in the midst costs neither a message nor the order,
// and what was handled is not handed over again.
func TestReconnect(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const routes, per = 10, 100
	fill(t, b, Deliver, routes, per)
	c := collect(routes * per)
	held := make(chan struct{}) // the first route is in its handler meanwhile
	var mu sync.Mutex
	runs := 0
	stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		if ds[0].Route == routeName(0) {
			select {
			case <-held:
			case <-ctx.Done():
				return nil
			}
			return c.handle(ctx, ds)
		}
		mu.Lock()
		defer mu.Unlock()
		if runs++; runs%20 == 10 && runs < 100 {
			if err := b.work.nc.ForceReconnect(); err != nil {
				t.Error(err)
			}
		}
		if runs == (routes-1)*per/5 {
			close(held)
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{Batch: 5, Workers: 4})
	await(t, "all messages", c.all)
	// Whatever is given again now must be acknowledged without the handler.
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if c.n != routes*per {
		t.Errorf("%d messages handed over, want %d", c.n, routes*per)
	}
}

// A consumer that somebody deletes is replaced, and nothing is lost.
func TestConsumerDeleted(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const per = 200
	fill(t, b, Deliver, 1, per)
	c := collect(per)
	stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		if ds[0].Seq == 51 {
			names, err := b.epochs(ctx, Deliver, Slice{0, 1})
			if err != nil {
				t.Error(err)
			}
			for name := range names {
				if err := b.admin.js.DeleteConsumer(ctx, streamDeliver, name); err != nil {
					t.Error(err)
				}
			}
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{Batch: 10})
	await(t, "all messages", c.all)
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if c.n != per {
		t.Errorf("%d messages handed over, want %d", c.n, per)
	}
}

// Acknowledgements to a consumer that is gone are not asked about at the end.
func TestConsumerDeletedAfterAll(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	o := small(t.TempDir())
	o.Log = zerolog.New(zerolog.SyncWriter(&log))
	b := openTest(t, o)
	ctx := testContext(t)
	fill(t, b, Deliver, 1, 5)
	c := collect(5)
	stop := consume(t, b, Deliver, c.handle, ConsumeOptions{})
	await(t, "all messages", c.all)
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	names, err := b.epochs(ctx, Deliver, Slice{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	for name := range names {
		if err := b.admin.js.DeleteConsumer(ctx, streamDeliver, name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "another consumer", func() bool {
		again, err := b.epochs(ctx, Deliver, Slice{0, 1})
		for name := range names {
			delete(again, name)
		}
		return err == nil && len(again) == 1
	})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	closeTest(t, b)
	if strings.Contains(log.String(), "not confirmed") {
		t.Errorf("log: %s", log.String())
	}
}

// emptied closes the channel when the stream holds nothing any more.
func emptied(t *testing.T, b *Broker, stream string) <-chan struct{} {
	t.Helper()
	ch := make(chan struct{})
	ctx := testContext(t)
	go func() {
		defer close(ch)
		for pause(ctx, 10*time.Millisecond) {
			s, err := b.admin.js.Stream(ctx, stream)
			if err == nil && s.CachedInfo().State.Msgs == 0 {
				return
			}
		}
	}()
	return ch
}

// Epochs rise also when the bucket that counts them is lost.
func TestEpochRises(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	var last uint64
	for i := range 4 {
		if i == 2 {
			if err := b.admin.js.DeleteKeyValue(ctx, leaseBucket); err != nil {
				t.Fatal(err)
			}
		}
		claimed, _, err := b.claim(ctx, Mail, Slice{0, 1}, i > 0)
		if err != nil {
			t.Fatal(err)
		}
		e, err := b.beginEpoch(ctx, Mail, Slice{0, 1}, claimed, 10)
		if err != nil {
			t.Fatal(err)
		}
		if e.number <= last {
			t.Errorf("epoch %d after %d", e.number, last)
		}
		last = e.number
	}
	names, err := b.epochs(ctx, Mail, Slice{0, 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 1 || names[consumerName(last)] != last {
		t.Errorf("consumers %v", names)
	}
}

// A bucket keeps what is put into it, and is there again after a restart.
func TestKV(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	cfg := jetstream.KeyValueConfig{Bucket: "account", Storage: jetstream.FileStorage}
	for i, want := range []string{"", "1"} {
		b := openTest(t, o)
		ctx := testContext(t)
		kv, err := b.KV(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if e, err := kv.Get(ctx, "k"); err == nil {
			got = string(e.Value())
		}
		if got != want {
			t.Errorf("start %d: %q, want %q", i, got, want)
		}
		if _, err := kv.PutString(ctx, "k", "1"); err != nil {
			t.Fatal(err)
		}
		closeTest(t, b)
	}
}

// msg is a delivery as the library gives it, as far as accept looks at it.
type msg struct {
	jetstream.Msg
	seq uint64
}

func (m msg) Subject() string      { return subjectOf(Deliver, "r", "r") }
func (m msg) Reply() string        { return "ack" }
func (m msg) Headers() nats.Header { return nil }
func (m msg) Data() []byte         { return make([]byte, 10<<10) }

// However many messages are held, their text takes no more memory than allowed.
func TestHeldBytes(t *testing.T) {
	t.Parallel()
	b := &Broker{counts: map[Stage]*counters{Deliver: new(counters)}}
	f := newFlow(b, Deliver, nil, ConsumeOptions{HeldBytes: 100 << 10}, nil) // no workers
	for seq := range uint64(1000) {
		f.accept(context.Background(), msg{seq: seq}, &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: seq}})
	}
	if len(f.held) != 1000 || f.bytes > 112<<10 {
		t.Errorf("%d messages held with %d bytes", len(f.held), f.bytes)
	}
	kept := 0
	for _, it := range f.held {
		if it.raw != nil {
			kept++
		}
	}
	if kept > 11 {
		t.Errorf("%d messages are in memory", kept)
	}
}

// A data folder of the version before: claims that ran out with their bucket,
// and were a name only.
func TestOldLeases(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	b := openTest(t, o)
	ctx := testContext(t)
	if err := b.admin.js.DeleteKeyValue(ctx, leaseBucket); err != nil {
		t.Fatal(err)
	}
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{Bucket: leaseBucket, TTL: 10 * time.Second, LimitMarkerTTL: 10 * time.Second, Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, "slice.dlv.0", "OLDNODE"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.work.js.CreateConsumer(ctx, streamDeliver, jetstream.ConsumerConfig{Name: "s0-77", Durable: "s0-77", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	fill(t, b, Deliver, 2, 5)
	closeTest(t, b)

	b = openTest(t, o)
	c := collect(10)
	stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		for _, d := range ds {
			if !d.Redelivered {
				t.Errorf("%s may have been handed over before", d.ID)
			}
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{})
	await(t, "all messages", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	s, err := b.admin.js.Stream(testContext(t), "KV_"+leaseBucket)
	if err != nil {
		t.Fatal(err)
	}
	if age := s.CachedInfo().Config.MaxAge; age != 0 {
		t.Errorf("claims run out after %v", age)
	}
}

// One process with its own server may have several slices, and another number
// of them at each start.
func TestSlicesAlone(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	for _, n := range []int{4, 1, 64, 3} {
		o.Slices = n
		b := openTest(t, o)
		fill(t, b, Deliver, 40, 2)
		h := newOnce()
		var mu sync.Mutex
		owned := make(map[Slice]bool)
		stop := consume(t, b, Deliver, h.handle, ConsumeOptions{Own: func(ctx, _ context.Context, s Slice, ready func()) error {
			mu.Lock()
			owned[s] = true
			mu.Unlock()
			ready()
			<-ctx.Done()
			return nil
		}})
		eventually(t, "all messages", func() bool { got, _ := h.count(); return got == 80 })
		eventually(t, "all slices", func() bool { return b.Stats().Stages[Deliver].Owned == n })
		if st := b.Stats().Stages[Deliver]; st.Slices != n || st.Losses > 0 {
			t.Errorf("%d slices: %+v", n, st)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		h.inOrder(t)
		for s := range owned {
			if s.Of != n {
				t.Errorf("slice %v of %d", s, n)
			}
		}
		closeTest(t, b)
	}
	o.Slices = Partitions + 1
	if b, err := Open(testContext(t), o); err == nil {
		closeTest(t, b)
		t.Error("more slices than partitions")
	}
}

// What comes too late changes nothing: not the store, and not the source.
func TestEntitled(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	b.lease.forever = false // as with URLs
	ctx := testContext(t)
	over, cancel := context.WithCancel(ctx)
	cancel()
	gone := &right{lease: ctx}
	gone.gone.Store(true)
	for _, c := range []struct {
		why   string
		right *right
		valid bool
		err   error
	}{
		{"held", &right{lease: ctx}, true, nil},
		{"without a slice", nil, true, nil},
		{"slice lost", gone, true, errNotOurs},
		{"lease run out", &right{lease: ctx}, false, errNotOurs},
		{"lease run out, without a slice", nil, false, errNotOurs},
		// The process was stopped, and its first heartbeat afterwards was faster.
		{"another lease", &right{lease: over}, true, errNotOurs},
	} {
		if b.lease.revoke(); c.valid {
			b.lease.renew(time.Now())
		}
		f := newFlow(b, Ingest, nil, ConsumeOptions{}.withDefaults(), nil)
		f.right.Store(c.right)
		if err := f.entitled(); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.why, err, c.err)
		}
		before := messages(t, b, streamDeliver)
		d := &Delivery{Stage: Ingest, flow: f}
		if err := b.store(ctx, []Message{{Stage: Deliver, Route: "r"}}, d, 0); !errors.Is(err, c.err) {
			t.Errorf("%s: stored: %v, want %v", c.why, err, c.err)
		}
		stored := messages(t, b, streamDeliver) > before
		if stored != (c.err == nil) {
			t.Errorf("%s: stored: %v", c.why, stored)
		}
		for _, d := range []Disposition{Ack(), Term("bad"), Move()} {
			it := &item{seq: 1, reply: "nowhere", del: &Delivery{Stage: Ingest, flow: f}, decided: &d}
			if err := f.do(ctx, it); !errors.Is(err, c.err) {
				t.Errorf("%s: %v done: %v, want %v", c.why, d.kind, err, c.err)
			}
			if f.done.has(1) != (c.err == nil) {
				t.Errorf("%s: %v acknowledged: %v", c.why, d.kind, f.done.has(1))
			}
		}
	}
	if n := b.Stats().Stages[Dead].Stored; n != 1 {
		t.Errorf("%d dead messages, want that of who was entitled, and what it did again as a duplicate", n)
	}
}

// An acknowledgement that does not reach the server is made up for long before it
// would give the message again, and the handler does not see that.
func TestAckLost(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const per = 100
	fill(t, b, Deliver, 1, per)
	c := collect(per)
	stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		f := ds[0].flow
		f.mu.Lock()
		for _, d := range ds {
			if d.Seq%10 == 5 {
				f.held[d.Seq].reply = "nowhere"
			}
		}
		f.mu.Unlock()
		return c.handle(ctx, ds)
	}, ConsumeOptions{})
	await(t, "all messages", c.all)
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	if err := stop(); err != nil {
		t.Error(err)
	}
	c.inOrder(t)
	if c.n != per {
		t.Errorf("%d messages handed over, want %d", c.n, per)
	}
}

// TestUnanswered: a consumer that says nothing for longer than an election takes is
// given up, unless messages come all the same.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	var w watch
	at := time.Now()
	silence := errors.New("no answer")
	for _, step := range []struct {
		after time.Duration
		last  uint64
		over  bool
	}{{0, 5, false}, {leaderless, 5, false}, {leaderless + 1, 6, false}, {2*leaderless + 1, 6, false}, {2*leaderless + 2, 6, true}} {
		err := w.unanswered(step.last, at.Add(step.after), silence)
		if (err != nil) != step.over || step.over && (!errors.Is(err, errNewEpoch) || !errors.Is(err, silence)) {
			t.Errorf("after %v: %v", step.after, err)
		}
	}
}
