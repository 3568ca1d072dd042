package admin

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates bounds the requests of each caller. The zero value knows none.
type rates struct {
	mu      sync.Mutex
	callers map[rateKey]*rate.Limiter
}

// rateKey is whom one bound is for: an operator at an address, which is a /64 where
// it is of IPv6, since a host has all of one.
type rateKey struct {
	name string
	from netip.Prefix
}

// maxCallers bounds those that are kept. Only who was let in is.
const maxCallers = 4096

// take takes one request off the caller's rate, or returns how long there is none.
func (l *rates) take(who caller, o PeerOptions) time.Duration {
	if o.Rate <= 0 {
		return 0
	}
	r := l.limiter(who, o).Reserve()
	wait := r.Delay()
	if wait > 0 {
		r.Cancel() // it is not waited for
	}
	return wait
}

// limiter is that of a caller, with the rate that holds now.
func (l *rates) limiter(who caller, o PeerOptions) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	key, burst := rateKey{who.name, network(who.addr)}, max(1, o.Burst)
	found := l.callers[key]
	switch {
	case found == nil:
		l.makeRoom()
		found = rate.NewLimiter(rate.Limit(o.Rate), burst)
		l.callers[key] = found
	case found.Limit() != rate.Limit(o.Rate) || found.Burst() != burst:
		found.SetLimit(rate.Limit(o.Rate))
		found.SetBurst(burst)
	}
	return found
}

// makeRoom forgets who has not asked for a while and, where that is nobody, all.
func (l *rates) makeRoom() {
	if l.callers == nil {
		l.callers = make(map[rateKey]*rate.Limiter)
	}
	if len(l.callers) < maxCallers {
		return
	}
	for key, r := range l.callers {
		if r.Tokens() >= float64(r.Burst()) {
			delete(l.callers, key)
		}
	}
	if len(l.callers) >= maxCallers {
		clear(l.callers)
	}
}

// network is what one host may have of addresses.
func network(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // a Unix socket
	}
	return p
}
