package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/store"
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

func (s *stubBroker) RoutesIn(context.Context, broker.Stage, func(int) bool) (map[string]int, error) {
	return s.parked, nil
}

func (s *stubBroker) Drain(_ context.Context, _ broker.Stage, route string, _ broker.Handler) (int, error) {
	return s.drained(route)
}

func (s *stubBroker) Last(context.Context, broker.Stage, string) (*broker.Delivery, error) {
	return nil, nil
}

func (*stubBroker) Peek(context.Context, broker.Stage, string, uint64, int) ([]broker.Peeked, uint64, error) {
	return nil, 0, nil
}

func (*stubBroker) Record(context.Context, broker.Record) error { return nil }

func (s *stubBroker) Records(context.Context, string, string, time.Time, int) ([]broker.Record, error) {
	return nil, nil
}

func (s *stubBroker) Store(context.Context, ...broker.Message) error { return s.store }

func (s *stubBroker) Consume(ctx context.Context, _ broker.Stage, _ broker.Handler, o broker.ConsumeOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	owned := make(chan error, 1)
	go func() { owned <- o.Own(ctx, ctx, broker.Slice{Index: 0, Of: 1}, func() {}) }()
	select {
	case <-ctx.Done():
		return <-owned
	case <-s.block:
		cancel()
		return errors.Join(s.consume, <-owned)
	}
}

// presence is a router that knows only who is there.
type presence struct {
	mu   sync.Mutex
	here map[string]bool
}

func (p *presence) Reachable(bare jid.JID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.here[bare.String()]
}

func (p *presence) Forward(context.Context, *stanza.Stanza) error { return nil }
func (p *presence) Serves(domain string) bool                     { return domain == "localhost" }

func (p *presence) DeliverKept(context.Context, *stanza.Stanza) ([]router.Session, bool, error) {
	return nil, false, router.ErrOffline
}

// parkedFor is a stub for the schedule: PARK holds messages of routes, and each
// drain is noted with its time.
type parkedFor struct {
	*stubBroker
	start time.Time

	mu    sync.Mutex
	tries map[string][]time.Duration
}

func newParkedFor(routes map[string]int, drained func(route string, try int) (int, error)) *parkedFor {
	p := &parkedFor{stubBroker: &stubBroker{parked: routes}, start: time.Now(), tries: make(map[string][]time.Duration)}
	p.drained = func(route string) (int, error) {
		p.mu.Lock()
		p.tries[route] = append(p.tries[route], time.Since(p.start))
		try := len(p.tries[route])
		p.mu.Unlock()
		return drained(route, try)
	}
	return p
}

func (p *parkedFor) tried(route string) []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.tries[route])
}

// within says whether a pause is one of the schedule: d, or up to a fifth less.
func within(got, d time.Duration) bool { return got <= d && got >= d-d/5-time.Millisecond }

// TestSchedule: a domain that is down is tried after retry_interval and then after
// twice as long each time, up to max_retry_interval, and beside it another one
// whose link is up again is not held back.
func TestSchedule(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newParkedFor(map[string]int{"down.example": 3, "up.example": 1}, func(route string, _ int) (int, error) {
			if route == "up.example" {
				return 1, nil
			}
			return 0, fmt.Errorf("drain: %w", broker.ErrPutOff)
		})
		out := config.Outgoing{RetryInterval: 30 * time.Second, MaxRetryInterval: 4 * time.Minute, Expiration: time.Hour}
		dl := New(Options{Broker: b, Router: &presence{}, Outgoing: func(string) config.Outgoing { return out }, Log: zerolog.Nop()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- dl.Run(ctx, broker.ConsumeOptions{}) }()
		time.Sleep(30 * time.Minute)
		if s := dl.Stats(); s.Parked != 3 || s.ParkedRoutes != 1 {
			t.Errorf("stats %+v", s)
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := b.tries["up.example"]; len(got) != 1 || got[0] != 0 {
			t.Errorf("the domain that is up was tried at %v, want once and at once", got)
		}
		got, want := b.tries["down.example"], []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 4 * time.Minute}
		if len(got) < len(want)+1 {
			t.Fatalf("tried at %v", got)
		}
		for i, d := range want {
			if pause := got[i+1] - got[i]; !within(pause, d) {
				t.Errorf("pause %d is %s, want %s and up to a fifth less", i+1, pause, d)
			}
		}
	})
}

