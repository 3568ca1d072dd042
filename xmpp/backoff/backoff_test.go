package backoff

import (
	"math"
	"testing"
	"time"
)

// TestPause: it doubles up to the longest, with a fifth of chance, however often and however
// long.
func TestPause(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		first, longest time.Duration
		failures       int
		want           time.Duration
	}{
		{time.Second, time.Minute, 1, time.Second},
		{time.Second, time.Minute, 0, time.Second},
		{time.Second, time.Minute, 4, 8 * time.Second},
		{time.Second, time.Minute, 6, 32 * time.Second},
		{time.Second, time.Minute, 7, time.Minute},
		{30 * time.Second, 30 * time.Minute, 30, 30 * time.Minute}, // doubled so often it is no int64 any more
		{30 * time.Second, 30 * time.Minute, 31, 30 * time.Minute},
		{12 * time.Hour, 12 * time.Hour, 64, 12 * time.Hour},
		{time.Nanosecond, math.MaxInt64, 63, 1 << 62},
		{time.Nanosecond, math.MaxInt64, 64, math.MaxInt64},
		{time.Second, time.Minute, math.MaxInt, time.Minute},
		{time.Hour, time.Minute, 1, time.Minute}, // the longest is the longest
		{0, time.Minute, 5, 0},
		{-time.Second, time.Minute, 5, 0},
		{time.Second, 0, 1, 0},
		{time.Second, -time.Second, 1, 0},
	} {
		for range 20 {
			if got := Pause(tt.first, tt.longest, tt.failures); got > tt.want || got < tt.want-tt.want/5-1 {
				t.Errorf("%s up to %s, %d failures: %s, want %s or up to a fifth less", tt.first, tt.longest, tt.failures, got, tt.want)
			}
		}
	}
}

// FuzzPause: whatever is asked for is a time that can be waited for.
func FuzzPause(f *testing.F) {
	f.Add(int64(30*time.Second), int64(30*time.Minute), 30)
	f.Fuzz(func(t *testing.T, first, longest int64, failures int) {
		if got := Pause(time.Duration(first), time.Duration(longest), failures); got < 0 || int64(got) > max(longest, 0) {
			t.Error(got)
		}
	})
}
