package broker

import "testing"

// TestResumeSettles: what could not be let go before the right to the slice had
// lapsed is let go when the slice is ours again, and not held for ever.
func TestResumeSettles(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	f := newFlow(b, Deliver, nil, ConsumeOptions{}.withDefaults(), ctx.Done())
	it := &item{seq: 1, reply: "nowhere"}
	f.held[it.seq] = it
	f.later = []*item{it}
	f.resume(ctx, nil, ctx.Done())
	f.workers.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.held) != 0 || len(f.later) != 0 || !f.done.has(1) {
		t.Errorf("%d held, %d to be let go", len(f.held), len(f.later))
	}
}
