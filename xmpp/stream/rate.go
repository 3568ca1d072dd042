package stream

import (
	"context"
	"errors"
	"os"
	"time"

	"mcmt2xmpp/xmpp/backoff"
)

// Rate is so many in so much time, and as many at once. The zero value is no bound.
type Rate struct {
	N   int
	Per time.Duration
}

// bucket holds somebody to a rate by delay. What is taken is paid for afterwards, so
// that one thing larger than the rate passes too.
type bucket struct {
	of   Rate
	paid time.Time // when all that was taken will be paid for
}

func (b *bucket) take(n int, now time.Time) {
	if b.of.N <= 0 || n <= 0 {
		return
	}
	if full := now.Add(-b.of.Per); b.paid.Before(full) {
		b.paid = full // a pause earns no more than the rate at once
	}
	b.paid = b.paid.Add(time.Duration(float64(n) / float64(b.of.N) * float64(b.of.Per)))
}

// debt is how long nothing more may be taken.
func (b *bucket) debt(now time.Time) time.Duration {
	if b.of.N <= 0 {
		return 0
	}
	return max(0, b.paid.Sub(now))
}

// errThrottled is the read error of a peer that has sent more than its rate. The read
// may be made again after the debt.
var errThrottled = errors.New("peer sends too fast")

// debt is how long the peer has to wait before more is read.
func (s *Stream) debt() time.Duration {
	if s.user.IsZero() {
		return 0
	}
	now := time.Now()
	return max(s.stanzas.debt(now), s.in.bytes.debt(now))
}

// hold reads nothing for as long as d, so that the peer's data back up to it.
func (s *Stream) hold(ctx context.Context, d time.Duration, deadline time.Time) error {
	if s.o.Throttled != nil {
		s.o.Throttled(d)
	}
	late := false
	if !deadline.IsZero() && time.Until(deadline) < d {
		d, late = time.Until(deadline), true
	}
	if !backoff.Wait(ctx, d) {
		return context.Cause(ctx)
	}
	if late {
		return os.ErrDeadlineExceeded
	}
	return nil
}
