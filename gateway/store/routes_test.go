package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/broker"
)

// TestRoutes: a state is there for the next process, the latest one, in the
// partitions asked for; one that was forgotten is gone.
func TestRoutes(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	r, err := OpenRoutes(t.Context(), b, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	at := time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)
	long := strings.Repeat("x", 900) + "@localhost"
	names := []string{"alice@localhost", "down.example", "ü@localhost", long}
	for i, name := range names {
		r.Save(name, RouteState{Attempts: 99})
		r.Save(name, RouteState{Attempts: i + 1, Next: at, First: at.Add(-time.Hour), Reason: "gone"})
	}
	r.Save("bob@localhost", RouteState{Attempts: 1})
	r.Forget("bob@localhost")
	cancel()
	<-done

	again, err := OpenRoutes(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	all, err := again.Load(t.Context(), nil)
	if err != nil || len(all) != len(names) {
		t.Fatalf("%v, %v", all, err)
	}
	for i, name := range names {
		want := RouteState{Attempts: i + 1, Next: at, First: at.Add(-time.Hour), Reason: "gone"}
		if all[name] != want {
			t.Errorf("%.20s: %+v, want %+v", name, all[name], want)
		}
	}
	some, err := again.Load(t.Context(), []int{broker.PartitionOf("down.example")})
	if _, ok := some["down.example"]; err != nil || !ok || len(some) > 2 {
		t.Errorf("in the partition of down.example: %v, %v", some, err)
	}
	none, err := again.Load(t.Context(), []int{})
	if err != nil || len(none) != 0 {
		t.Errorf("in no partition: %v, %v", none, err)
	}
}

// TestRoutesUnreadable: a record that cannot be read is told and left out.
func TestRoutesUnreadable(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	var told []string
	r, err := OpenRoutes(t.Context(), b, func(err error) { told = append(told, err.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.kv.PutString(t.Context(), "1.x", "{"); err != nil {
		t.Fatal(err)
	}
	all, err := r.Load(t.Context(), nil)
	if err != nil || len(all) != 0 || len(told) != 1 || !strings.Contains(told[0], "1.x") {
		t.Errorf("%v, %v, told %q", all, err, told)
	}
}

// TestHolds: what one process holds back is held for every other, and for the
// next, until it is released; each change is told.
func TestHolds(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	open := func() *Holds {
		h, err := OpenHolds(t.Context(), b, func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		return h
	}
	one, two := open(), open()
	changes := make(chan string, 100)
	two.OnChange(func(name string) { changes <- name })
	for _, name := range []string{"alice@localhost", "down.example"} {
		if news, err := one.Hold(t.Context(), name); err != nil || !news {
			t.Fatal(news, err)
		}
		if !one.Held("x", name) {
			t.Errorf("%s is not held where it was asked for", name)
		}
		if got := <-changes; got != name || !two.Held(name) {
			t.Errorf("told %s, held %t", got, two.Held(name))
		}
	}
	if news, err := one.Hold(t.Context(), "down.example"); err != nil || news {
		t.Errorf("held twice: %t, %v", news, err)
	}
	if one.Held("bob@localhost", "localhost") {
		t.Error("a domain is held because a user of it is")
	}
	three := open()
	all := three.List()
	slices.SortFunc(all, func(a, b Hold) int { return strings.Compare(a.Name, b.Name) })
	if len(all) != 2 || all[0].IsDomain() || !all[1].IsDomain() || all[0].Since.IsZero() {
		t.Errorf("list %+v", all)
	}
	if was, err := three.Release(t.Context(), "alice@localhost"); err != nil || !was {
		t.Fatal(was, err)
	}
	if got := <-changes; got != "alice@localhost" || two.Held(got) || three.Held(got) {
		t.Errorf("told %s after its release, held %t", got, two.Held(got))
	}
	if was, err := two.Release(t.Context(), "alice@localhost"); err != nil || was {
		t.Errorf("released twice: %t, %v", was, err)
	}
}

// BenchmarkRoutesLoad is what a takeover reads.
func BenchmarkRoutesLoad(b *testing.B) {
	br := openBroker(b, b.TempDir())
	r, err := OpenRoutes(b.Context(), br, nil)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10_000 {
		r.Save(fmt.Sprintf("user%d@localhost", i), RouteState{Attempts: 1, Next: time.Now()})
	}
	r.flush(b.Context())
	for b.Loop() {
		if all, err := r.Load(b.Context(), nil); err != nil || len(all) != 10_000 {
			b.Fatal(len(all), err)
		}
	}
}
