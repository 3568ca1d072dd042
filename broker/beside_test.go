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
	}, ConsumeOptions{Own: func(ctx, work context.Context, s Slice, begin func()) error {
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
		if pause(work, 50*time.Millisecond) {
			ended.Store(true)
		}
		return nil
	}})
	await(t, "all messages", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if !ended.Load() {
		t.Error("Consume returned before Own, or gave it no time")
	}
	if n := calls.Load(); n != 3 {
		t.Errorf("Own was called %d times, want 3", n)
	}
	c.inOrder(t)
}

// Own is told after the grace that its work must end, as handlers are.
func TestOwnGrace(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	begun := make(chan struct{})
	stop := consume(t, b, Ingest, collect(0).handle, ConsumeOptions{Grace: 10 * time.Millisecond, Own: func(_, work context.Context, _ Slice, ready func()) error {
		ready()
		close(begun)
		<-work.Done()
		return nil
	}})
	await(t, "Own", begun)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// An Own that fails after it was ready gives the slice back, and it is taken
// again; one that has merely ended leaves it.
func TestOwnFails(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	var calls atomic.Int32
	c := collect(10)
	stop := consume(t, b, Ingest, c.handle, ConsumeOptions{Own: func(ctx, _ context.Context, _ Slice, ready func()) error {
		ready()
		if calls.Add(1) == 1 {
			return errors.New("broken")
		}
		return nil
	}})
	eventually(t, "the second call", func() bool { return calls.Load() == 2 })
	fill(t, b, Ingest, 2, 5)
	await(t, "all messages", c.all)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if n := calls.Load(); n != 2 {
		t.Errorf("Own was called %d times, want 2", n)
	}
	if st := b.Stats().Stages[Ingest]; st.Takeovers != 2 || st.Handovers != 2 || st.Owned != 0 {
		t.Errorf("stats %+v", st)
	}
}
