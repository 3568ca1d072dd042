package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Order holds per route although many workers run and one message in ten is
// put off once.
func TestOrderUnderRetries(t *testing.T) {
	t.Parallel()
	const routes, per = 20, 60
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Deliver, routes, per)
	c := collect(routes * per)
	var mu sync.Mutex
	tried := make(map[string]bool)
	stop := consume(t, b, Deliver, func(_ context.Context, ds []*Delivery) []Disposition {
		var out []Disposition
		for _, d := range ds {
			mu.Lock()
			first := !tried[d.ID]
			tried[d.ID] = true
			mu.Unlock()
			if d.Seq%10 == 0 && first {
				// What is said after a Retry must not count.
				return append(out, Retry(time.Millisecond), Ack(), Ack())
			}
			c.take(d)
			out = append(out, Ack())
		}
		return out
	}, ConsumeOptions{Batch: 7, Workers: 8})
	await(t, "all messages", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if st := b.Stats().Stages[Deliver]; st.Messages != 0 || st.Retried == 0 {
		t.Errorf("stats %+v", st)
	}
}

// A forgotten disposition gives the message again.
func TestZeroDisposition(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Mail, 1, 3)
	c := collect(3)
	calls := 0
	stop := consume(t, b, Mail, func(ctx context.Context, ds []*Delivery) []Disposition {
		if calls++; calls == 1 {
			return nil
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{})
	await(t, "all messages", c.all)
	_ = stop()
	c.inOrder(t)
}

// A route whose handler hangs, and one that waits for its retry, hold back nobody.
func TestSlowRoute(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	for i := range 50 {
		for _, r := range []string{"hang", "wait"} {
			if err := b.Store(ctx, Message{Stage: Deliver, Route: r, ID: fmt.Sprintf("%s-%d", r, i), Body: make([]byte, 8<<10)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(t, b, Deliver, 10, 20)
	c := collect(200)
	release := make(chan struct{})
	stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		switch ds[0].Route {
		case "hang":
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil
		case "wait":
			return []Disposition{Retry(time.Hour)}
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{HeldBytes: 64 << 10}) // less than the slow ones have
	await(t, "the other routes", c.all)
	close(release)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if st := b.Stats().Stages[Deliver]; st.Messages != 100 {
		t.Errorf("%d messages left, want the 100 of the slow routes", st.Messages)
	}
}

// What does not fit into memory is read back when its turn comes, in order.
func TestReadBack(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Ingest, 5, 50)
	c := collect(250)
	stop := consume(t, b, Ingest, c.handle, ConsumeOptions{HeldBytes: 1})
	await(t, "all messages", c.all)
	_ = stop()
	c.inOrder(t)
}

// At the end of ctx the running handler finishes and its decision counts; no
// new run begins.
func TestConsumeEnd(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Ingest, 1, 2)
	begun, finish := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(testContext(t))
	done := make(chan error, 1)
	go func() {
		done <- b.Consume(ctx, Ingest, HandlerFunc(func(ctx context.Context, _ []*Delivery) []Disposition {
			close(begun) // a second run would panic
			<-finish
			if ctx.Err() != nil {
				return nil
			}
			return []Disposition{Ack()}
		}), ConsumeOptions{Batch: 1})
	}()
	await(t, "handler", begun)
	cancel()
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := b.Stats().Stages[Ingest].Messages; n != 1 {
		t.Errorf("%d messages left, want 1", n)
	}
}

// A handler that does not come back is told so after the grace.
func TestConsumeGrace(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Ingest, 1, 1)
	begun := make(chan struct{})
	stop := consume(t, b, Ingest, func(ctx context.Context, _ []*Delivery) []Disposition {
		close(begun)
		<-ctx.Done()
		return nil
	}, ConsumeOptions{Grace: 10 * time.Millisecond})
	await(t, "handler", begun)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestMove(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const routes, per = 8, 40
	fill(t, b, Ingest, routes, per)
	stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	c := collect(routes * per)
	stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
	await(t, "all messages", c.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if st := b.Stats().Stages[Ingest]; st.Moved != routes*per || st.Messages != 0 {
		t.Errorf("stats %+v", st)
	}
}

func mover(to Stage) HandlerFunc {
	return func(_ context.Context, ds []*Delivery) []Disposition {
		out := make([]Disposition, len(ds))
		for i, d := range ds {
			out[i] = Move(Message{Stage: to, Route: d.Route, Recipient: d.Recipient, ID: d.ID, Header: d.Header, BodyOf: d})
		}
		return out
	}
}

// A crash between the publish of a move and the acknowledgement of its source
// gives the source again; the second move is recognised.
func TestMoveTwice(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Ingest, 1, 1)
	// The first half of a move, and then the crash.
	if err := b.Store(testContext(t), Message{Stage: Deliver, Route: routeName(0), ID: routeName(0) + "-0"}); err != nil {
		t.Fatal(err)
	}
	moved := make(chan struct{})
	stopIn := consume(t, b, Ingest, func(ctx context.Context, ds []*Delivery) []Disposition {
		defer close(moved)
		return mover(Deliver)(ctx, ds)
	}, ConsumeOptions{})
	await(t, "second move", moved)
	if err := stopIn(); err != nil {
		t.Fatal(err)
	}
	c := collect(1)
	stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
	await(t, "message", c.all)
	if err := stopOut(); err != nil {
		t.Fatal(err)
	}
	st := b.Stats().Stages
	if st[Deliver].Duplicates != 1 || st[Deliver].Stored != 1 || st[Deliver].Handled != 1 || st[Ingest].Messages != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestTerm(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	if err := b.Store(ctx, Message{Stage: Deliver, Route: "r.x", Recipient: "u@r.x", ID: "1", Header: map[string]string{"K": "v"}, Body: []byte("text")}); err != nil {
		t.Fatal(err)
	}
	n := 0
	done := make(chan struct{})
	stop := consume(t, b, Deliver, func(_ context.Context, ds []*Delivery) []Disposition {
		if n++; n < 3 {
			return []Disposition{Retry(time.Millisecond).Because(fmt.Errorf("error %d", n))}
		}
		defer close(done)
		return []Disposition{Term("expired: after 14 days").Because(errors.New("error 3"))}
	}, ConsumeOptions{})
	await(t, "term", done)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	m, err := b.streams[streamDead].GetLastMsgForSubject(ctx, "dead.expired.r%2Ex.u@r%2Ex")
	if err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		hdrReason: "expired: after 14 days", hdrAttempts: "3", hdrFirst: "error 1", hdrLast: "error 3",
		hdrID: "1", hdrStage: "dlv", hdrRoute: "r.x", hdrRecipient: "u@r.x", "K": "v",
	} {
		if got := m.Header.Get(k); got != want {
			t.Errorf("%s is %q, want %q", k, got, want)
		}
	}
	if string(m.Data) != "text" {
		t.Errorf("body %q", m.Data)
	}
	if st := b.Stats().Stages; st[Deliver].Messages != 0 || st[Deliver].Dead != 1 || st[Dead].Messages != 1 {
		t.Errorf("stats %+v", st)
	}
}

// A handler that panics on one message does not take the others down with it.
func TestPanic(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Deliver, 1, 5)
	c := collect(4)
	bad := routeName(0) + "-2"
	stop := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		for _, d := range ds {
			if d.ID == bad {
				panic("cannot be")
			}
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{})
	await(t, "the other messages", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if st := b.Stats().Stages[Deliver]; st.Dead != 1 || st.Acked != 5 {
		t.Errorf("stats %+v", st)
	}
}

// What somebody else has put into the stream is not given to the handler, and
// does not stand in the way.
func TestForeignMessage(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	fill(t, b, Mail, 1, 1)
	for _, h := range []nats.Header{nil, {hdrRoute: {"r"}, hdrBody: {"nonsense"}}} {
		if _, err := b.publish(ctx, &nats.Msg{Subject: subjectOf(Mail, routeName(0), "x"), Header: h, Data: []byte("foreign")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Store(ctx, Message{Stage: Mail, Route: routeName(0), ID: routeName(0) + "-1"}); err != nil {
		t.Fatal(err)
	}
	c := collect(2)
	stop := consume(t, b, Mail, c.handle, ConsumeOptions{})
	await(t, "our messages", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if st := b.Stats().Stages[Mail]; st.Dead != 2 || st.Messages != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A stage is consumed once in a process, and once more when that has ended.
func TestConsumeTwice(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Ingest, 1, 1)
	first := collect(1)
	stop := consume(t, b, Ingest, first.handle, ConsumeOptions{})
	await(t, "message", first.all)
	if err := b.Consume(testContext(t), Ingest, HandlerFunc(collect(1).handle), ConsumeOptions{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("a second Consume: %v, want ErrInvalid", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	fill(t, b, Ingest, 1, 2) // the first is known already
	second := collect(1)
	stop = consume(t, b, Ingest, second.handle, ConsumeOptions{})
	await(t, "message after the first has ended", second.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}
