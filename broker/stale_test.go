package broker

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

// A server that is cut off says that what was stored meanwhile is not there. That
// is not believed: the message and its body are read when the server has heard
// of them.
func TestStaleServer(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 3, natstest.Options{})
	o := clusterOptions(c, zerolog.Nop())
	o.StoreTimeout = time.Second
	openTest(t, o) // makes the streams
	alone := 0
	for alone == c.Leader(streamIngest) || alone == c.Leader(streamBody) {
		alone++
	}
	url := o.URLs[alone]
	o.URLs = slices.Delete(slices.Clone(o.URLs), alone, alone+1)
	b := openTest(t, o)
	o.URLs = []string{url}
	stale, err := dial(o, nil, "stale")
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	there := make(map[string]jetstream.Stream)
	for name := range b.streams {
		if there[name], err = stale.js.Stream(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	c.Isolate(alone)
	text := pattern(maxInline + 1)
	for b.Store(ctx, Message{Stage: Ingest, Route: "r", ID: "1", Body: text}) != nil {
		if !pause(ctx, soonest) {
			t.Fatal("nothing can be stored")
		}
	}
	raw, err := b.readBack(ctx, streamIngest, 1)
	if err != nil {
		t.Fatal(err)
	}
	b.admin.close()
	b.admin, b.streams = stale, there
	if _, err := b.readBack(ctx, streamIngest, 1); err == nil || errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("read from a server that does not know: %v", err)
	}

	var got []byte
	f := newFlow(b, Ingest, HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		got = bytes.Clone(ds[0].Body)
		return nil
	}), ConsumeOptions{}.withDefaults(), nil)
	unread, bodiless := &item{seq: 1}, &item{seq: 1, raw: raw}
	for _, it := range []*item{unread, bodiless, unread, bodiless} {
		if n, wait := f.run(ctx, new(route), []*item{it}); n != 0 || wait == 0 || it.decided != nil {
			t.Fatalf("%d settled, decided %+v", n, it.decided)
		}
	}
	c.Heal()
	for got == nil && pause(ctx, soonest) {
		f.run(ctx, new(route), []*item{unread})
	}
	if !bytes.Equal(got, text) {
		t.Errorf("a body of %d bytes, want %d", len(got), len(text))
	}
}

// What a server hands over again that the leader knows to be settled is not given
// to the handler; what nobody knows to be settled is.
func TestSettledAlready(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	fill(t, b, Ingest, 1, 4)
	var got []string
	f := newFlow(b, Ingest, HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		got = append(got, ds[0].ID)
		return nil
	}), ConsumeOptions{}.withDefaults(), nil)
	var items []*item
	for seq := range uint64(4) {
		raw, err := b.readBack(ctx, streamIngest, seq+1)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, &item{seq: seq + 1, raw: raw, doubt: true})
	}
	for _, seq := range []uint64{2, 4} { // after the last there is none that proves it
		if err := b.streams[streamIngest].DeleteMsg(ctx, seq); err != nil {
			t.Fatal(err)
		}
	}
	for i, it := range items {
		if n, _ := f.run(ctx, new(route), []*item{it}); n != i%2 && i != 3 {
			t.Errorf("message %d: %d settled", i, n)
		}
	}
	r := routeName(0)
	if want := []string{r + "-0", r + "-2", r + "-3"}; !slices.Equal(got, want) {
		t.Errorf("handed over %v, want %v", got, want)
	}
}

// One answer of the leader is enough for what follows on the same route.
func TestTrust(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	fill(t, b, Ingest, 1, 4)
	for _, removed := range []uint64{1, 2} {
		if err := b.streams[streamIngest].DeleteMsg(ctx, removed); err != nil {
			t.Fatal(err)
		}
	}
	f := newFlow(b, Ingest, nil, ConsumeOptions{}.withDefaults(), nil)
	r := &route{key: token(routeName(0))}
	for from := range uint64(4) {
		var items []*item
		for seq := from + 1; seq <= 4; seq++ {
			items = append(items, &item{seq: seq, doubt: true})
		}
		if err := f.trust(ctx, r, items); err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			if want := it.seq < 3; it.doubt != want {
				t.Errorf("from %d: doubt about %d is %v", from+1, it.seq, it.doubt)
			}
		}
	}
	// What the leader does not have it may not have heard of.
	late := []*item{{seq: 5, doubt: true}}
	if err := f.trust(ctx, r, late); err != nil || !late[0].doubt {
		t.Errorf("doubt about a message that the leader does not have is %v, %v", late[0].doubt, err)
	}
}

// Only what comes early in an epoch of a cluster is doubted.
func TestDoubt(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		replicas int
		age      time.Duration
		want     bool
	}{{1, 0, false}, {3, 0, true}, {3, 2 * catchUp, false}} {
		b := &Broker{o: Options{Replicas: tc.replicas}, counts: map[Stage]*counters{Deliver: new(counters)}}
		f := newFlow(b, Deliver, nil, ConsumeOptions{}, nil) // no workers
		f.since.Store(time.Now().Add(-tc.age).UnixNano())
		f.accept(context.Background(), msg{seq: 1}, &jetstream.MsgMetadata{Sequence: jetstream.SequencePair{Stream: 1}})
		if got := f.held[1].doubt; got != tc.want {
			t.Errorf("%+v: doubt is %v", tc, got)
		}
	}
}
