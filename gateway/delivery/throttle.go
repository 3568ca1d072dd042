package delivery

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"mcmt2xmpp/gateway/config"
)

// throttle bounds the messages to each domain (outbound_throttle_messages). Each
// process of a cluster has its own.
type throttle struct {
	mu      sync.Mutex
	domains map[string]*bucket
}

type bucket struct {
	of     config.Rate
	tokens *rate.Limiter
}

// allow returns how many of want messages may go to the domain now; where none
// may, after how long one will.
func (t *throttle) allow(domain string, of config.Rate, want int) (n int, wait time.Duration) {
	if of.N == 0 || of.Per <= 0 {
		return want, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.domains[domain]
	if b == nil || b.of != of {
		if t.domains == nil {
			t.domains = make(map[string]*bucket)
		}
		b = &bucket{of, rate.NewLimiter(rate.Limit(float64(of.N)/of.Per.Seconds()), of.N)}
		t.domains[domain] = b
	}
	now := time.Now()
	n = min(want, int(b.tokens.TokensAt(now)))
	if n > 0 && b.tokens.AllowN(now, n) {
		return n, 0
	}
	missing := 1 - b.tokens.TokensAt(now)
	return 0, max(time.Duration(missing/float64(b.tokens.Limit())*float64(time.Second)), time.Millisecond)
}
