package delivery

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/mcmt"
)

// TestFormer: what the journal says of a message before it was taken over is known,
// however much the journal holds; only a delivery, or an operator's drop, has ended
// it so that it must not be sent.
func TestFormer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	start := time.Now()
	record := func(id string, end custody.End) {
		r := journal(custody.Outcome{Record: custody.Record{ID: mcmt.ID(id), JID: alice, Accepted: start}, End: end})
		if err := w.broker.Record(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	record("delivered", custody.Delivered)
	record("dropped", custody.Dropped)
	record("failed", custody.Failed)
	record("revived", custody.Failed)
	var writing sync.WaitGroup
	const writers = 8
	for i := range writers {
		writing.Go(func() {
			for j := range endPage / writers {
				record(fmt.Sprintf("%d-%d", i, j), custody.Delivered)
			}
		})
	}
	writing.Wait()
	record("last", custody.Delivered)
	record("revived", custody.Delivered)

	var f former
	ended := func(id, recipient string, stored time.Time) bool {
		t.Helper()
		_, at, err := f.ended(t.Context(), w.broker, id, recipient, stored)
		if err != nil {
			t.Fatal(err)
		}
		if !at.IsZero() && (at.Before(start) || at.After(time.Now())) {
			t.Errorf("%s ended at %v", id, at)
		}
		return !at.IsZero()
	}
	if ended("delivered", alice.String(), time.Now().Add(skew+time.Hour)) {
		t.Error("ended before it was stored")
	}
	for id, want := range map[string]bool{"delivered": true, "dropped": true, "failed": false, "revived": true, "last": true, "1-1": true, "unknown": false} {
		if got := ended(id, alice.String(), start); got != want {
			t.Errorf("%s: ended %v, want %v", id, got, want)
		}
	}
	if ended("delivered", bob.String(), start) {
		t.Error("ended for another recipient")
	}
	if err := w.broker.Record(t.Context(), broker.Record{ID: "x", Recipient: "y", Data: []byte("of another version")}); err != nil {
		t.Fatal(err)
	}
	if f = (former{}); !ended("last", alice.String(), start) {
		t.Error("not known beside a record of another version")
	}
	if n, again := f.unreadable(), f.unreadable(); n != 1 || again != 0 {
		t.Errorf("%d records cannot be read, and then %d", n, again)
	}
	f = former{most: 100}
	for _, id := range []string{"last", "revived"} { // the newest
		if !ended(id, alice.String(), start) {
			t.Errorf("%s is forgotten for older ones", id)
		}
	}
	if n := len(f.ends) + len(f.older); n > 2*f.most || n <= f.most {
		t.Errorf("%d are remembered, want %d at most", n, 2*f.most)
	}
}
