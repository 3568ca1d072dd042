package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// peekAll pages through a stage and returns the IDs.
func peekAll(t *testing.T, b *Broker, stage Stage, route string, limit int) (ids []string) {
	t.Helper()
	for from := uint64(0); ; {
		found, next, err := b.Peek(testContext(t), stage, route, from, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) > limit {
			t.Fatalf("%d messages, at most %d were asked for", len(found), limit)
		}
		for _, p := range found {
			ids = append(ids, p.ID)
		}
		if next == 0 {
			return ids
		}
		if len(found) == 0 || next <= from {
			t.Fatalf("next is %d after %d with %d messages", next, from, len(found))
		}
		from = next
	}
}

func TestPeek(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	if got := peekAll(t, b, Park, "", 10); len(got) != 0 {
		t.Errorf("an empty stage: %q", got)
	}
	var all, one []string
	for i := range 25 {
		m := Message{Stage: Park, Route: routeName(i % 2), Recipient: fmt.Sprint(i), ID: fmt.Sprint(i),
			Header: map[string]string{"N": fmt.Sprint(i)}, Body: []byte("text")}
		if i == 10 {
			m.Body = pattern(maxInline + 1)
		}
		if err := b.Store(ctx, m); err != nil {
			t.Fatal(err)
		}
		all = append(all, m.ID)
		if i%2 == 1 {
			one = append(one, m.ID)
		}
	}
	for _, limit := range []int{1, 5, 7, 25, 1000} {
		same(t, fmt.Sprintf("all by %d", limit), peekAll(t, b, Park, "", limit), all...)
		same(t, fmt.Sprintf("a route by %d", limit), peekAll(t, b, Park, routeName(1), limit), one...)
	}
	found, _, err := b.Peek(ctx, Park, "", 10, 2)
	if err != nil || len(found) != 2 {
		t.Fatalf("%d messages, %v", len(found), err)
	}
	if p := found[0]; p.Seq != 10 || p.Route != routeName(1) || p.Recipient != "9" || p.Header["N"] != "9" || string(p.Body) != "text" || p.Stored.IsZero() || p.Stage != Park {
		t.Errorf("got %+v", p)
	}
	if p := found[1]; p.Seq != 11 || p.Body != nil {
		t.Errorf("of a body that is stored apart: %+v", p)
	}
	if _, _, err := b.Peek(ctx, "nowhere", "", 0, 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("of no stage: %v", err)
	}
	c := collect(len(one))
	if n, err := b.Drain(ctx, Park, routeName(1), HandlerFunc(c.handle)); n != len(one) || err != nil {
		t.Errorf("drained %d, %v", n, err)
	}
}

