package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// elsewhere is the session as another node sees it.
func (n *node) elsewhere(c *client) router.Session {
	n.t.Helper()
	var s router.Session
	become(n.t, "the session is known", func() bool { s = n.router.Session(c.full); return s != nil })
	return s
}

// blocks makes Prove wait until release, or its context ends. begun gets one for
// each call, over one for each that has ended.
func (c *client) blocks() (begun, over chan struct{}, release func()) {
	begun, over = make(chan struct{}, 1<<16), make(chan struct{}, 1<<16)
	proven := make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prove = func(ctx context.Context) (router.Proof, error) {
		begun <- struct{}{}
		defer func() { over <- struct{}{} }()
		select {
		case <-proven:
			return router.ProofAck, nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return begun, over, sync.OnceFunc(func() { close(proven) })
}

func proving(ctx context.Context, s router.Session) chan error {
	done := make(chan error, 1)
	go func() {
		proof, err := s.Prove(ctx)
		if err == nil && proof != router.ProofAck {
			err = fmt.Errorf("proof %q", proof)
		}
		done <- err
	}()
	return done
}

func ends(t *testing.T, what string, done chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(sessionPatience):
		t.Fatalf("%s: it does not end", what)
		return nil
	}
}

// TestProveLong: a proof takes as long as it takes, however short a request may
// be, and while it goes on it is not begun again. (Behind a lost answer it may be.)
func TestProveLong(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.times.ask = 40 * time.Millisecond
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	begun, _, release := bob.blocks()
	done := proving(context.Background(), a.elsewhere(bob))
	<-begun
	select {
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(10 * c.times.ask): // for several requests
	}
	if len(begun) > 0 {
		t.Error("it was begun again")
	}
	release()
	if err := ends(t, "proven", done); err != nil {
		t.Error(err)
	}
}

// TestProveEnds: with its context, with the session, and with the patience of
// nobody: what is not asked for any more is not waited for.
func TestProveEnds(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.times.linger = 50 * time.Millisecond
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	begun, over, _ := bob.blocks()
	s := a.elsewhere(bob)
	ctx, cancel := context.WithCancel(context.Background())
	done := proving(ctx, s)
	<-begun
	cancel()
	if err := ends(t, "context", done); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that of the context", err)
	}
	<-over
	bob.mu.Lock()
	bob.prove = func(context.Context) (router.Proof, error) { return "", errors.New("broken pipe") }
	bob.mu.Unlock()
	if _, err := s.Prove(soon(t)); err == nil {
		t.Error("a session that fails has proven")
	}
	b.router.Unbind(bob)
	if _, err := s.Prove(soon(t)); !errors.Is(err, errSessionGone) {
		t.Errorf("a session that is over: %v", err)
	}
	if err := s.Send(soon(t), message("bob@localhost", "m", "late")); !errors.Is(err, errSessionGone) {
		t.Errorf("a session that is over: %v", err)
	}
	if st := a.sessions.Stats(); st.Unproven != 3 || st.SendFailed != 1 {
		t.Errorf("counted %+v", st)
	}
}

