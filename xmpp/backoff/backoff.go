// Package backoff says how long to wait before something is tried again that has failed
// (RFC 6120 §3.3 for streams), and waits as whoever may have to stop has to.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Pause is how long to wait after so many failures in a row, from 1; fewer count as 1. It is
// first, doubles up to longest, and has up to a fifth less, so that what failed together is
// not tried together. It is never negative, whatever it is asked for.
func Pause(first, longest time.Duration, failures int) time.Duration {
	d := max(longest, 0)
	// A shift that would overflow is beyond longest in any case.
	if n := max(failures-1, 0); first <= d>>min(n, 63) {
		d = max(first, 0) << n
	}
	return d - rand.N(d/5+1)
}

// Wait waits until d has passed or ctx ends, and reports whether ctx is alive. A d of zero
// or less is no wait.
func Wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
