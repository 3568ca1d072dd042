package store

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReceipts: what is expected is found again by another process, and only one of many
// who prove it is the first.
func TestReceipts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	open := func() *Receipts {
		r, err := OpenReceipts(t.Context(), b, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := open()
	for _, data := range []string{"m1", "again"} { // given again after a crash, it is what it was
		if err := r.Expect(t.Context(), "id\x00alice@localhost", []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	var firsts atomic.Int32
	var proving sync.WaitGroup
	for range 8 {
		other := open()
		proving.Go(func() {
			data, first, err := other.Settle(t.Context(), "id\x00alice@localhost")
			if err != nil || string(data) != "m1" {
				t.Errorf("%q, %v", data, err)
			}
			if first {
				firsts.Add(1)
			}
		})
	}
	proving.Wait()
	if n := firsts.Load(); n != 1 {
		t.Errorf("%d were first", n)
	}
	if data, first, err := r.Settle(t.Context(), "other"); data != nil || first || err != nil {
		t.Errorf("nothing expected: %q, %v, %v", data, first, err)
	}
}
