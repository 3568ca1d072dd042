package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestRoutesIn(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const routes = 100
	fill(t, b, Park, routes, 2)
	sum := 0
	for part := range 4 {
		got, err := b.RoutesIn(ctx, Park, func(p int) bool { return p%4 == part })
		if err != nil {
			t.Fatal(err)
		}
		for name, n := range got {
			if PartitionOf(name)%4 != part || n != 2 {
				t.Errorf("part %d: %s with %d", part, name, n)
			}
		}
		sum += len(got)
	}
	if sum != routes {
		t.Errorf("%d routes in all parts", sum)
	}
	if _, err := b.Routes(ctx, Dead); !errors.Is(err, ErrInvalid) {
		t.Errorf("of the dead: %v", err)
	}
}

// More subjects than the server lists at once, in one partition and in all.
func TestRoutesMany(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const n = 100_000 + 500
	for i := range n + Partitions {
		m := &nats.Msg{Subject: fmt.Sprintf("park.7.%d.x", i)} // wherever the route belongs
		if i >= n {
			m.Subject = fmt.Sprintf("park.%d.%d.x", i-n, i)
		}
		if _, err := b.pub.js.PublishMsgAsync(m, jetstream.WithStallWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
	<-b.pub.js.PublishAsyncComplete()
	got, err := b.Routes(ctx, Park)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n + Partitions {
		if got[fmt.Sprint(i)] != 1 {
			t.Fatalf("route %d has %d messages", i, got[fmt.Sprint(i)])
		}
	}
	if len(got) != n+Partitions {
		t.Errorf("%d routes, want %d", len(got), n+Partitions)
	}
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
