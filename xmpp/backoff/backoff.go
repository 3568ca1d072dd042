// Package backoff says how long to wait before something is tried again that has failed
// (RFC 6120 §3.3 for streams).
package backoff

import (
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
