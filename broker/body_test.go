package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"mcmt2xmpp/broker/natstest"
)

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

func TestPlanBodies(t *testing.T) {
	t.Parallel()
	small, shared, large := pattern(100), pattern(20<<10), pattern(maxInline+1)
	msgs := func(bodies ...[]byte) []Message {
		out := make([]Message, len(bodies))
		for i := range bodies {
			out[i].Body = bodies[i]
		}
		return out
	}
	many := make([][]byte, 100)
	for i := range many {
		many[i] = pattern(100 << 10)
	}
	for _, tc := range []struct {
		name string
		msgs []Message
		want int // bodies stored apart
	}{
		{"small", msgs(small), 0},
		{"small and shared: apart costs more", msgs(small, small), 0},
		{"small, but shared by very many", msgs(repeat(small, 500)...), 1},
		{"shared", msgs(shared, shared, shared), 1},
		{"equal, but not the same slice", msgs(shared, bytes.Clone(shared)), 0},
		{"large", msgs(large), 1},
		{"two large ones", msgs(large, bytes.Clone(large)), 2},
		{"too much for one batch", msgs(many...), 100},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			apart := make(map[*body]bool)
			for _, p := range planBodies(tc.msgs, nil) {
				if p.body != nil {
					apart[p.body] = true
				}
			}
			if len(apart) != tc.want {
				t.Errorf("%d bodies apart, want %d", len(apart), tc.want)
			}
		})
	}
}

func repeat(b []byte, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = b
	}
	return out
}

// A large body passes two stages without being written again, arrives whole,
// and is removed when the last message that refers to it is done.
func TestLargeBody(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	b.opened = time.Now().Add(-settle - time.Second)
	ctx := testContext(t)
	text := pattern(3<<20 + 17)
	msgs := batch(5, "r", func(int) []byte { return text })
	if err := b.Store(ctx, msgs...); err != nil {
		t.Fatal(err)
	}
	if n := messages(t, b, streamBody); n != 4 {
		t.Fatalf("%d pieces stored, want 4", n)
	}
	stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	c := collect(5)
	stopOut := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		for _, d := range ds {
			if !bytes.Equal(d.Body, text) {
				t.Errorf("%s: body of %d bytes differs", d.ID, len(d.Body))
			}
		}
		if b.Stats().Bodies < uint64(len(text)) {
			t.Error("body is gone while messages refer to it")
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{Batch: 2})
	await(t, "all messages", c.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if n := messages(t, b, streamBody); n != 0 {
		t.Errorf("%d messages left in BODY", n)
	}
	if got := b.inflight.TryAcquire(maxBodies); !got {
		t.Error("memory of bodies was not given back")
	}
}

// A body shared by many and moved to several is copied, not passed on: the
// number of its references is fixed.
func TestLargeBodyToSeveral(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	b.opened = time.Now().Add(-settle - time.Second)
	text := pattern(300 << 10)
	if err := b.Store(testContext(t), Message{Stage: Ingest, Route: "r", ID: "1", Body: text}); err != nil {
		t.Fatal(err)
	}
	stopIn := consume(t, b, Ingest, func(_ context.Context, ds []*Delivery) []Disposition {
		var to []Message
		for i := range 3 {
			to = append(to, Message{Stage: Deliver, Route: "r", ID: fmt.Sprintf("r-%d", i), BodyOf: ds[0]})
		}
		return []Disposition{Move(to...)}
	}, ConsumeOptions{})
	c := collect(3)
	stopOut := consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		for _, d := range ds {
			if !bytes.Equal(d.Body, text) {
				t.Errorf("%s: body differs", d.ID)
			}
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{})
	await(t, "all messages", c.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Fatal(err)
	}
	if n := messages(t, b, streamBody); n != 0 {
		t.Errorf("%d messages left in BODY", n)
	}
}

// The copy of the body of a message that was there already is removed, the
// first one stays.
func TestLargeBodyDuplicate(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	b.opened = time.Now().Add(-settle - time.Second)
	for range 2 {
		if err := b.Store(testContext(t), Message{Stage: Ingest, Route: "r", ID: "r-0", Body: pattern(300 << 10)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := messages(t, b, streamBody); n != 1 {
		t.Errorf("%d messages in BODY, want the one piece of the first", n)
	}
	c := collect(1)
	stop := consume(t, b, Ingest, c.handle, ConsumeOptions{})
	await(t, "message", c.all)
	_ = stop()
	if st := b.Stats().Stages[Ingest]; st.Dead != 0 {
		t.Errorf("stats %+v", st)
	}
}

// A refused message leaves no body behind.
func TestLargeBodyRefused(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	o.MaxStore = 40 * mib
	b := openTest(t, o)
	ctx := testContext(t)
	n := 0
	for ; b.Store(ctx, Message{Stage: Mail, Route: "r", ID: strconv.Itoa(n), Body: pattern(200 << 10)}) == nil; n++ {
	}
	for b.Store(ctx, Message{Stage: Mail, Route: "r"}) == nil { // the last bytes
	}
	if err := b.Store(ctx, Message{Stage: Mail, Route: "r", Body: pattern(300 << 10)}); !errors.Is(err, ErrFull) {
		t.Fatalf("error %v, want ErrFull", err)
	}
	await(t, "no message in BODY", emptied(t, b, streamBody))
}

// A message whose body is gone goes to Dead with the reason; those behind it go on.
func TestMissingBody(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "x", ID: "x-0", Body: pattern(300 << 10)}); err != nil {
		t.Fatal(err)
	}
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "x", ID: "x-1", Body: []byte("next")}); err != nil {
		t.Fatal(err)
	}
	if err := b.streams[streamBody].Purge(ctx); err != nil {
		t.Fatal(err)
	}
	next := make(chan string, 1)
	stop := consume(t, b, Ingest, func(_ context.Context, ds []*Delivery) []Disposition {
		next <- ds[0].ID
		return []Disposition{Ack()}
	}, ConsumeOptions{})
	if id := <-next; id != "x-1" {
		t.Errorf("handed over %s", id)
	}
	_ = stop()
	m, err := b.streams[streamDead].GetLastMsgForSubject(ctx, "dead.unreadable.x.%-")
	if err != nil {
		t.Fatal(err)
	}
	if id := m.Header.Get(hdrID); id != "x-0" {
		t.Errorf("dead is %q", id)
	}
}

