package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
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

// Messages for several recipients of a route come in the order in which they were
// stored, among many others, also where one read cannot hold them all.
func TestDrainRecipients(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const n = 200
	for i := range n {
		for _, route := range []string{"r", "r.other", "s"} {
			m := Message{Stage: Park, Route: route, Recipient: fmt.Sprint(i % 3), ID: fmt.Sprintf("%s-%d", route, i), Body: []byte("text")}
			if i%20 == 0 && route == "r" {
				m.Body = make([]byte, 200<<10)
			}
			if err := b.Store(ctx, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	c := collect(n)
	got, err := b.Drain(ctx, Park, "r", HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
		for i, d := range ds {
			if want := n - c.n - i - 1; d.Behind != want {
				t.Errorf("%s: %d behind, want %d", d.ID, d.Behind, want)
			}
		}
		return c.handle(ctx, ds)
	}))
	if got != n || err != nil {
		t.Fatalf("drained %d, %v", got, err)
	}
	c.inOrder(t)
	if left := messages(t, b, streamPark); left != 2*n {
		t.Errorf("%d messages left", left)
	}
}

// Two processes at one route for a moment: everything is dealt with, and nothing
// is removed that was not.
func TestDrainOverlap(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const per = 300
	fill(t, b, Park, 1, per)
	var mu sync.Mutex
	settled := make(map[uint64]bool)
	var wg sync.WaitGroup
	for i := range 3 {
		wg.Go(func() {
			runs := 0
			_, err := b.drain(ctx, Park, routeName(0), HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
				if runs++; runs == 2 && i == 0 {
					return nil // this one ends early
				}
				mu.Lock()
				defer mu.Unlock()
				out := make([]Disposition, len(ds))
				for i, d := range ds {
					settled[d.Seq] = true
					out[i] = Move(Message{Stage: Deliver, Route: d.Route, ID: d.ID, BodyOf: d})
				}
				return out
			}))
			if err != nil && !errors.Is(err, ErrPutOff) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left := messages(t, b, streamPark); left != 0 || len(settled) != per {
		t.Errorf("%d left, %d settled", left, len(settled))
	}
	if moved := messages(t, b, streamDeliver); moved != per {
		t.Errorf("%d moved", moved)
	}
}

// A connection that is lost before the settled messages are removed costs no
// second delivery.
func TestDrainReconnect(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const per = 200
	fill(t, b, Park, 1, per)
	c := collect(per)
	n, err := b.Drain(testContext(t), Park, routeName(0), HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
		out := c.handle(ctx, ds)
		if err := b.admin.nc.ForceReconnect(); err != nil {
			t.Error(err)
		}
		return out
	}))
	for errors.Is(err, ErrUnavailable) { // it could not be read on
		var m int
		m, err = b.Drain(testContext(t), Park, routeName(0), HandlerFunc(c.handle))
		n += m
	}
	if n != per || err != nil {
		t.Fatalf("drained %d, %v", n, err)
	}
	c.inOrder(t)
	if c.n != per {
		t.Errorf("%d handed over", c.n)
	}
}

// Where servers may lag behind, what the leader has removed is not handed over
// again, and what only the leader knows is.
func TestDrainLag(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		read, want []uint64
	}{
		{"up to date", []uint64{5, 7}, []uint64{5, 7}},
		{"not all are gone yet", []uint64{2, 3, 5, 7}, []uint64{5, 7}},
		{"nothing is there yet", nil, []uint64{5}},
		{"only what is gone", []uint64{2, 3}, []uint64{5}},
	} {
		var msgs []storedMsg
		for _, seq := range tc.read {
			msgs = append(msgs, storedMsg{seq: seq})
		}
		var got []uint64
		for _, m := range beginAt(msgs, storedMsg{seq: 5}) {
			got = append(got, m.seq)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// What a drain has settled is recorded before it is removed, and the drain waits
// for a journal that cannot be written; when it is told to end before, the
// messages stay.
func TestDrainRecorded(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	const per = 150
	fill(t, b, Park, 1, per)
	subjectsOf(t, b, streamTrace, "elsewhere.*.*")
	ctx, cancel := context.WithCancel(testContext(t))
	h := HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		out := make([]Disposition, len(ds))
		for i, d := range ds {
			out[i] = Ack().Recorded(d.ID, d.Recipient, []byte("done"))
		}
		time.AfterFunc(10*time.Millisecond, cancel)
		return out
	})
	if n, err := b.Drain(ctx, Park, routeName(0), h); n != 0 || err == nil {
		t.Errorf("drained %d, %v without a journal", n, err)
	}
	if left := messages(t, b, streamPark); left != per {
		t.Fatalf("%d messages left", left)
	}
	time.AfterFunc(100*time.Millisecond, func() { subjectsOf(t, b, streamTrace, "trace.*.*") })
	if n, err := b.Drain(testContext(t), Park, routeName(0), h); n != per || err != nil {
		t.Errorf("drained %d, %v", n, err)
	}
	if got := records(t, b, "", "", time.Time{}, 2*per); len(got) != per {
		t.Errorf("%d records", len(got))
	}
}

