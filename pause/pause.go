// Package pause waits, as whoever may have to stop has to wait.
package pause

import (
	"context"
	"time"
)

// For waits until d has passed or ctx ends, and reports whether ctx is alive. A d of zero
// or less is no wait.
func For(ctx context.Context, d time.Duration) bool {
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
