package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

const (
	diskSize    = 96 * mib
	diskWriters = 8
	diskText    = 20 << 10
)

func onDisk(dir string) Options {
	return Options{Dir: filepath.Join(dir, "nats"), DiskReserve: 24 * mib, Log: zerolog.Nop()}
}

// write stores messages on a few routes, until enough says so of each; it gets how
// each call ended. A message that was not taken is stored again.
func write(b *Broker, enough func(err error) bool) *sync.WaitGroup {
	wg := new(sync.WaitGroup)
	for r := range diskWriters {
		wg.Go(func() {
			for n := 0; ; {
				m := Message{Stage: Ingest, Route: routeName(r), ID: fmt.Sprintf("%s-%d", routeName(r), n), Body: make([]byte, diskText)}
				err := b.Store(context.Background(), m)
				if err == nil {
					n++
				}
				if enough(err) {
					return
				}
			}
		})
	}
	return wg
}

// A disk that we have filled ourselves: what was accepted is kept and handed over,
// more is refused at once, and is accepted again when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	natstest.OnDisk(t, diskSize, func(t *testing.T, dir string) {
		b := openTest(t, onDisk(dir))
		ctx := testContext(t)
		var total atomic.Int64
		write(b, func(err error) bool {
			if err == nil {
				total.Add(1)
				return false
			}
			if !errors.Is(err, ErrFull) || permanent(err) {
				t.Errorf("%v, want a temporary ErrFull", err)
			}
			return true
		}).Wait()
		if total.Load() < 1000 {
			t.Fatalf("only %d messages were accepted", total.Load())
		}
		if err := errors.Join(b.damage(), b.srv.broken()); err != nil {
			t.Errorf("the disk was filled up: %v", err)
		}
		stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
		c := collect(int(total.Load()))
		stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
		await(t, "all messages", c.all)
		if err := errors.Join(stopIn(), stopOut()); err != nil {
			t.Error(err)
		}
		c.inOrder(t)
		for b.Store(ctx, Message{Stage: Ingest, Route: "r", Body: make([]byte, diskText)}) != nil {
			if !pause(ctx, 10*time.Millisecond) {
				t.Fatal("the disk is empty and nothing is accepted")
			}
		}
	})
}

// A disk that others fill while we write: writes fail in the midst. Nothing that
// was accepted is lost, nobody waits for a server that will not answer, and with
// room everything goes on without a restart.
func TestDiskFilledByOthers(t *testing.T) {
	t.Parallel()
	natstest.OnDisk(t, diskSize, func(t *testing.T, dir string) {
		o := onDisk(dir)
		o.DiskReserve = -1 // or we might stop before a write fails
		b := openTest(t, o)
		ctx := testContext(t)
		c := newOnce() // what was not known to be stored is stored again, and may come twice
		stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
		stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
		var end atomic.Bool
		var total, full, unknown atomic.Int64
		writers := write(b, func(err error) bool {
			switch {
			case err == nil:
				total.Add(1)
			case errors.As(err, new(noAnswer)):
				t.Errorf("%v: it has waited", err)
			case errors.Is(err, ErrFull):
				full.Add(1)
			case errors.Is(err, ErrUnavailable):
				unknown.Add(1)
			default:
				t.Error(err)
			}
			pause(ctx, time.Millisecond)
			return end.Load()
		})
		flows := func(when string) {
			t.Helper()
			before, _ := c.count()
			want := before + 10*diskWriters
			for {
				n, _ := c.count()
				if n >= want {
					return
				}
				if !pause(ctx, 10*time.Millisecond) {
					t.Fatalf("%s: %d messages have arrived, want %d", when, n, want)
				}
			}
		}
		for round := range 2 {
			flows("before")
			other := filepath.Join(dir, "other")
			natstest.Fill(t, other)
			for b.damage() == nil {
				if !pause(ctx, time.Millisecond) {
					t.Fatal("the disk is full and no write has failed")
				}
			}
			if err := b.Healthy(); err == nil || !strings.Contains(err.Error(), "no space left") {
				t.Errorf("health %v, want no space left", err)
			}
			refused := full.Load()
			for full.Load() < refused+10 {
				if !pause(ctx, time.Millisecond) {
					t.Fatal("nobody is told that it is full")
				}
			}
			if err := os.Remove(other); err != nil {
				t.Fatal(err)
			}
			flows(fmt.Sprintf("after round %d", round))
		}
		end.Store(true)
		writers.Wait()
		for {
			n, _ := c.count()
			if int64(n) >= total.Load() {
				break
			}
			if !pause(ctx, 10*time.Millisecond) {
				t.Fatalf("%d messages have arrived, want %d", n, total.Load())
			}
		}
		if err := errors.Join(stopIn(), stopOut()); err != nil {
			t.Error(err)
		}
		c.inOrder(t)
		n, again := c.count()
		t.Logf("%d accepted, %d arrived, %d of them twice, %d refused, %d not known", total.Load(), n, again, full.Load(), unknown.Load())
	})
}
