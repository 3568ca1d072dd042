package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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

// replicated is a bucket of a cluster, which has an error of its own for an update that
// comes too late. Before the first one somebody else is faster.
type replicated struct {
	jetstream.KeyValue
	faster func()
}

func (k replicated) Update(ctx context.Context, key string, value []byte, rev uint64) (uint64, error) {
	k.faster()
	now, err := k.KeyValue.Update(ctx, key, value, rev)
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		err = fmt.Errorf("%w: %w", &jetstream.APIError{ErrorCode: jetstream.JSErrCodeStreamWrongLastSequenceConstant}, jetstream.ErrKeyRevisionMismatch)
	}
	return now, err
}

// TestReceiptsReplicated: in a cluster, too, who was not the first learns just that.
func TestReceiptsReplicated(t *testing.T) {
	t.Parallel()
	r, err := OpenReceipts(t.Context(), openBroker(t, t.TempDir()), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Expect(t.Context(), "id", []byte("m1")); err != nil {
		t.Fatal(err)
	}
	second := &Receipts{replicated{r.kv, sync.OnceFunc(func() {
		if _, first, err := r.Settle(t.Context(), "id"); !first || err != nil {
			t.Errorf("the first: %t, %v", first, err)
		}
	})}}
	if data, first, err := second.Settle(t.Context(), "id"); string(data) != "m1" || first || err != nil {
		t.Errorf("the second: %q, %t, %v", data, first, err)
	}
}