// TestPresentButRefusing: a user who is there and takes nothing is tried soon, and
// less often each time.
func TestPresentButRefusing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newParkedFor(map[string]int{"alice@localhost": 3}, func(_ string, try int) (int, error) {
			if try < 5 {
				return 0, fmt.Errorf("drain: %w", broker.ErrPutOff)
			}
			return 3, nil
		})
		p := &presence{here: map[string]bool{"alice@localhost": true}}
		dl := New(Options{Broker: b, Router: p, Log: zerolog.Nop()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- dl.Run(ctx, broker.ConsumeOptions{}) }()
		time.Sleep(time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		got := b.tries["alice@localhost"]
		if len(got) != 5 || got[0] != 0 {
			t.Fatalf("tried at %v, want at once and four times more", got)
		}
		for i := range 4 {
			if pause := got[i+1] - got[i]; !within(pause, retry<<i) {
				t.Errorf("pause %d is %s, want %s", i+1, pause, retry<<i)
			}
		}
		if s := dl.Stats(); s.Parked != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// memory is a States that a process leaves to the next.
type memory struct {
	mu     sync.Mutex
	states map[string]store.RouteState
}

func (m *memory) Load(context.Context, []int) (map[string]store.RouteState, error) {
	return m.all(), nil
}

func (m *memory) Save(route string, s store.RouteState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states[route] = s
}

func (m *memory) Forget(route string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.states, route)
}

func (m *memory) all() map[string]store.RouteState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.states)
}

// TestScheduleGoesOn: whoever takes a route over goes on with its schedule. A clock
// that was set back meanwhile does not put the next attempt off beyond the longest
// pause, and one that was set forward makes it come early.
func TestScheduleGoesOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		next time.Duration // as stored, from now
		want time.Duration
	}{
		{"in ten minutes", 10 * time.Minute, 10 * time.Minute},
		{"the clock was set back by a year", 365 * 24 * time.Hour, 30 * time.Minute},
		{"the clock was set forward by a year", -365 * 24 * time.Hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := newParkedFor(map[string]int{"down.example": 1}, func(_ string, try int) (int, error) {
					if try == 1 {
						return 0, broker.ErrPutOff
					}
					return 1, nil
				})
				states := &memory{states: map[string]store.RouteState{"down.example": {Attempts: 5, Next: time.Now().Add(c.next), First: time.Now().Add(-time.Hour), Reason: "refused"}}}
				dl := New(Options{Broker: b, Router: &presence{}, States: states, Log: zerolog.Nop()})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- dl.Run(ctx, broker.ConsumeOptions{}) }()
				time.Sleep(c.want + time.Second)
				synctest.Wait()
				if got := b.tried("down.example"); len(got) != 1 || got[0] != c.want {
					t.Errorf("tried at %v, want %s", got, c.want)
				}
				if s := states.all()["down.example"]; s.Attempts != 6 || !s.Next.After(time.Now()) {
					t.Errorf("state %+v, want the sixth failure", s)
				}
				time.Sleep(time.Hour)
				cancel()
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				if left := states.all(); len(left) != 0 {
					t.Errorf("states %v left of a route that is well", left)
				}
			})
		})
	}
}

// TestNeverParkable: a message that PARK can never take is a dead one: it must
// not stand in the way of the route for ever.
func TestNeverParkable(t *testing.T) {
	t.Parallel()
	events, bus := newRecorder(), new(trace.Bus)
	bus.Subscribe(events.add)
	dl := New(Options{Broker: &stubBroker{store: broker.ErrInvalid}, Router: &presence{}, Trace: bus, Log: zerolog.Nop()})
	done := dl.Handle(t.Context(), []*broker.Delivery{given(t, "m1"), given(t, "m2")})
	if failed := events.of(trace.Failed); len(done) != 1 || !done[0].Dead() || len(failed) != 1 || dl.Stats().Failed != 1 || dl.Stats().Parked != 0 {
		t.Errorf("%d settled, told %+v, stats %+v", len(done), failed, dl.Stats())
	}
	if n := len(dl.routes); n != 0 {
		t.Errorf("%d routes remembered", n)
	}
}
