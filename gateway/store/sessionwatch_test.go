package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/jid"
)

// TestClockAhead: a node whose clock is ahead does not keep a resource that is
// bound anew elsewhere.
func TestClockAhead(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, ahead := c.node(), c.node()
	old := ahead.bind("bob@localhost/x")
	ahead.sessions.mu.Lock()
	claim := ahead.sessions.claims[sessionKey(old.full)]
	claim.binding.since += time.Hour.Nanoseconds()
	claim.wrote = never
	ahead.sessions.mu.Unlock()
	old.available(7)
	a.sees("bob@localhost", "x 7")
	bob := a.online("bob@localhost/x", 1)
	become(t, "the old session is closed", old.conflicted)
	for _, n := range []*node{a, ahead} {
		n.sees("bob@localhost", "x 1")
	}
	if bob.conflicted() {
		t.Error("the new session is closed")
	}
}

// TestGarbageLeaves: what another process has made unreadable is no session any
// more, and what it puts right is one again.
func TestGarbageLeaves(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.node()
	c.living.set("OTHER", true)
	full := jid.MustParse("bob@localhost/x")
	put := func(value string) {
		t.Helper()
		if _, err := a.sessions.bucket().PutString(soon(t), sessionKey(full), value); err != nil {
			t.Fatal(err)
		}
	}
	good := fmt.Sprintf(`{"jid":%q,"node":"OTHER","number":1,"since":1,"priority":7,"available":true}`, full)
	put(good)
	a.sees("bob@localhost", "x 7")
	put("{")
	a.sees("bob@localhost")
	put(good)
	a.sees("bob@localhost", "x 7")
}

// bucketOf is a bucket that does not say how it is.
type bucketOf struct {
	jetstream.KeyValue
	err error
}

func (b *bucketOf) Status(context.Context) (jetstream.KeyValueStatus, error) { return nil, b.err }

// TestProgress: a watcher is replaced when its bucket is another one, and when it
// stands still while the bucket does not.
func TestProgress(t *testing.T) {
	t.Parallel()
	made := time.Now()
	info := func(created time.Time, last uint64) *jetstream.StreamInfo {
		return &jetstream.StreamInfo{Created: created, State: jetstream.StreamState{LastSeq: last}}
	}
	p := progress{created: made, seen: 5}
	for i, step := range []struct {
		seen uint64
		info *jetstream.StreamInfo
		want error
	}{
		{5, info(made, 5), nil},
		{5, info(made, 6), nil}, // on its way
		{6, info(made, 9), nil}, // and it goes on
		{6, info(made, 9), nil},
		{9, info(made, 9), nil},
		{9, info(made, 10), nil},
		{9, info(made, 11), errBehind},
		{9, info(made.Add(1), 9), errBucketNew},
	} {
		p.seen = step.seen
		if err := p.judge(step.info); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
	}
	for err, want := range map[error]error{
		jetstream.ErrStreamNotFound: errBucketNew, jetstream.ErrBucketNotFound: errBucketNew, context.DeadlineExceeded: nil,
	} {
		if got := p.check(t.Context(), &bucketOf{err: err}, time.Minute); !errors.Is(got, want) {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}
