package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// senders inject messages, one for each recipient, so that the order of acceptance
// is known: every other over SMTP, the others over HTTP. What they hear is 250 or
// 202, or that they are to come again, and never nothing.
type senders struct {
	t                 *testing.T
	at                func(i int) *gateway // that the i-th talks to
	text              func(string) string  // what a message says
	pace              time.Duration        // the rest between two messages
	accepted, refused atomic.Int64
	end               context.CancelFunc
	running           sync.WaitGroup

	mu     sync.Mutex
	taken  map[string][]string // by recipient, in order
	counts []atomic.Int64      // taken, by sender
}

func startSenders(t *testing.T, at func(i int) *gateway, users []string, text func(string) string, pace time.Duration) *senders {
	t.Helper()
	s := &senders{t: t, at: at, text: text, pace: pace, taken: make(map[string][]string), counts: make([]atomic.Int64, len(users))}
	ctx, cancel := context.WithCancel(context.Background())
	s.end = cancel
	t.Cleanup(func() { cancel(); s.running.Wait() })
	for i, u := range users {
		s.running.Go(func() { s.run(ctx, i, u) })
	}
	return s
}

func (s *senders) run(ctx context.Context, i int, to string) {
	for n := 0; ctx.Err() == nil; n++ {
		body := s.text(fmt.Sprintf("%s message %d", to, n))
		err := inject(context.WithoutCancel(ctx), s.at(i), i%2 == 0, to, body)
		if err == nil {
			s.mu.Lock()
			s.taken[to] = append(s.taken[to], body)
			s.mu.Unlock()
			s.accepted.Add(1)
			s.counts[i].Add(1)
		} else {
			if err := wantsLater(err); err != nil {
				s.t.Errorf("%s-%d: %v", to, n, err)
			}
			s.refused.Add(1)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.pace):
		}
	}
}

// flow waits until each sender has had a few messages taken.
func (s *senders) flow(when string) {
	s.t.Helper()
	for i := range s.counts {
		before := s.counts[i].Load()
		s.at(i).eventually("messages accepted "+when, func() bool { return s.counts[i].Load() >= before+5 })
	}
}

// takenBy is the last message that was taken for each of the users.
func (s *senders) takenBy(users []string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := make(map[string]string)
	for _, u := range users {
		if n := len(s.taken[u]); n > 0 {
			last[u] = s.taken[u][n-1]
		}
	}
	return last
}

// refuse waits until a few messages were refused.
func (s *senders) refuse() {
	s.t.Helper()
	before := s.refused.Load()
	s.at(0).eventually("messages refused", func() bool { return s.refused.Load() >= before+10 })
}

// stop ends the senders and returns what was taken, by recipient.
func (s *senders) stop() map[string][]string {
	s.end()
	s.running.Wait()
	return s.taken
}
