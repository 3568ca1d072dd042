package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

func TestDrain(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const routes, per = 4, 300 // more than one fetch
	fill(t, b, Park, routes, per)
	got, err := b.Routes(ctx, Park)
	if err != nil {
		t.Fatal(err)
	}
	for i := range routes {
		if got[routeName(i)] != per {
			t.Errorf("routes %v", got)
		}
	}
	c := collect(per)
	n, err := b.Drain(ctx, Park, routeName(1), HandlerFunc(c.handle))
	if n != per || err != nil {
		t.Fatalf("drained %d, %v", n, err)
	}
	c.inOrder(t)
	if len(c.got) != 1 {
		t.Errorf("messages of other routes came along: %v", c.got)
	}
	if n := messages(t, b, streamPark); n != (routes-1)*per {
		t.Errorf("%d messages left", n)
	}
	if n, err := b.Drain(ctx, Park, routeName(1), HandlerFunc(c.handle)); n != 0 || err != nil {
		t.Errorf("an empty route: %d, %v", n, err)
	}
}

// Many drains at once, two of each route: they neither overlap nor disturb one another.
func TestDrainsAtOnce(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const routes, per = 6, 50
	fill(t, b, Park, routes, per)
	c := collect(routes * per)
	var wg sync.WaitGroup
	for i := range 2 * routes {
		wg.Go(func() {
			if _, err := b.Drain(ctx, Park, routeName(i%routes), HandlerFunc(c.handle)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	await(t, "all messages", c.all)
	c.inOrder(t)
}

func TestDrainPutOff(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	fill(t, b, Park, 1, 10)
	c := collect(7)
	h := HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		var out []Disposition
		for _, d := range ds {
			if strings.HasSuffix(d.ID, "-3") && len(c.got[d.Route]) == 3 && d.Attempt == 1 && !d.Redelivered && c.want == 7 {
				c.want = 10
				return append(out, Retry(0))
			}
			c.take(d)
			out = append(out, Ack())
		}
		return out
	})
	n, err := b.Drain(ctx, Park, routeName(0), h)
	if n != 3 || !errors.Is(err, ErrPutOff) {
		t.Fatalf("drained %d, %v; want 3 and ErrPutOff", n, err)
	}
	n, err = b.Drain(ctx, Park, routeName(0), h)
	if n != 7 || err != nil {
		t.Fatalf("drained %d, %v; want the other 7", n, err)
	}
	c.inOrder(t)
}

// A panic in a drain costs the message that caused it, and a Retry after it
// ends the drain as ever.
func TestDrainPanic(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Park, 1, 10)
	n, err := b.Drain(testContext(t), Park, routeName(0), HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		for _, d := range ds {
			if strings.HasSuffix(d.ID, "-3") {
				panic("cannot be")
			}
		}
		if strings.HasSuffix(ds[0].ID, "-5") {
			return []Disposition{Retry(0)}
		}
		out := make([]Disposition, len(ds))
		for i := range out {
			out[i] = Ack()
		}
		return out
	}))
	if n != 5 || !errors.Is(err, ErrPutOff) {
		t.Errorf("drained %d, %v; want 5 and ErrPutOff", n, err)
	}
	if st := b.Stats().Stages[Park]; st.Dead != 1 || st.Messages != 5 {
		t.Errorf("stats %+v", st)
	}
}

