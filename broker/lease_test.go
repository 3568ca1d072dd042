package broker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLease(false, leaseTimes{}.withDefaults())
		defer l.stop()
		if l.valid() || l.current().Err() == nil {
			t.Error("valid before the first heartbeat")
		}
		l.renew(time.Now())
		first := l.current()
		time.Sleep(5 * time.Second)
		l.renew(time.Now().Add(-time.Second)) // the answer took a second
		if !l.valid() || first.Err() != nil || l.current() != first {
			t.Error("renewed in time, and not the same any more")
		}
		time.Sleep(8*time.Second - time.Millisecond)
		if !l.valid() {
			t.Error("ended early")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if l.valid() || first.Err() == nil {
			t.Error("valid 9 s after a heartbeat was sent")
		}

		awaited := make(chan error, 1)
		go func() { awaited <- l.await(t.Context()) }()
		time.Sleep(time.Minute)
		l.renew(time.Now().Add(-time.Hour)) // an answer that comes too late
		synctest.Wait()
		select {
		case <-awaited:
			t.Fatal("awaited although it is not valid")
		default:
		}
		l.renew(time.Now())
		if err := <-awaited; err != nil || !l.valid() || l.current().Err() != nil {
			t.Errorf("not valid again: %v", err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.await(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("await with an ended context: %v", err)
		}
		l.revoke()
		if l.valid() || l.current().Err() == nil {
			t.Error("valid after it was revoked")
		}
	})
}

// A process that was stopped goes on in any order: the heartbeat that is written
// then must not make valid what was begun before.
func TestLeaseAfterPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLease(false, leaseTimes{}.withDefaults())
		l.renew(time.Now())
		begun := l.current()
		l.timer.Stop() // it does not run while the process is stopped
		time.Sleep(time.Minute)
		if l.valid() {
			t.Error("valid by the clock")
		}
		l.renew(time.Now())
		defer l.stop()
		if !l.valid() || begun.Err() == nil {
			t.Error("what was begun a minute ago is valid again")
		}
	})
}

// Nobody else can take the place of an embedded server's process.
func TestLeaseAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLease(true, leaseTimes{}.withDefaults())
		defer l.stop()
		ctx := l.current()
		time.Sleep(24 * time.Hour)
		if !l.valid() || ctx.Err() != nil || l.await(t.Context()) != nil {
			t.Error("a slow process has lost its place")
		}
	})
}
