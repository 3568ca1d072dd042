package delivery

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// TestBacklog: a client that proves nothing while much waits for it is given up
// long before its time, for what waits takes room that others need. Its messages
// wait in PARK, in order, and others get theirs meanwhile.
func TestBacklog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	dead := w.login("alice@localhost/a", deaf)
	w.run()
	const n = maxBacklog + 200
	ids := w.put(alice, n)
	<-dead.asked
	other := w.login("bob@localhost/b")
	other.expect(t, w.put(bob, 3))
	select {
	case <-dead.over:
	case <-time.After(patience):
		t.Fatal("the client that proves nothing is still waited for")
	}
	w.logout(dead)
	w.events.wait(t, trace.Deferred, n)
	w.login("alice@localhost/b").expect(t, ids)
}

// TestSmallBacklog: while little waits a client has the whole time.
func TestSmallBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient("alice@localhost/a")
		c.deaf = true
		dl := stubbed(func(*stanza.Stanza) ([]router.Session, error) { return []router.Session{c}, nil })
		d := given(t, "m1")
		var asked atomic.Int64
		d.Backlog = func() int { asked.Add(1); return maxBacklog }
		start := time.Now()
		dl.Handle(t.Context(), []*broker.Delivery{d})
		if took := time.Since(start); took != proofTime || asked.Load() < 10 {
			t.Errorf("gave up after %s, having looked %d times", took, asked.Load())
		}
	})
}
