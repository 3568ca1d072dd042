package backoff

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestWait: it waits for as long as it is told, and no longer than ctx lives.
func TestWait(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		d, life time.Duration // life of ctx; zero: it has ended
		want    time.Duration
		alive   bool
	}{
		"whole":                {time.Minute, time.Hour, time.Minute, true},
		"no time":              {0, time.Hour, 0, true},
		"less than no time":    {-time.Minute, time.Hour, 0, true},
		"cut short":            {time.Hour, time.Minute, time.Minute, false},
		"ended before":         {time.Hour, 0, 0, false},
		"ended before no time": {0, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.life)
				defer cancel()
				start := time.Now()
				if alive := Wait(ctx, tc.d); alive != tc.alive {
					t.Errorf("reports %t", alive)
				}
				if took := time.Since(start); took != tc.want { // of the bubble's clock
					t.Errorf("waited %v, want %v", took, tc.want)
				}
			})
		})
	}
}
