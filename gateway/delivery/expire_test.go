package delivery

import (
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// limited is how messages are sent where they may be on their way for so long.
func limited(after time.Duration) func(string) config.Outgoing {
	return func(string) config.Outgoing {
		out := defaultOutgoing
		out.Expiration = after
		return out
	}
}

// putOld stores a message that was accepted some time ago.
func (w *world) putOld(id string, age, revived time.Duration) {
	w.t.Helper()
	st := stanza.NewMessage(alice, news, stanza.TypeChat, "hello")
	st.ID = id
	rec := custody.Record{ID: mcmt.ID("q-" + id), From: "news@corp.example", To: mcmt.Recipient{Address: "alice@localhost"},
		Accepted: time.Now().Add(-age), JID: alice, StanzaID: id, Part: "xmpp"}
	if revived > 0 {
		rec.Revived = time.Now().Add(-revived)
	}
	msg, err := custody.Deliver(rec, string(rec.ID), st.Append(nil, ""))
	if err != nil {
		w.t.Fatal(err)
	}
	w.store(msg)
}

// TestExpiry: what is too old is dead, whether its recipient is there or not, and
// what is behind it goes on. A message that an operator has revived begins anew.
func TestExpiry(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, limited(time.Hour))
	w.run()
	w.putOld("old1", 2*time.Hour, 0)
	w.putOld("young", time.Minute, 0)
	w.putOld("revived", 2*time.Hour, time.Minute)
	w.events.wait(t, trace.Expired, 1)
	w.events.wait(t, trace.Deferred, 2)
	if n := w.waiting()["alice@localhost"]; n != 2 {
		t.Errorf("%d parked, want 2", n)
	}
	w.login("alice@localhost/a").expect(t, []string{"young", "revived"})
	w.putOld("old2", 2*time.Hour, 0)
	w.events.wait(t, trace.Expired, 2)
	eventually(t, "both are dead", func() bool { return w.dead() == 2 })
	if s := w.dl.Stats(); s.Expired != 2 || s.Failed != 0 || s.Delivered != 2 {
		t.Errorf("stats %+v", s)
	}
	w.idle()
}

// TestExpiryWhileAway: what waits for somebody who does not come is given up when
// its time is over, and not before.
func TestExpiryWhileAway(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	after := time.Hour
	w := newWorldOf(t, func(domain string) config.Outgoing {
		mu.Lock()
		defer mu.Unlock()
		return limited(after)(domain)
	})
	w.run()
	w.putOld("m1", 10*time.Minute, 0)
	w.putOld("m2", time.Minute, 0)
	w.events.wait(t, trace.Deferred, 2)
	w.due()
	w.attempts("alice@localhost", 2)
	if n := len(w.events.of(trace.Expired)); n != 0 {
		t.Fatalf("%d expired before their time", n)
	}
	mu.Lock()
	after = 5 * time.Minute // m1 is too old now
	mu.Unlock()
	w.forgetExpiry("alice@localhost")
	w.due()
	w.events.wait(t, trace.Expired, 1)
	w.attempts("alice@localhost", 1) // it begins anew with the next message
	if got := w.events.of(trace.Expired); got[0].StanzaID != "m1" {
		t.Errorf("%s expired, want m1", got[0].StanzaID)
	}
	w.login("alice@localhost/a").expect(t, []string{"m2"})
}

// attempts waits until a route was tried so often.
func (w *world) attempts(name string, n int) {
	w.t.Helper()
	eventually(w.t, "attempts", func() bool {
		w.dl.mu.Lock()
		defer w.dl.mu.Unlock()
		rt := w.dl.routes[name]
		return rt != nil && rt.Attempts == n
	})
}

// forgetExpiry makes a route one of which it is not known when it expires, as
// after a takeover.
func (w *world) forgetExpiry(name string) {
	rt := w.dl.lock(name)
	rt.expires = time.Time{}
	w.dl.unlock(rt)
}

// TestThrottle: no more than so many messages go to a domain in so much time, in
// order; what is over waits, in PARK where it is much, and is not lost.
func TestThrottle(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, func(string) config.Outgoing {
		out := defaultOutgoing
		out.Throttle = config.Rate{N: 40, Per: time.Second}
		return out
	})
	c := w.login("alice@localhost/a")
	start := time.Now()
	ids := w.put(alice, 120)
	w.run()
	c.expect(t, ids)
	// The first 40 at once, and 40 a second after that.
	if took := time.Since(start); took < 1900*time.Millisecond {
		t.Errorf("120 messages took %s, 40 a second are allowed", took)
	}
	w.idle()
}

// TestThrottleParks: a domain that lags far behind does not fill the stage that
// it shares with others.
func TestThrottleParks(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, func(domain string) config.Outgoing {
		out := defaultOutgoing
		out.Throttle = config.Rate{N: 1, Per: time.Minute}
		return out
	})
	c := w.login("alice@localhost/a")
	ids := w.put(alice, 3)
	w.run()
	c.expect(t, ids[:1])
	w.events.wait(t, trace.Deferred, 2)
	if got := w.events.of(trace.Deferred)[0].Reason; got != errThrottled.Error() {
		t.Errorf("deferred because %q", got)
	}
	if n := w.waiting()["alice@localhost"]; n != 2 {
		t.Errorf("%d parked, want 2", n)
	}
}

// heldBack is a Holds of fixed names.
type heldBack struct {
	mu    sync.Mutex
	names map[string]bool
}

func (h *heldBack) Held(names ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, n := range names {
		if h.names[n] {
			return true
		}
	}
	return false
}

func (h *heldBack) set(name string, held bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.names[name] = held
}

// TestHold: what an operator holds back waits, although its recipient is there,
// until it is released; then it goes at once, before what comes after.
func TestHold(t *testing.T) {
	t.Parallel()
	for _, held := range []string{"alice@localhost", "localhost"} {
		t.Run(held, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			holds := &heldBack{names: map[string]bool{held: true}}
			w.dl.o.Holds = holds
			c := w.login("alice@localhost/a")
			w.run()
			ids := w.put(alice, 3)
			w.events.wait(t, trace.Deferred, 3)
			w.due()
			w.dl.Wake(alice)
			if got := c.ids(); len(got) != 0 {
				t.Fatalf("%v arrived", got)
			}
			holds.set(held, false)
			if n := w.dl.WakeAll(held); n != 3 {
				t.Errorf("%d messages woken, want 3", n)
			}
			c.expect(t, append(ids, w.put(alice, 1)...))
			w.idle()
		})
	}
}

// TestTooOldToDrain: a reason for a deferral is still told when the message expires.
func TestTooOldToDrain(t *testing.T) {
	t.Parallel()
	rec := custody.Record{Accepted: time.Now().Add(-time.Hour), JID: alice, Reason: "gone"}
	dl := New(Options{Outgoing: limited(time.Minute)})
	if got := dl.outlived(rec, time.Now()); got != "expired: on its way for more than 1m0s: gone" {
		t.Errorf("reason %q", got)
	}
	if d := dl.expire(t.Context(), rec, &broker.Delivery{}, "expired: x"); !d.Dead() {
		t.Error("not dead")
	}
}