// TestProofsHoldNothingUp has more proofs under way than requests are answered at
// a time: stanzas pass all the same, and so do the proofs in the end.
func TestProofsHoldNothingUp(t *testing.T) {
	t.Parallel()
	for _, n := range []int{64, 4096 + 64} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.times.ask = time.Hour // no place is given back before release
			a, b := c.node(), c.node()
			slow, quick := b.online("bob@localhost/slow", 1), b.online("carol@localhost/quick", 1)
			_, _, release := slow.blocks()
			s, q := a.elsewhere(slow), a.elsewhere(quick)
			done := make([]chan error, n)
			for i := range done {
				done[i] = proving(context.Background(), s)
			}
			var all sync.WaitGroup
			for i := range 64 {
				all.Go(func() {
					for j := range 20 {
						if err := q.Send(soon(t), message("carol@localhost", fmt.Sprint(i, j), "x")); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			if got := len(quick.texts()); got != 64*20 {
				t.Errorf("%d stanzas came through, want %d", got, 64*20)
			}
			release()
			for _, d := range done {
				if err := ends(t, "proof", d); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestKeptInOrder sends one session ten thousand messages.
func TestKeptInOrder(t *testing.T) {
	t.Parallel()
	const n = 10000
	c := newCluster(t)
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	s := a.elsewhere(bob)
	for i := range n {
		if had, err := s.SendKept(context.Background(), message("bob@localhost", fmt.Sprint(i), "x")); had || err != nil {
			t.Fatalf("message %d: had %v, %v", i, had, err)
		}
	}
	if len(bob.got) != n {
		t.Fatalf("%d of %d came", len(bob.got), n)
	}
	for i, st := range bob.got {
		if st.ID != fmt.Sprint(i) {
			t.Fatalf("message %d is in the place of %d", i, i)
		}
	}
}

// TestNodeDies: everything that waits for a node that has died ends at once. Its
// sessions are none any more, and its entries are removed.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.times.ask = time.Hour
	a, b, d := c.node(), c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	here := a.online("bob@localhost/here", 0)
	a.sees("bob@localhost", "x 1", "here 0")
	d.sees("bob@localhost", "x 1", "here 0")
	begun, _, _ := bob.blocks()
	taken := make(chan struct{}, 1)
	bob.mu.Lock()
	bob.taking = func(ctx context.Context) error {
		select {
		case taken <- struct{}{}:
		default: // the first tells
		}
		<-ctx.Done()
		return ctx.Err()
	}
	bob.mu.Unlock()
	s := a.elsewhere(bob)
	done := proving(context.Background(), s)
	<-begun
	sent := make(chan error, 1)
	go func() { sent <- s.Send(context.Background(), message("bob@localhost", "m", "x")) }()
	<-taken
	release := b.gate.hold() // stopped: nothing comes from it, and nothing tells that it is dead
	c.living.set(b.broker.Node(), false)
	if err := ends(t, "proof", done); !errors.Is(err, errNodeGone) {
		t.Errorf("the proof ends with %v", err)
	}
	if err := ends(t, "stanza", sent); !errors.Is(err, errNodeGone) {
		t.Errorf("the stanza ends with %v", err)
	}
	if err := s.Send(soon(t), message("bob@localhost", "m", "x")); !errors.Is(err, errNodeGone) {
		t.Errorf("afterwards: %v", err)
	}
	for _, n := range []*node{a, d} {
		n.sees("bob@localhost", "here 0")
	}
	if _, err := d.router.Deliver(soon(t), message("bob@localhost", "m2", "to who is left")); err != nil {
		t.Error(err)
	}
	if got := here.texts(); !slices.Equal(got, []string{"to who is left"}) {
		t.Errorf("got %q", got)
	}
	a.keys(1)
	// The user is back, on a node that lives.
	again := a.online("bob@localhost/x", 3)
	d.sees("bob@localhost", "here 0", "x 3")
	release()
	become(t, "the session of the dead node is closed", bob.conflicted)
	if again.conflicted() {
		t.Error("the new session is closed")
	}
}

// TestNodeKilled: nobody answers for a node whose process is gone, even before
// that is known.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	s := a.elsewhere(bob)
	b.sessions.end()
	closeBroker(t, b.broker)
	if err := s.Send(soon(t), message("bob@localhost", "m", "x")); !errors.Is(err, broker.ErrNobody) {
		t.Errorf("error %v, want ErrNobody", err)
	}
	if _, err := a.router.Deliver(soon(t), message("bob@localhost", "m", "x")); !errors.Is(err, router.ErrOffline) {
		t.Errorf("error %v, want ErrOffline", err)
	}
	a.sees("bob@localhost", "x 1")
	c.living.set(b.broker.Node(), false)
	a.sees("bob@localhost")
	a.keys(0)
}

// TestSilentNode: a node that does not answer is given up on in a bounded time,
// and does not do afterwards what counts as not done.
func TestSilentNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.times.ask = 100 * time.Millisecond
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	var ended atomic.Bool
	bob.mu.Lock()
	bob.taking = func(ctx context.Context) error { <-ctx.Done(); ended.Store(true); return ctx.Err() }
	bob.mu.Unlock()
	if err := a.elsewhere(bob).Send(context.Background(), message("bob@localhost", "m", "x")); err == nil {
		t.Error("it is taken")
	}
	become(t, "the other side gives up too", ended.Load)
	if len(bob.got) > 0 {
		t.Error("it was taken afterwards")
	}
}

// TestNodeReturns: a node that was only stopped has its entries back, whether
// others had removed them or not, and what it missed is made up for.
func TestNodeReturns(t *testing.T) {
	t.Parallel()
	for _, reap := range []time.Duration{time.Millisecond, time.Hour} {
		t.Run(fmt.Sprint(reap), func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			c.times.reap = reap
			a, b := c.node(), c.node()
			here := a.online("bob@localhost/here", 0)
			bob := b.online("bob@localhost/x", 1)
			a.sees("bob@localhost", "here 0", "x 1")
			b.sees("bob@localhost", "here 0", "x 1")
			release := b.gate.hold()
			c.living.set(b.broker.Node(), false)
			a.sees("bob@localhost", "here 0")
			become(t, "the resource here is told", func() bool { return slices.Contains(here.presences(), "x unavailable") })
			if reap < time.Second {
				a.keys(1)
			}
			a.wasAble(here.full.Bare())
			release()
			c.living.set(b.broker.Node(), true)
			a.sees("bob@localhost", "here 0", "x 1")
			b.sees("bob@localhost", "here 0", "x 1")
			become(t, "the resource here is told again", func() bool { p := here.presences(); return p[len(p)-1] == "x " })
			become(t, "delivery is woken", func() bool { return a.wasAble(here.full.Bare()) })
			if _, err := a.router.Deliver(soon(t), message("bob@localhost", "m", "back")); err != nil {
				t.Error(err)
			}
			if got := bob.texts(); !slices.Equal(got, []string{"back"}) || bob.conflicted() {
				t.Errorf("got %q, closed %v", got, bob.closed)
			}
			a.keys(2)
		})
	}
}

// TestUnknownNode: entries of a node that is not known to live count for nothing,
// and are not removed before it could have become known.
func TestUnknownNode(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.times.reap = time.Hour
	a, b := c.node(), c.node()
	c.living.set(b.broker.Node(), false)
	b.online("bob@localhost/x", 1)
	a.keys(1)
	become(t, "the entry has come", func() bool {
		a.sessions.mu.RLock()
		defer a.sessions.mu.RUnlock()
		return len(a.sessions.remotes) == 1
	})
	before := a.revision("bob@localhost/x")
	<-time.After(5 * c.times.check) // for several looks of the reaper
	a.sees("bob@localhost")
	c.living.set(b.broker.Node(), true)
	a.sees("bob@localhost", "x 1")
	if after := a.revision("bob@localhost/x"); after != before {
		t.Error("the entry was removed")
	}
	if !a.wasAble(jid.MustParse("bob@localhost")) {
		t.Error("nobody is told that the recipient can be reached")
	}
}

// TestCloseElsewhere closes a session of another node, with a stream error and
// without.
func TestCloseElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	reason := &stream.Error{Condition: stream.NotAuthorized, Text: "the account\x00has been removed"}
	a.elsewhere(bob).Close(reason)
	become(t, "it is closed", func() bool { bob.mu.Lock(); defer bob.mu.Unlock(); return len(bob.closed) == 1 })
	a.elsewhere(bob).Close(nil)
	become(t, "it is closed again", func() bool { bob.mu.Lock(); defer bob.mu.Unlock(); return len(bob.closed) == 2 })
	if *bob.closed[0] != *reason || bob.closed[1] != nil {
		t.Errorf("closed with %v and %v", bob.closed[0], bob.closed[1])
	}
}

// TestAvailableElsewhere: delivery is woken once for each time that a recipient
// becomes able to take messages, and not for what changes nothing.
func TestAvailableElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	bare := jid.MustParse("bob@localhost")
	bob := b.bind("bob@localhost/x")
	for _, step := range []struct {
		rank int32
		text string
		able bool
	}{
		{-1, "x -1", false}, {0, "x 0", true}, {5, "x 5", false}, {away, "x", false}, {3, "x 3", true}, {-5, "x -5", false}, {127, "x 127", true},
	} {
		if step.rank == away {
			bob.unavailable()
		} else {
			bob.available(int8(step.rank))
		}
		a.sees("bob@localhost", step.text)
		if step.able {
			become(t, step.text+" is told", func() bool { return a.wasAble(bare) })
		} else if a.wasAble(bare) {
			t.Errorf("%q is told as if it made a difference", step.text)
		}
	}
}

