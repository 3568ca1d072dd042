package delivery

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// stubBroker is a broker without a server, for what takes time.
type stubBroker struct {
	parked  map[string]int
	drained func(route string) (int, error)
	store   error
	consume error
	block   chan struct{} // Consume ends early when it is closed
}

func (s *stubBroker) Routes(context.Context, broker.Stage) (map[string]int, error) {
	return s.parked, nil
}

func (s *stubBroker) Drain(_ context.Context, _ broker.Stage, route string, _ broker.Handler) (int, error) {
	return s.drained(route)
}

func (s *stubBroker) Last(context.Context, broker.Stage, string) (*broker.Delivery, error) {
	return nil, nil
}

func (s *stubBroker) Store(context.Context, ...broker.Message) error { return s.store }

func (s *stubBroker) Consume(ctx context.Context, _ broker.Stage, _ broker.Handler, _ broker.ConsumeOptions) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.block:
		return s.consume
	}
}

// presence is a router that knows only who is there.
type presence struct {
	mu   sync.Mutex
	here map[string]bool
}

func (p *presence) set(name string, here bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.here[name] = here
}

func (p *presence) Reachable(bare jid.JID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.here[bare.String()]
}

func (p *presence) DeliverKept(context.Context, *stanza.Stanza) ([]router.Session, bool, error) {
	return nil, false, router.ErrOffline
}

// TestSweep: parked messages are tried without an event, as often as they must,
// and not for who is absent.
func TestSweep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var tries []time.Duration
		b := &stubBroker{parked: map[string]int{"alice@localhost": 3, "bob@localhost": 1}}
		b.drained = func(route string) (int, error) {
			if route != "alice@localhost" {
				t.Errorf("drained %s, who is absent", route)
			}
			tries = append(tries, time.Since(start))
			if len(tries) < drainTries+2 {
				return 0, fmt.Errorf("drain: %w", broker.ErrPutOff)
			}
			return 3, nil
		}
		p := &presence{here: make(map[string]bool)}
		dl := New(b, p, nil, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- dl.Run(ctx, broker.ConsumeOptions{}) }()
		synctest.Wait()
		p.set("alice@localhost", true) // and nobody says so
		time.Sleep(5 * sweepEvery)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(tries) != drainTries+2 || tries[0] != sweepEvery {
			t.Fatalf("tried at %v, want the first at %s", tries, sweepEvery)
		}
		// In a row with growing pauses, then left to the next sweep.
		if pause := tries[1] - tries[0]; pause != retry {
			t.Errorf("second try after %s, want %s", pause, retry)
		}
		if row := tries[drainTries-1] - tries[0]; row > sweepEvery/2 {
			t.Errorf("a row of tries takes %s", row)
		}
		if tries[drainTries] != 2*sweepEvery {
			t.Errorf("tried at %v, want again at %s", tries, 2*sweepEvery)
		}
		if s := dl.Stats(); s.Parked != 1 || s.ParkedRoutes != 1 {
			t.Errorf("stats %+v, want bob's left", s)
		}
	})
}

// TestConsumeRefused: when the broker does not hand messages over nothing more is done,
// and the error says so.
func TestConsumeRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &stubBroker{consume: broker.ErrInvalid, block: make(chan struct{})}
		dl := New(b, &presence{}, nil, zerolog.Nop())
		done := make(chan error, 1)
		go func() { done <- dl.Run(t.Context(), broker.ConsumeOptions{}) }()
		synctest.Wait()
		start := time.Now()
		close(b.block)
		if err := <-done; !errors.Is(err, broker.ErrInvalid) || time.Since(start) > 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

// TestNeverParkable: a message that PARK can never take is a dead one: it must
// not stand in the way of the route for ever.
func TestNeverParkable(t *testing.T) {
	t.Parallel()
	events, bus := newRecorder(), new(trace.Bus)
	bus.Subscribe(events.add)
	dl := New(&stubBroker{store: broker.ErrInvalid}, &presence{}, bus, zerolog.Nop())
	done := dl.Handle(t.Context(), []*broker.Delivery{given(t, "m1"), given(t, "m2")})
	if failed := events.of(trace.Failed); len(done) != 1 || !done[0].Dead() || len(failed) != 1 || dl.Stats().Failed != 1 || dl.Stats().Parked != 0 {
		t.Errorf("%d settled, told %+v, stats %+v", len(done), failed, dl.Stats())
	}
	if n := len(dl.routes); n != 0 {
		t.Errorf("%d routes remembered", n)
	}
}
