package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

func openBlocks(t *testing.T, b *broker.Broker) *Blocks {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := OpenBlocks(ctx, b, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func block(t *testing.T, s *Blocks, user jid.JID, who string) {
	t.Helper()
	err := s.UpdateBlocks(t.Context(), user, func(old router.BlockList) (router.BlockList, error) {
		now := router.BlockList{jid.MustParse(who): {}}
		for j := range old {
			now[j] = struct{}{}
		}
		return now, nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestBlocks: two processes know each other's changes, each is told of all of them, once,
// and what is stored outlives both.
func TestBlocks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	here, there := openBlocks(t, b), openBlocks(t, b)
	var mu sync.Mutex
	changes := make(map[string]int) // lengths before and after
	there.OnChange(func(user jid.JID, old, now router.BlockList) {
		mu.Lock()
		defer mu.Unlock()
		changes[fmt.Sprint(user, len(old), len(now))]++
	})
	block(t, here, bob, "evil.example")
	if !here.Blocks(bob).Has(jid.MustParse("x@evil.example/y")) {
		t.Error("who has blocked does not know it when that returns")
	}
	eventually(t, "the other process knows", func() bool { return there.Blocks(bob).Has(jid.MustParse("evil.example")) })
	if here.Blocks(carol).Has(jid.MustParse("evil.example")) {
		t.Error("carol has blocked nobody")
	}

	// Changes at the same time are all made.
	var both sync.WaitGroup
	for i := range 10 {
		both.Go(func() { block(t, here, bob, fmt.Sprintf("h%d@x", i)) })
		both.Go(func() { block(t, there, bob, fmt.Sprintf("t%d@x", i)) })
	}
	both.Wait()
	eventually(t, "all are blocked on both sides", func() bool { return len(here.Blocks(bob)) == 21 && len(there.Blocks(bob)) == 21 })
	eventually(t, "the last change is told", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for c, n := range changes {
			if n > 1 {
				t.Errorf("%s was told %d times", c, n)
			}
		}
		var from int
		for range 21 { // a chain from none to all
			for to := range 22 {
				if changes[fmt.Sprint(bob, from, to)] > 0 && to > from {
					from = to
				}
			}
		}
		return from == 21
	})

	_ = here.Close()
	_ = there.Close()
	closeBroker(t, b)
	again := openBlocks(t, openBroker(t, dir))
	if n := len(again.Blocks(bob)); n != 21 {
		t.Errorf("after a restart %d are blocked", n)
	}
	if err := again.Remove(t.Context(), bob); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the list is gone", func() bool { return len(again.Blocks(bob)) == 0 })
	block(t, again, bob, "new.example")
	if n := len(again.Blocks(bob)); n != 1 {
		t.Errorf("after its removal the list begins with %d", n)
	}
}
