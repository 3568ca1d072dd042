package c2s

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

func TestProve(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{})
	c := f.login(t, "bob@localhost/x")
	s := f.session(t, c)
	ctx := within(t)

	const n = 20
	// The client does not read yet: proofs must wait, however many there are.
	var proofs sync.WaitGroup
	var failed sync.Map
	for i := range n {
		if err := s.Send(ctx, stanza.NewMessage(c.JID(), jid.JID{}, "chat", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		proofs.Go(func() {
			if _, err := s.Prove(ctx); err != nil {
				failed.Store(i, err)
			}
		})
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := s.Prove(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a client that reads nothing proved itself: %v", err)
	}
	// From here on it reads, and answers on the way.
	done := make(chan struct{})
	go func() { proofs.Wait(); close(done) }()
	for i := range n {
		st, err := c.Receive(ctx)
		if err != nil || st.Child("body").Text() != fmt.Sprint(i) {
			t.Fatalf("message %d is %v, %v", i, st, err)
		}
	}
	rest, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = c.Receive(rest) }) // answers the rest
	defer reader.Wait()
	defer stop()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("proofs do not come")
	}
	failed.Range(func(i, err any) bool { t.Errorf("proof %v: %v", i, err); return true })
	// One ping for who came first, one for all that came while it was on the way.
	if pings := s.(*session).sent.Load() - n; pings > 2+1 {
		t.Errorf("%d pings for %d concurrent proofs", pings, n+1)
	}
}

// TestProveCoversWhatWasSent has a proof join while a ping is on the way: it must
// not be satisfied by the answer to that one.
func TestProveCoversWhatWasSent(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{})
	c := f.login(t, "bob@localhost/x")
	ps := &f.session(t, c).(*session).proofs
	first := ps.join()
	second := ps.join()
	if first == second {
		t.Fatal("a proof is satisfied by a ping that was sent before it")
	}
	if third := ps.join(); third != second {
		t.Error("proofs that wait are not joined")
	}
}

func TestProveDead(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{ProofTime: 50 * time.Millisecond}, ConnOptions{})
	c := f.online(t, "bob@localhost/x")
	s := f.session(t, c)
	ctx := within(t)
	if _, err := s.Prove(ctx); !errors.Is(err, errGone) { // nobody answers: c does not read
		t.Errorf("proof of a dead client: %v", err)
	}
	if f.router.Reachable(c.JID()) {
		t.Error("the dead session is still bound")
	}
	if _, err := s.Prove(ctx); !errors.Is(err, errGone) {
		t.Errorf("proof after the end: %v", err)
	}
	_, err := c.Stream().Receive(ctx, time.Time{}) // the ping
	if err == nil {
		_, err = c.Stream().Receive(ctx, time.Time{})
	}
	var told *stream.PeerError
	if !errors.As(err, &told) || told.Err.Condition != stream.ConnectionTimeout {
		t.Errorf("the client was told %v", err)
	}
	eventually(t, func() bool { return f.server.Stats().Timeouts == 1 }, "the timeout is counted")
}

// TestProveAgain outlives the time of a proof: one that was answered must not end
// the session later.
func TestProveAgain(t *testing.T) {
	t.Parallel()
	const proof = time.Second
	f := serve(t, router.Options{}, Options{ProofTime: proof}, ConnOptions{})
	c := f.login(t, "bob@localhost/x")
	s := f.session(t, c)
	ctx, stop := context.WithCancel(within(t))
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = c.Receive(ctx) })
	defer reader.Wait()
	defer stop()
	for start := time.Now(); time.Since(start) < proof+proof/2; {
		if _, err := s.Prove(ctx); err != nil {
			t.Fatal(err)
		}
	}
}