// Released bodies that were not removed at once go with the sweep, and only
// when all who refer to them are done.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir())) // opened just now: nothing is removed at once
	ctx := testContext(t)
	text := pattern(300 << 10)
	if err := b.Store(ctx, batch(2, "r", func(int) []byte { return text })...); err != nil {
		t.Fatal(err)
	}
	m, err := b.streams[streamIngest].GetMsg(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := parseRef(m.Header.Get(hdrBody))
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]time.Time)
	now := time.Now()
	step := func(what string, at time.Duration, want uint64) {
		t.Helper()
		if err := b.sweep(ctx, seen, now.Add(at), settle); err != nil {
			t.Fatal(err)
		}
		if n := messages(t, b, streamBody); n != want {
			t.Errorf("%s: %d messages in BODY, want %d", what, n, want)
		}
	}
	b.release(ctx, ref)
	b.release(ctx, ref) // twice is once
	step("one of two is done", 0, 3)
	step("one of two is done", time.Hour, 3)
	other := *ref
	other.k = 3 - ref.k
	b.release(ctx, &other)
	step("both are done", 2*time.Hour, 4)
	step("and have been for long", 3*time.Hour, 0)
}

// A body that cannot be released now is released later.
func TestReleaseLater(t *testing.T) {
	t.Parallel()
	c := natstest.New(t, 1, natstest.Options{})
	b := openTest(t, Options{URLs: c.URLs(), MaxStore: gib, StoreTimeout: 500 * time.Millisecond})
	b.opened = time.Now().Add(-settle - time.Second)
	ctx := testContext(t)
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "r", Body: pattern(300 << 10)}); err != nil {
		t.Fatal(err)
	}
	m, err := b.streams[streamIngest].GetMsg(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := parseRef(m.Header.Get(hdrBody))
	if err != nil {
		t.Fatal(err)
	}
	c.Pause(0)
	b.release(ctx, ref)
	c.Continue(0)
	if n := messages(t, b, streamBody); n == 0 {
		t.Fatal("released already: the test proves nothing")
	}
	await(t, "no message in BODY", emptied(t, b, streamBody))
}

func FuzzRef(f *testing.F) {
	f.Add("abc-1 1 1 5")
	f.Add("")
	f.Add("a.b 1 1 1")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRef(s)
		if err != nil {
			return
		}
		if again, err := parseRef(r.String()); err != nil || *again != *r {
			t.Fatalf("%q became %v, %v", s, again, err)
		}
	})
}