// die stores messages and has a handler give them up.
func die(t *testing.T, b *Broker, d Disposition, msgs ...Message) {
	t.Helper()
	for _, m := range msgs {
		if err := b.Store(testContext(t), m); err != nil {
			t.Fatal(err)
		}
	}
	before := messages(t, b, streamDead)
	stop := consume(t, b, Ingest, func(_ context.Context, ds []*Delivery) []Disposition {
		if ds[0].Attempt == 1 {
			return []Disposition{Retry(0).Because(errors.New("first"))}
		}
		return []Disposition{d}
	}, ConsumeOptions{Batch: 1})
	await(t, "the dead", holds(t, b, map[string]uint64{streamIngest: 0, streamDead: before + uint64(len(msgs))}))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

func TestPeekDead(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	start := time.Now().Add(-time.Minute)
	die(t, b, Term("bad mood: it rains").Because(errors.New("last\n")), Message{Stage: Ingest, Route: "r", Recipient: "r/1", ID: "a", Header: map[string]string{"N": "1"}, Body: []byte("text")})
	// What nobody of us has written, and what is damaged.
	for _, h := range []nats.Header{nil, {hdrRoute: {"s"}, hdrBody: {"nonsense"}}} {
		if _, err := b.publish(ctx, &nats.Msg{Subject: subjectOf(Ingest, "s", "s/1"), Header: h, Data: []byte("?")}); err != nil {
			t.Fatal(err)
		}
	}
	stop := consume(t, b, Ingest, func(context.Context, []*Delivery) []Disposition { return nil }, ConsumeOptions{})
	await(t, "the dead", holds(t, b, map[string]uint64{streamDead: 3}))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	found, next, err := b.Peek(ctx, Dead, "", 0, 10)
	if err != nil || next != 0 || len(found) != 3 {
		t.Fatalf("%d messages, next %d, %v", len(found), next, err)
	}
	p := found[0]
	if p.Stage != Dead || p.Route != "r" || p.Recipient != "r/1" || p.Header["N"] != "1" || string(p.Body) != "text" || p.Seq != 1 {
		t.Errorf("got %+v", p)
	}
	if p.Reason != "bad mood: it rains" || p.Attempts != 2 || p.FirstError != "first" || p.LastError != "last\n" ||
		p.From != Ingest || p.FromID != "a" || p.FromSeq != 1 || p.FromStored.Before(start) || p.Died.Before(p.FromStored) {
		t.Errorf("got %+v", p)
	}
	for i, p := range found[1:] {
		if !strings.HasPrefix(p.Reason, "unreadable:") || p.From != Ingest || p.FromSeq != uint64(i+2) || string(p.Body) != "?" {
			t.Errorf("unreadable: %+v", p)
		}
	}
	found, _, err = b.Peek(ctx, Dead, "s", 0, 10)
	if err != nil || len(found) != 1 || found[0].Route != "s" {
		t.Errorf("of one route: %+v, %v", found, err)
	}
}

// What nobody of us has put into a stage is seen too.
func TestPeekForeign(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	if _, err := b.publish(ctx, &nats.Msg{Subject: subjectOf(Park, "a.b", "a.b/1"), Data: []byte("?")}); err != nil {
		t.Fatal(err)
	}
	found, _, err := b.Peek(ctx, Park, "a.b", 0, 10)
	if err != nil || len(found) != 1 {
		t.Fatalf("%d messages, %v", len(found), err)
	}
	if p := found[0]; p.Route != "a.b" || p.Recipient != "a.b/1" || string(p.Body) != "?" || p.Seq != 1 {
		t.Errorf("got %+v", p)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	b.opened = time.Now().Add(-time.Hour) // bodies are purged at once
	ctx := testContext(t)
	for i := range 3 {
		if err := b.Store(ctx, Message{Stage: Park, Route: "r", ID: fmt.Sprint(i), Body: pattern(maxInline + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	pieces := messages(t, b, streamBody)
	for _, want := range []bool{true, false} {
		if removed, err := b.Remove(ctx, Park, 2); removed != want || err != nil {
			t.Errorf("removed %v, %v; want %v", removed, err, want)
		}
	}
	if removed, err := b.Remove(ctx, Park, 99); removed || err != nil {
		t.Errorf("what never was: removed %v, %v", removed, err)
	}
	same(t, "left", peekAll(t, b, Park, "", 10), "0", "2")
	if n := messages(t, b, streamBody); n != pieces/3*2 {
		t.Errorf("%d of %d pieces of bodies are left", n, pieces)
	}
	die(t, b, Term("bad"), Message{Stage: Ingest, Route: "r", Body: []byte("text")})
	if removed, err := b.Remove(ctx, Dead, 1); !removed || err != nil {
		t.Errorf("a dead one: removed %v, %v", removed, err)
	}
	if n := messages(t, b, streamDead); n != 0 {
		t.Errorf("%d dead are left", n)
	}
	if _, err := b.Remove(ctx, Ingest, 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("from a stage with a consumer: %v", err)
	}
}

func TestRevive(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	b.opened = time.Now().Add(-time.Hour) // bodies are purged at once
	ctx := testContext(t)
	small, large := []byte("text"), pattern(maxInline+1)
	die(t, b, Term("bad"),
		Message{Stage: Ingest, Route: "r", Recipient: "r/1", ID: "a", Header: map[string]string{"N": "1"}, Body: small},
		Message{Stage: Ingest, Route: "r", ID: "b", Body: large},
		Message{Stage: Ingest, Route: "r", ID: "c", Body: large},
		Message{Stage: Ingest, Route: "r", ID: "d", Body: small})
	again := func(p *Peeked) (Message, error) {
		return Message{Stage: p.From, Route: p.Route, Recipient: p.Recipient, ID: p.FromID, Header: p.Header, BodyOf: &p.Delivery}, nil
	}
	no := errors.New("no")
	if err := b.Revive(ctx, 1, func(*Peeked) (Message, error) { return Message{}, no }); !errors.Is(err, no) {
		t.Errorf("error %v, want that of the caller", err)
	}
	if err := b.Revive(ctx, 1, func(*Peeked) (Message, error) { return Message{Stage: Dead}, nil }); !errors.Is(err, ErrInvalid) {
		t.Errorf("into the same stage: %v", err)
	}
	if err := b.Revive(ctx, 2, func(p *Peeked) (Message, error) {
		d := p.Delivery // has no body that could be stored
		return Message{Stage: Ingest, Route: "r", BodyOf: &d}, nil
	}); !errors.Is(err, ErrInvalid) {
		t.Errorf("with a body that was not read: %v", err)
	}
	if n := messages(t, b, streamDead); n != 4 {
		t.Fatalf("%d dead are left", n)
	}
	// As if a process had died before it removed the first.
	p, _, err := b.Peek(ctx, Dead, "", 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := again(&p[0])
	first.ID += ".r1"
	if err := b.store(ctx, []Message{first}, nil, 0); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); seq <= 2; seq++ {
		if err := b.Revive(ctx, seq, again); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Revive(ctx, 3, func(p *Peeked) (Message, error) { // its body is not wanted any more
		return Message{Stage: Ingest, Route: p.Route, ID: p.FromID, Body: small}, nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := b.Revive(ctx, 1, again); !errors.Is(err, ErrGone) {
		t.Errorf("what is not dead any more: %v", err)
	}
	if n := messages(t, b, streamDead); n != 1 {
		t.Errorf("%d dead are left", n)
	}
	var got []*Delivery
	var bodies [][]byte
	done := make(chan struct{})
	stop := consume(t, b, Ingest, func(_ context.Context, ds []*Delivery) []Disposition {
		out := make([]Disposition, len(ds))
		for i, d := range ds {
			got, bodies = append(got, d), append(bodies, bytes.Clone(d.Body))
			out[i] = Ack()
		}
		if len(got) == 3 {
			close(done)
		}
		return out
	}, ConsumeOptions{})
	await(t, "the revived", done)
	await(t, "an empty stage", emptied(t, b, streamIngest))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if d := got[0]; d.Route != "r" || d.Recipient != "r/1" || d.ID != "a.r1" || d.Header["N"] != "1" || !bytes.Equal(bodies[0], small) {
		t.Errorf("got %+v", d)
	}
	if got[1].ID != "b.r2" || !bytes.Equal(bodies[1], large) || got[2].ID != "c.r3" || !bytes.Equal(bodies[2], small) {
		t.Errorf("got %+v and %+v", got[1], got[2])
	}
	if n := messages(t, b, streamBody); n != 0 {
		t.Errorf("%d pieces of bodies are left", n)
	}
}
