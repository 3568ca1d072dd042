package bench

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCount: what is lost, comes twice or out of order is seen, and nobody else's message
// counts.
func TestCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receivers{run: "me", clients: []*receiver{{}, {}}}
		old := r.text(0, time.Now(), 0)
		h := hdrhistogram.New(1, time.Hour.Microseconds(), 3)
		c := r.begin(5, h)
		var texts []string
		for range 4 {
			texts = append(texts, r.text(0, time.Now(), 100))
		}
		if len(texts[0]) != 100 {
			t.Errorf("%d bytes", len(texts[0]))
		}
		time.Sleep(5 * time.Millisecond)
		r.took(0, old, time.Now()) // of the phase before
		r.took(0, "you 1 2 x", time.Now())
		r.took(0, "hello", time.Now())
		r.took(0, texts[0], time.Now())
		r.took(0, texts[2], time.Now())
		r.took(0, texts[1], time.Now())
		r.took(0, texts[1], time.Now())
		last := time.Now()
		r.took(1, r.text(1, last, 100), last) // another recipient has an order of its own
		at, missing := c.wait(t.Context(), time.Second)
		if missing != 1 || c.twice != 1 || c.disorder != 1 || !at.Equal(last) {
			t.Errorf("missing %d, twice %d, disorder %d, last %s", missing, c.twice, c.disorder, at)
		}
		if h.TotalCount() != 4 || h.Max() < 4900 || h.Max() > 5100 || h.Min() > 10 {
			t.Errorf("latencies %d, from %d to %d", h.TotalCount(), h.Min(), h.Max())
		}
		r.took(0, texts[3], time.Now()) // too late for anybody
		if c.got != 4 {
			t.Errorf("%d counted", c.got)
		}
	})
}

// TestCountAll: whoever waits is woken by the last message, and by the end of the run.
func TestCountAll(t *testing.T) {
	t.Parallel()
	r := &receivers{run: "me", clients: []*receiver{{}}}
	c := r.begin(2, nil)
	go func() {
		for range 2 {
			r.took(0, r.text(0, time.Now(), 10), time.Now())
		}
	}()
	if _, missing := c.wait(t.Context(), time.Hour); missing != 0 {
		t.Errorf("%d missing", missing)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, missing := r.begin(3, nil).wait(ctx, time.Hour); missing != 3 {
		t.Errorf("%d missing", missing)
	}
}

func TestShare(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 7, 64, 100} {
		sum := 0
		for i := range 8 {
			sum += share(n, 8, i)
		}
		if sum != n {
			t.Errorf("%d shared out as %d", n, sum)
		}
	}
}
