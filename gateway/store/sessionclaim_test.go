package store

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

// TestConflictElsewhere binds a full JID here and there: the later session holds
// and the earlier one is closed, to and fro.
func TestConflictElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, d := c.node(), c.node(), c.node()
	old := a.online("bob@localhost/x", 1)
	for i := range 3 {
		n, other := b, a
		if i%2 == 1 {
			n, other = a, b
		}
		n.sees("bob@localhost", fmt.Sprintf("x %d", i+1))
		next := n.bind("bob@localhost/x")
		if got := n.list("bob@localhost"); !slices.Equal(got, []string{"x"}) {
			t.Errorf("where it is bound, %q is known at once", got)
		}
		become(t, "the old session is closed", old.conflicted)
		become(t, "the old session is not bound any more", func() bool { return len(other.sessions.All()) == 0 })
		if other.router.Unbind(old) {
			t.Error("the end of the old session unbinds something")
		}
		next.available(int8(i + 2))
		for _, any := range []*node{a, b, d} {
			any.sees("bob@localhost", fmt.Sprintf("x %d", i+2))
		}
		if next.conflicted() {
			t.Error("the new session is closed")
		}
		old = next
	}
	d.keys(1)
}

// TestConflictAtOnce binds a full JID on all nodes at the same instant: one
// session is left, the same one for all.
func TestConflictAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	nodes := []*node{c.node(), c.node(), c.node()}
	const rounds = 20
	all := make([][]*client, rounds)
	for round := range rounds {
		full := fmt.Sprintf("bob%d@localhost/x", round)
		clients := make([]*client, len(nodes))
		var at sync.WaitGroup
		for i, n := range nodes {
			at.Go(func() { clients[i] = n.online(full, int8(i)) })
		}
		at.Wait()
		all[round] = clients
	}
	for round, clients := range all {
		bare := fmt.Sprintf("bob%d@localhost", round)
		become(t, "all but one are closed, and that one is known", func() bool {
			left := -1
			for i, s := range clients {
				if !s.conflicted() {
					if left >= 0 {
						return false
					}
					left = i
				}
			}
			for _, n := range nodes {
				if !slices.Equal(n.list(bare), []string{fmt.Sprintf("x %d", left)}) {
					return false
				}
			}
			return true
		})
	}
	nodes[0].keys(rounds)
	conflicts := uint64(0)
	for _, n := range nodes {
		conflicts += n.sessions.Stats().Conflicts
	}
	if want := uint64(rounds * (len(nodes) - 1)); conflicts != want {
		t.Errorf("%d conflicts counted, want %d", conflicts, want)
	}
}

// TestConflictApart binds a full JID on two nodes that cannot hear of each other.
// Whichever writes first, and however alike the two are, it is the later session
// that is left.
func TestConflictApart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		first    string
		priority int8 // of the earlier one; that of the later is 2
	}{{"earlier", 1}, {"later", 1}, {"earlier", 2}, {"later", 2}} {
		t.Run(fmt.Sprint(tc.first, " ", tc.priority), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			a, b := c.node(), c.node()
			releaseA, releaseB := a.gate.hold(), b.gate.hold()
			earlier := a.online("bob@localhost/x", tc.priority)
			later := b.online("bob@localhost/x", 2)
			one, other := releaseA, releaseB
			if tc.first == "later" {
				one, other = releaseB, releaseA
			}
			one()
			d := c.node()
			become(t, "one is known", func() bool { return len(d.list("bob@localhost")) == 1 })
			other()
			become(t, "the earlier one is closed", earlier.conflicted)
			for _, n := range []*node{a, b, d} {
				n.sees("bob@localhost", "x 2")
			}
			if later.conflicted() {
				t.Error("the later one is closed")
			}
		})
	}
}

