package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// held has those who store in INGEST wait until publishAll.
func held(b *Broker) *joint {
	j := b.joints[Ingest]
	j.mu.Lock()
	defer j.mu.Unlock()
	j.busy = true
	return j
}

// holds says whether n wait.
func (j *joint) holds(n int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.waiting) == n
}

// together has those stores wait for one batch, and returns what each of them says.
func together(ctx context.Context, t *testing.T, b *Broker, stores ...[]Message) []error {
	t.Helper()
	j := held(b)
	said := make([]chan error, len(stores))
	for i, msgs := range stores {
		said[i] = make(chan error, 1)
		go func() { said[i] <- b.Store(ctx, msgs...) }()
		eventually(t, "it waits", func() bool { return j.holds(i + 1) })
	}
	b.publishAll(j)
	var errs []error
	for _, c := range said {
		errs = append(errs, <-c)
	}
	return errs
}

// batches are the messages of INGEST by the batch that they came in.
func batches(t *testing.T, b *Broker) map[string]int {
	t.Helper()
	all := make(map[string]int)
	s := b.streams[streamIngest]
	for seq := uint64(1); seq <= s.CachedInfo().State.LastSeq || seq <= messages(t, b, streamIngest); seq++ {
		m, err := s.GetMsg(testContext(t), seq)
		if err != nil {
			t.Fatal(err)
		}
		all[m.Header.Get(server.JSBatchId)]++
	}
	return all
}

// Who stores at the same time shares a batch.
func TestJoint(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	text := func(int) []byte { return []byte("text") }
	for i, err := range together(testContext(t), t, b, batch(3, "a", text), batch(5, "b", text), batch(2, "c", text)) {
		if err != nil {
			t.Errorf("store %d: %v", i, err)
		}
	}
	if all := batches(t, b); len(all) != 1 {
		t.Errorf("batches %v, want one of ten messages", all)
	}
	// As many as fit.
	for i, err := range together(testContext(t), t, b, batch(600, "d", text), batch(400, "e", text), batch(2, "f", text), batch(2, "g", text)) {
		if err != nil {
			t.Errorf("store %d: %v", i, err)
		}
	}
	if all := batches(t, b); len(all) != 3 {
		t.Errorf("batches %v", all)
	}
}

// That one has stored a message before, which the server refuses in a batch, is no matter of
// the others.
func TestJointApart(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	text := func(int) []byte { return []byte("text") }
	before := batch(2, "again", text)
	if err := b.Store(testContext(t), before[0]); err != nil {
		t.Fatal(err)
	}
	errs := together(testContext(t), t, b, batch(3, "good", text), before)
	if errs[0] != nil || errs[1] != nil {
		t.Errorf("errors %v", errs)
	}
	if n := messages(t, b, streamIngest); n != 5 {
		t.Errorf("%d messages stored, want 5", n)
	}
	if st := b.Stats().Stages[Ingest]; st.Stored != 5 || st.Duplicates != 1 {
		t.Errorf("stats %+v", st)
	}
}

// Who gives up while he waits has stored nothing, and who gives up later hears how it went.
func TestJointGivesUp(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	j := held(b)
	ctx, cancel := context.WithCancel(testContext(t))
	said := make(chan error)
	for i := range 2 {
		go func() { said <- b.Store(ctx, batch(2, fmt.Sprint("r", i), func(int) []byte { return nil })...) }()
	}
	eventually(t, "both wait", func() bool { return j.holds(2) })
	j.mu.Lock()
	taken := j.waiting[0]
	j.waiting = j.waiting[1:]
	j.mu.Unlock()
	cancel()
	if err := <-said; !errors.Is(err, context.Canceled) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("who waits hears %v", err)
	}
	taken.done <- nil
	if err := <-said; err != nil {
		t.Errorf("who was taken hears %v", err)
	}
	b.publishAll(j)
	if n := messages(t, b, streamIngest); n != 0 {
		t.Errorf("%d messages stored", n)
	}
}
