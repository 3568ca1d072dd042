package broker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// Nothing is handed over before Own is ready, an Own that fails is tried again,
// and Consume returns after it.
func TestOwn(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	fill(t, b, Ingest, 3, 10)
	c := collect(30)
	var calls atomic.Int32
	var ready, ended atomic.Bool
	stop := consume(t, b, Ingest, func(ctx context.Context, ds []*Delivery) []Disposition {
		if !ready.Load() {
			t.Error("handed over before Own was ready")
		}
		return c.handle(ctx, ds)
	}, ConsumeOptions{Own: func(ctx, _ context.Context, s Slice, begin func()) error {
		if s != (Slice{0, 1}) {
			t.Errorf("slice %v", s)
		}
		switch calls.Add(1) {
		case 1:
			return errors.New("not now")
		case 2:
			return nil // not ready either
		}
		pause(ctx, 50*time.Millisecond) // time to be overtaken by a message
		ready.Store(true)
		begin()
		<-ctx.Done()
		pause(context.Background(), 50*time.Millisecond)
		ended.Store(true)
		return nil
	}})
	await(t, "all messages", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if !ended.Load() {
		t.Error("Consume returned before Own")
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("Own was called %d times, want 3", n)
	}
	c.inOrder(t)
}