// TestServerRestart: the bucket is in memory, and gone when the server has
// restarted. What was bound, changed and unbound meanwhile is known afterwards.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	stays, changes, ends := a.online("bob@localhost/stays", 1), a.online("bob@localhost/changes", 2), a.online("bob@localhost/ends", 3)
	other := b.online("bob@localhost/other", 4)
	for _, n := range []*node{a, b} {
		become(t, "all are known", func() bool { return len(n.list("bob@localhost")) == 4 })
	}
	for round := range 2 {
		c.nats.stop()
		changes.available(int8(10 + round))
		if round == 0 {
			a.router.Unbind(ends)
			a.online("bob@localhost/new", 5)
		}
		if err := a.router.Reachable(jid.MustParse("bob@localhost")); !err {
			t.Error("sessions here are not found while the server is away")
		}
		if err := other.Send(soon(t), message("bob@localhost", "m", "direct")); err != nil {
			t.Error(err)
		}
		if _, err := b.router.Deliver(soon(t), message(stays.full.String(), "m", "away")); err == nil {
			t.Error("a message for another node is taken while the server is away")
		}
		c.nats.start()
		want := []string{"stays 1", fmt.Sprint("changes ", 10+round), "other 4", "new 5"}
		for _, n := range []*node{a, b} {
			n.sees("bob@localhost", want...)
		}
		become(t, "a message passes again", func() bool {
			took, err := b.router.Deliver(soon(t), message(stays.full.String(), "m", "back"))
			return err == nil && len(took) == 1
		})
		a.keys(4)
	}
}

// TestBucketLost: the bucket disappears without any connection being lost, as
// with the one server that had it.
func TestBucketLost(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	a.online("bob@localhost/a", 1)
	b.sees("bob@localhost", "a 1")
	if _, err := a.broker.KV(soon(t), jetstream.KeyValueConfig{Bucket: "other"}); err != nil {
		t.Fatal(err)
	}
	deleteBucket(t, a)
	b.online("bob@localhost/b", 2)
	d := c.node()
	for _, n := range []*node{a, b, d} {
		n.sees("bob@localhost", "a 1", "b 2")
	}
	a.keys(2)
}

func deleteBucket(t *testing.T, n *node) {
	t.Helper()
	js := outsideJetStream(t, n)
	if err := js.DeleteKeyValue(soon(t), sessionBucket); err != nil {
		t.Fatal(err)
	}
}

// TestForeignHand changes entries behind the back of their node: it puts its own
// right again, removes those of sessions that it has not, and reads others as
// nothing.
func TestForeignHand(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	bob := a.online("bob@localhost/x", 1)
	b.sees("bob@localhost", "x 1")
	key := sessionKey(bob.full)
	kv := b.sessions.bucket()
	mine, err := kv.Get(soon(t), key)
	if err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func() error{
		"removed": func() error { return kv.Delete(soon(t), key) },
		"garbage": func() error { _, err := kv.PutString(soon(t), key, "{"); return err },
		"another's": func() error {
			_, err := kv.PutString(soon(t), key, `{"jid":"alice@localhost/x","node":"N","number":1}`)
			return err
		},
		"a former one": func() error {
			_, err := kv.PutString(soon(t), key, fmt.Sprintf(`{"jid":%q,"node":%q,"number":77,"since":1,"priority":9,"available":true}`, bob.full, a.broker.Node()))
			return err
		},
		"an earlier one": func() error {
			_, err := kv.PutString(soon(t), key, fmt.Sprintf(`{"jid":%q,"node":"N","number":77,"since":1,"priority":9,"available":true}`, bob.full))
			return err
		},
	} {
		before, err := kv.Get(soon(t), key)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		become(t, what+" is put right", func() bool {
			now, err := kv.Get(soon(t), key)
			return err == nil && now.Revision() > before.Revision()+1 && string(now.Value()) == string(mine.Value())
		})
		b.sees("bob@localhost", "x 1")
	}
	if bob.conflicted() {
		t.Error("the session is closed")
	}
	// A session of ours that is not bound.
	stray := jid.MustParse("bob@localhost/stray")
	if _, err := kv.PutString(soon(t), sessionKey(stray), fmt.Sprintf(`{"jid":%q,"node":%q,"number":99,"since":1}`, stray, a.broker.Node())); err != nil {
		t.Fatal(err)
	}
	b.keys(1)
	b.sees("bob@localhost", "x 1")
}