// TestPresenceElsewhere: resources of one account on several nodes know each
// other's presence (RFC 6121 §4.2.2), and learn when a node takes some with it.
func TestPresenceElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	first := a.online("bob@localhost/first", 1)
	b.sees("bob@localhost", "first 1")
	second := b.online("bob@localhost/second", -2) // its priority says nothing of its presence
	become(t, "the new resource knows the old one", func() bool { return slices.Contains(second.presences(), "first ") })
	if p := first.presences(); len(p) > 0 {
		t.Errorf("what a session sends itself is sent for it too: %q", p)
	}
	second.unavailable()
	a.sees("bob@localhost", "first 1", "second")
	second.available(2)
	become(t, "and again when it comes back", func() bool { return len(second.presences()) == 2 })
	a.sees("bob@localhost", "first 1", "second 2")
	b.die()
	become(t, "the resource of a dead node is gone", func() bool { return slices.Contains(first.presences(), "second unavailable") })
}

// TestReunited: while a node had no connection both sides may have missed presence.
// It is sent again.
func TestReunited(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	first, second := a.online("bob@localhost/first", 1), b.online("bob@localhost/second", 2)
	for _, n := range []*node{a, b} {
		n.sees("bob@localhost", "first 1", "second 2")
	}
	become(t, "they are introduced", func() bool { return len(first.presences()) > 0 && len(second.presences()) > 0 })
	mark := func(s *client) func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.show = stanza.NewPresence(s.full.Bare(), s.full, "")
		s.show.ID = "missed" // nobody has been told
		return func() bool {
			other := first
			if s == first {
				other = second
			}
			other.mu.Lock()
			defer other.mu.Unlock()
			return slices.ContainsFunc(other.got, func(st *stanza.Stanza) bool { return st.ID == "missed" && st.From == s.full })
		}
	}
	there, back := mark(first), mark(second)
	b.gate.cut()
	become(t, "both are introduced again", func() bool { return there() && back() })
}

