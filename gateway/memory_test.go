package main

import "testing"

// TestHeapWastes: memory goes back to the system after a burst, not in its midst, and not
// for a little.
func TestHeapWastes(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	before := heap{allocated: 1000 * mb}
	for _, tt := range []struct {
		name, reason string
		now          heap
		want         bool
	}{
		{"after a burst", "half is garbage or free", heap{1001 * mb, 100 * mb, 200 * mb}, true},
		{"in a burst", "the runtime collects soon", heap{1200 * mb, 100 * mb, 200 * mb}, false},
		{"tight", "nothing to be had", heap{1001 * mb, 100 * mb, 120 * mb}, false},
		{"small", "not worth it", heap{1000*mb + 1, 4 * mb, 10 * mb}, false},
		{"at the start", "no collection yet", heap{1010 * mb, 0, 10 * mb}, false},
	} {
		if got := tt.now.wastes(before); got != tt.want {
			t.Errorf("%s: %t: %s", tt.name, got, tt.reason)
		}
	}
}
