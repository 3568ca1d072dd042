package broker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
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
			names, err := b.epochs(ctx, Deliver)
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
		_, epoch, err := b.takeOver(ctx, Mail, 10)
		if err != nil {
			t.Fatal(err)
		}
		if epoch <= last {
			t.Errorf("epoch %d after %d", epoch, last)
		}
		last = epoch
	}
	names, err := b.epochs(ctx, Mail)
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

// An acknowledgement that does not reach the server is made up for long before it
// would give the message again, and the handler does not see that.
func TestAckLost(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const per = 100
	fill(t, b, Deliver, 1, per)
	c := collect(per)
	ctx, cancel := context.WithCancel(testContext(t))
	var f *flow
	f = newFlow(b, Deliver, HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
		f.mu.Lock()
		for _, d := range ds {
			if d.Seq%10 == 5 {
				f.held[d.Seq].reply = "nowhere"
			}
		}
		f.mu.Unlock()
		return c.handle(ctx, ds)
	}), ConsumeOptions{}.withDefaults(), ctx.Done())
	done := make(chan error, 1)
	go func() { done <- f.own(ctx, ctx) }()
	await(t, "all messages", c.all)
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	f.finish()
	c.inOrder(t)
	if c.n != per {
		t.Errorf("%d messages handed over, want %d", c.n, per)
	}
}