// TestRemoteError: what goes wrong on the far side comes back as an error, also
// what cannot be understood there.
func TestRemoteError(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/x", 1)
	s := a.elsewhere(bob).(*remote)
	bob.mu.Lock()
	bob.gone = stream.ErrSlow
	bob.mu.Unlock()
	if err := s.Send(soon(t), message("bob@localhost", "m", "x")); err == nil {
		t.Error("a stanza that was not queued counts as taken")
	}
	for _, data := range [][]byte{nil, {requestVersion}, {requestVersion + 1, byte(opSend), 1, 1}, {requestVersion, byte(opSend), 0x80}} {
		got, err := a.broker.Ask(soon(t), askSubject(b.broker.Node()), data)
		if r, bad := parseReply(got); err != nil || bad != nil || r.status != statusFailed {
			t.Errorf("request %v: reply %v, %v, %v", data, r, bad, err)
		}
	}
	for op, data := range map[operation]string{opSend: "<message>", opKept: "", opIntroduce: "@", 99: ""} {
		if a, err := s.ask(soon(t), op, []byte(data)); err == nil {
			t.Errorf("operation %d with %q is answered with %v", op, data, a)
		}
	}
	// One version of the program meets another.
	stop, err := a.broker.Answer("node.OLD.c2s", func(context.Context, []byte) []byte { return []byte{requestVersion + 1, byte(statusDone)} })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	old := &remote{r: b.sessions, full: s.full, peer: &peer{node: "OLD", life: context.Background()}}
	if err := old.Send(soon(t), message("bob@localhost", "m", "x")); err == nil {
		t.Error("the reply of another version is taken for a good one")
	}
	if st := stanza.NewPresence(jid.JID{}, jid.JID{}, ""); s.Send(soon(t), st) == nil {
		t.Error("sent to a session that takes nothing")
	}
}