// With DurabilityPower what a drain has moved is on the disk before its source is
// removed, and so are the records.
func TestDrainPower(t *testing.T) {
	t.Parallel()
	d := new(disk)
	b := openPower(t, d)
	const per = 150
	fill(t, b, Park, 1, per)
	purged := make(chan struct{})
	_, err := b.admin.nc.Subscribe("$JS.API.STREAM.PURGE."+streamPark, func(m *nats.Msg) {
		var req server.JSApiStreamPurgeRequest
		if err := json.Unmarshal(m.Data, &req); err != nil {
			t.Error(err)
		}
		if req.Sequence == per+1 {
			defer close(purged)
		}
		for seq := range req.Sequence {
			if seq == 0 {
				continue
			}
			id := fmt.Sprint(seq)
			if !d.has(subjectOf(Deliver, "r", id)) || !d.has(Record{ID: id, Recipient: "r"}.subject()) {
				t.Errorf("%s is removed, and what follows from it is not on the disk", id)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := b.Drain(testContext(t), Park, routeName(0), HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		out := make([]Disposition, len(ds))
		for i, d := range ds {
			id := fmt.Sprint(d.Seq)
			out[i] = Move(Message{Stage: Deliver, Route: "r", Recipient: id, ID: d.ID, BodyOf: d}).Recorded(id, "r", nil)
		}
		return out
	}))
	if n != per || err != nil {
		t.Fatalf("drained %d, %v", n, err)
	}
	await(t, "the last removal", purged)
	if left := messages(t, b, streamPark); left != 0 {
		t.Errorf("%d messages left", left)
	}
}

// However a drain ends, it gives the room for bodies back, and releases those of
// the messages that it has settled.
func TestDrainRoom(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	b.opened = time.Now().Add(-time.Hour) // bodies are purged at once
	ctx := testContext(t)
	for i := range 5 {
		if err := b.Store(ctx, Message{Stage: Park, Route: "r", ID: fmt.Sprint(i), Body: pattern(maxInline + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		then func(d *Delivery) Disposition
		n    int
	}{
		{"put off", func(*Delivery) Disposition { return Retry(0) }, 1},
		{"not stored", func(d *Delivery) Disposition { return Move(Message{Stage: Deliver, Route: "r", BodyOf: d}) }, 1},
		{"settled", func(*Delivery) Disposition { return Ack() }, 2},
	} {
		if tc.name == "not stored" {
			subjectsOf(t, b, streamDeliver, "elsewhere.*.*.*")
		}
		n, err := b.Drain(ctx, Park, "r", HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
			out := []Disposition{Ack()}
			for _, d := range ds[1:] {
				out = append(out, tc.then(d))
			}
			return out
		}))
		if (err == nil) != (tc.name == "settled") || n < tc.n {
			t.Errorf("%s: drained %d, %v", tc.name, n, err)
		}
		if !b.inflight.TryAcquire(maxBodies) {
			t.Fatalf("%s: room was not given back", tc.name)
		}
		b.inflight.Release(maxBodies)
	}
	if n := messages(t, b, streamBody); n != 0 {
		t.Errorf("%d pieces of bodies are left", n)
	}
}
