package store

import (
	"context"
	"fmt"
	"testing"

	"mcmt2xmpp/xmpp/router"
)

// TestSessionsAllocateNothing: looking up who is here costs each message.
func TestSessionsAllocateNothing(t *testing.T) {
	c := newCluster(t)
	a, b := c.node(), c.node()
	here, there := a.online("bob@localhost/x", 1), b.online("carol@localhost/y", 1)
	a.sees("carol@localhost", "y 1")
	for _, s := range []*client{here, there} {
		bare := s.full.Bare()
		if n := testing.AllocsPerRun(1000, func() { _ = a.sessions.Sessions(bare) }); n != 0 {
			t.Errorf("%s: %v allocations", s.full, n)
		}
	}
}

func BenchmarkSessions(b *testing.B) {
	c := newCluster(b)
	n := c.node()
	bare := n.online("bob@localhost/x", 1).full.Bare()
	memory := router.NewRegistry()
	if _, err := memory.Bind(n.client("bob@localhost/x"), 1); err != nil {
		b.Fatal(err)
	}
	for name, r := range map[string]router.Registry{"memory": memory, "shared": n.sessions} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if len(r.Sessions(bare)) != 1 {
					b.Fatal("not there")
				}
			}
		})
	}
}

// BenchmarkElsewhere sends bursts of 64 messages in custody to a session of
// another node, each with one proof, as delivery does for a route.
func BenchmarkElsewhere(b *testing.B) {
	const burst = 64
	for _, routes := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(routes, " routes"), func(b *testing.B) {
			c := newCluster(b)
			near, far := c.node(), c.node()
			var sessions []router.Session
			for i := range routes {
				s := far.online(fmt.Sprintf("bob%d@localhost/x", i), 1)
				s.discard = true
				sessions = append(sessions, near.elsewhere(s))
			}
			b.ResetTimer()
			done := make(chan error, routes)
			for i, s := range sessions {
				go func() { done <- bursts(s, b.N/routes+min(1, max(0, b.N%routes-i)), burst) }()
			}
			for range sessions {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*burst)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func bursts(s router.Session, n, size int) error {
	st := message("bob@localhost", "m", "Your parcel will be delivered today between two and four.")
	for range n {
		for range size {
			if _, err := s.SendKept(context.Background(), st); err != nil {
				return err
			}
		}
		if _, err := s.Prove(context.Background()); err != nil {
			return err
		}
	}
	return nil
}