// The consumer that a dead process left on the route does not stand in the way.
func TestDrainAfterCrash(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	fill(t, b, Park, 1, 5)
	_, err := b.work.js.CreateConsumer(ctx, streamPark, jetstream.ConsumerConfig{
		Name: "s0-0-w1", FilterSubject: routeFilter(Park, routeName(0)), MemoryStorage: true,
		AckPolicy: jetstream.AckExplicitPolicy, InactiveThreshold: drainIdle,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := collect(5)
	if n, err := b.Drain(ctx, Park, routeName(0), HandlerFunc(c.handle)); n != 5 || err != nil {
		t.Fatalf("drained %d, %v", n, err)
	}
	c.inOrder(t)
}

// Names of routes come back whole, also those that the subject cannot hold.
func TestRoutesNames(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	want := map[string]int{"a.b > *": 1, "": 2, strings.Repeat("long.", 60): 3, "ü\n": 1}
	for r, n := range want {
		for i := range n {
			if err := b.Store(ctx, Message{Stage: Park, Route: r, Recipient: fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := b.Routes(ctx, Park)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("routes %v, want %v", got, want)
	}
}

// unheard is a JetStream whose consumers get no answer to their first requests
// for messages, as when the server that has them dies.
type unheard struct {
	jetstream.JetStream
	times int
}

func (u *unheard) CreateConsumer(ctx context.Context, stream string, cfg jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	c, err := u.JetStream.CreateConsumer(ctx, stream, cfg)
	return unheardConsumer{c, u}, err
}

type unheardConsumer struct {
	jetstream.Consumer
	u *unheard
}

func (c unheardConsumer) FetchNoWait(n int) (jetstream.MessageBatch, error) {
	if c.u.times--; c.u.times >= 0 {
		return nothing{}, nil
	}
	return c.Consumer.FetchNoWait(n)
}

// nothing is what the library makes of no answer.
type nothing struct{}

func (nothing) Error() error { return nil }

func (nothing) Messages() <-chan jetstream.Msg {
	ch := make(chan jetstream.Msg)
	close(ch)
	return ch
}

// That no message comes does not mean that there is none.
func TestDrainUnanswered(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	o.StoreTimeout = 500 * time.Millisecond
	b := openTest(t, o)
	fill(t, b, Park, 1, 10)
	js := b.work.js
	b.work.js = &unheard{js, 3}
	c := collect(10)
	if n, err := b.Drain(testContext(t), Park, routeName(0), HandlerFunc(c.handle)); n != 10 || err != nil {
		t.Fatalf("drained %d, %v; want all 10", n, err)
	}
	c.inOrder(t)
	fill(t, b, Park, 2, 1)
	b.work.js = &unheard{js, 1 << 30}
	if n, err := b.Drain(testContext(t), Park, routeName(1), HandlerFunc(c.handle)); n != 0 || !errors.Is(err, ErrUnavailable) {
		t.Errorf("drained %d, %v; want ErrUnavailable", n, err)
	}
}

// What an earlier drain has settled does not come again, although a server of the
// cluster hands it over again; messages of a stream made anew do.
func TestDrainedBefore(t *testing.T) {
	t.Parallel()
	b := openTest(t, clusterOptions(natstest.New(t, 3, natstest.Options{}), zerolog.Nop()))
	ctx := testContext(t)
	key := token(routeName(0))
	fill(t, b, Park, 1, 5)
	m, err := b.streams[streamPark].GetMsg(ctx, 3)
	if err != nil {
		t.Fatal(err)
	}
	b.markDrained(key, &item{seq: 3, stored: m.Time})
	var got []uint64
	h := HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		var out []Disposition
		for _, d := range ds {
			got = append(got, d.Seq)
			out = append(out, Ack())
		}
		return out
	})
	if n, err := b.Drain(ctx, Park, routeName(0), h); n != 2 || err != nil {
		t.Errorf("drained %d, %v; want 2", n, err)
	}
	if m := b.drainedTo(key); m.seq != 5 {
		t.Errorf("drained to %d, want 5", m.seq)
	}
	b.markDrained(key, &item{seq: 100, stored: time.Now()})
	if err := b.Store(ctx, Message{Stage: Park, Route: routeName(0), ID: "new"}); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Drain(ctx, Park, routeName(0), h); n != 1 || err != nil {
		t.Errorf("drained %d, %v; want 1", n, err)
	}
	if want := []uint64{4, 5, 6}; !slices.Equal(got, want) {
		t.Errorf("handed over %v, want %v", got, want)
	}
}

// Marks of routes that nobody drains any more are forgotten.
func TestMarksForgotten(t *testing.T) {
	t.Parallel()
	b := &Broker{o: Options{Replicas: 3}}
	b.drains.marks = make(map[string]mark)
	for i := range 3 * marksKept {
		b.markDrained(fmt.Sprint(i), &item{seq: 1})
		if i < marksKept { // these are old
			m := b.drains.marks[fmt.Sprint(i)]
			m.at = m.at.Add(-time.Hour)
			b.drains.marks[fmt.Sprint(i)] = m
		}
	}
	if n := len(b.drains.marks); n != 2*marksKept {
		t.Errorf("%d marks, want %d", n, 2*marksKept)
	}
}