// TestLateWord: what a writer learns too late, of a bucket that is another one by now
// or of an entry that has changed since, is looked at again.
func TestLateWord(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.node()
	bob := a.online("bob@localhost/x", 1)
	a.keys(1)
	r := a.sessions
	r.mu.Lock()
	cl := r.claims[sessionKey(bob.full)]
	r.mu.Unlock()
	become(t, "the writer is done", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return !cl.queued && !cl.busy })
	r.end() // and no other one begins
	r.work.Wait()
	for name, tc := range map[string]struct {
		round int
		rev   uint64
	}{"of another bucket": {-1, 1 << 40}, "of an earlier entry": {0, 0}} {
		r.mu.Lock()
		before := cl.rev
		cl.queued = false
		w := wish{round: r.round + tc.round, session: bob, binding: cl.binding, shown: shown{rank: 1}}
		r.mu.Unlock()
		r.written(cl, w, tc.rev)
		if cl.rev != before || !cl.queued {
			t.Errorf("written, %s: position %d after %d, looked at again: %v", name, cl.rev, before, cl.queued)
		}
	}
	cl.queued = false
	r.found(cl, wish{round: r.round - 1}, nil)
	if cl.rev == 0 || !cl.queued {
		t.Errorf("missing in another bucket: position %d, looked at again: %v", cl.rev, cl.queued)
	}
}

// TestMarkers: what is left of a removed entry goes too, and leaves nothing.
func TestMarkers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.node()
	bob := a.online("bob@localhost/x", 1)
	a.keys(1)
	a.router.Unbind(bob)
	a.keys(0)
	js := outsideJetStream(t, a)
	s, err := js.Stream(soon(t), "KV_"+sessionBucket)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetLastMsgForSubject(soon(t), "$KV."+sessionBucket+"."+sessionKey(bob.full))
	if err != nil {
		t.Fatal(err)
	}
	if ttl := m.Header.Get(jetstream.MsgTTLHeader); ttl != markerTTL.String() {
		t.Errorf("the marker lives for %q, want %v", ttl, markerTTL)
	}
}

// TestCloseLeavesNothing: a node that ends takes its entries with it, those of
// sessions that are still bound too.
func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	for i := range 100 {
		a.online(fmt.Sprintf("bob@localhost/%d", i), 1) // over the limit: bound as far as it goes
		if i == 3 {
			break
		}
	}
	become(t, "all are known", func() bool { return len(b.list("bob@localhost")) == 4 })
	if err := a.sessions.Close(soon(t)); err != nil {
		t.Error(err)
	}
	b.keys(0)
	b.sees("bob@localhost")
}

// TestCloseWithoutServer: where the entries cannot be removed, Close ends with ctx
// and says what is left.
func TestCloseWithoutServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.node()
	a.online("bob@localhost/x", 1)
	a.keys(1)
	c.nats.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := a.sessions.Close(ctx); err == nil {
		t.Error("it says that the entry is removed")
	}
	c.nats.start()
}

// TestSessionsAlone: before Open and without other nodes it is a registry in memory.
func TestSessionsAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a := c.node()
	r := NewSessions(SessionsOptions{Broker: a.broker})
	rt := router.New(router.Options{Registry: r, MaxSessions: 2})
	n := &node{t: t, router: rt, sessions: r}
	x, y := n.bind("bob@localhost/x"), n.bind("bob@localhost/y")
	if got := r.Sessions(x.full.Bare()); len(got) != 2 || got[0] != router.Session(x) || got[1] != router.Session(y) {
		t.Errorf("sessions %v", got)
	}
	again := n.bind("bob@localhost/x")
	if !x.conflicted() || r.Session(x.full) != router.Session(again) || len(r.All()) != 2 {
		t.Error("the old session is not replaced")
	}
	if r.Unbind(x) || !r.Unbind(again) || !r.Unbind(y) || len(r.All()) != 0 {
		t.Error("unbind says the wrong thing")
	}
	if err := r.Close(soon(t)); err != nil {
		t.Error(err)
	}
}
