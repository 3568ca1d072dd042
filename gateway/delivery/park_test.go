package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

var nameDelay = xmlwire.Name{Space: "urn:xmpp:delay", Local: "delay"}

// TestOrder follows one recipient through here, away and here again.
func TestOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	c := w.login("alice@localhost/a")
	first := w.put(alice, 70) // more than one run
	c.expect(t, first)
	w.events.wait(t, trace.Delivered, 70)
	w.logout(c)

	waited := w.put(alice, 70)
	w.events.wait(t, trace.Deferred, 70)
	if s := w.dl.Stats(); s.Parked != 70 || s.ParkedRoutes != 1 || w.waiting()["alice@localhost"] != 70 {
		t.Errorf("stats say %+v, PARK holds %v, want 70 messages on one route", s, w.waiting())
	}
	other := w.login("bob@localhost/b")
	other.expect(t, w.put(bob, 1)) // nobody is delayed by another's absence

	c = w.login("alice@localhost/a2")
	live := w.put(alice, 10)
	c.expect(t, append(waited, live...))
	w.events.wait(t, trace.Delivered, 151)
	w.idle()
	if s := w.dl.Stats(); s.Delivered != 151 || s.Parked != 0 || len(w.waiting()) != 0 {
		t.Errorf("at the end: %+v, PARK holds %v", s, w.waiting())
	}
}

// TestLoginWhileParking: the client that comes between being found away and its
// message being parked gets the message without a sweep.
func TestLoginWhileParking(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]func(login func(), store func() error) error{
		"before the message is in PARK": func(login func(), store func() error) error {
			login()
			return store()
		},
		"when it is there but not counted": func(login func(), store func() error) error {
			err := store()
			login()
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			come := make(chan *client, 1)
			var once sync.Once
			w.hooks.store = func(msgs []broker.Message, store func() error) error {
				if msgs[0].Stage != broker.Park {
					return store()
				}
				return hook(func() { once.Do(func() { come <- w.login("alice@localhost/a") }) }, store)
			}
			w.run()
			ids := w.put(alice, 3)
			c := <-come
			c.expect(t, ids)
			w.events.wait(t, trace.Delivered, 3)
			w.idle()
		})
	}
}

// TestUnsureStore: a store that does not say what it did may have parked the
// message. It must come to the client once, in its place.
func TestUnsureStore(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"it was parked": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var failed atomic.Bool
			var c *client
			w.hooks.store = func(msgs []broker.Message, store func() error) error {
				if msgs[0].Stage != broker.Park || failed.Swap(true) {
					return store()
				}
				if stored {
					if err := store(); err != nil {
						return err
					}
				}
				// Here before the second try, which would deliver it live.
				c = w.login("alice@localhost/a")
				return fmt.Errorf("store: %w", broker.ErrUnavailable)
			}
			ids := w.put(alice, 3)
			w.run()
			w.events.wait(t, trace.Delivered, 3)
			c.expect(t, ids)
			w.idle()
			if left := w.waiting(); len(left) != 0 {
				t.Errorf("PARK still holds %v", left)
			}
		})
	}
}

// TestUnsureScheduled: a route of which it is not known whether something waits is tried
// again by itself, as nobody may ever wake it.
func TestUnsureScheduled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var broken atomic.Bool
	broken.Store(true)
	w.hooks.store = func(msgs []broker.Message, store func() error) error {
		if msgs[0].Stage == broker.Park && broken.Load() {
			return fmt.Errorf("store: %w", broker.ErrUnavailable)
		}
		return store()
	}
	scheduled := func(when string) {
		t.Helper()
		eventually(t, "in the schedule "+when, func() bool {
			w.dl.mu.Lock()
			defer w.dl.mu.Unlock()
			rt := w.dl.routes[alice.String()]
			return rt != nil && rt.place > 0 && rt.Next.After(time.Now())
		})
	}
	ids := w.put(alice, 1)
	w.run()
	scheduled("after the failure")
	w.due()
	scheduled("though it could not be tried")
	broken.Store(false)
	w.events.wait(t, trace.Deferred, 1)
	scheduled("once it is parked")
	w.login("alice@localhost/a").expect(t, ids)
	w.idle()
}

// TestParkFull: a store that is full keeps the messages where they are, and
// nothing is lost or counted as parked.
func TestParkFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tried := make(chan struct{}, 100)
	w.hooks.store = func([]broker.Message, func() error) error {
		tried <- struct{}{}
		return fmt.Errorf("store: %w", broker.ErrFull)
	}
	w.run()
	ids := w.put(alice, 3)
	<-tried
	<-tried
	if s := w.dl.Stats(); s.Parked != 0 || s.Deferred != 0 {
		t.Errorf("stats %+v: nothing is parked", s)
	}
	c := w.login("alice@localhost/a")
	c.expect(t, ids)
	w.events.wait(t, trace.Delivered, 3)
}

// TestDrainBrokenOff: the client dies with parked messages unproven. They come
// again, in order, before what is newer.
func TestDrainBrokenOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	waited := w.put(alice, 5)
	w.events.wait(t, trace.Deferred, 5)
	dying := w.login("alice@localhost/a", deaf)
	dying.expect(t, waited[:1]) // the first alone: nobody knows yet whether it lives
	live := w.put(alice, 2)     // waits behind the drain
	w.logout(dying)
	c := w.login("alice@localhost/b")
	c.expect(t, append(waited, live...))
	if got := w.events.wait(t, trace.Delivered, 7); len(got) != 7 {
		t.Errorf("%d messages delivered, want 7", len(got))
	}
	w.idle()
}

// TestDiesEarly: a client that dies after a few messages each time makes progress
// with each login, because not all are proven by one answer.
func TestDiesEarly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	waited := w.put(alice, 20)
	w.events.wait(t, trace.Deferred, 20)
	for logins := 0; len(w.events.of(trace.Delivered)) < 20; logins++ {
		if logins == 10 {
			t.Fatalf("%d of 20 delivered after %d logins of a client that takes 5 each time", len(w.events.of(trace.Delivered)), logins)
		}
		before := len(w.events.of(trace.Delivered))
		c := w.login("alice@localhost/a", func(c *client) {
			c.sent = func(string) {
				if len(c.got) == 6 {
					c.deaf = true
					close(c.over)
				}
			}
		})
		eventually(t, "it dies, or everything is delivered", func() bool {
			select {
			case <-c.over:
				return true
			default:
				return len(w.events.of(trace.Delivered)) == len(waited)
			}
		})
		w.logout(c)
		if got := len(w.events.of(trace.Delivered)); got == before {
			t.Fatalf("login %d delivered nothing", logins)
		}
	}
}

// TestDrainGivesUp: a recipient that is there and takes nothing is not tried
// without end, and does not hold up the live messages of its route.
func TestDrainGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var drains atomic.Int64
	w.hooks.drain = func() { drains.Add(1) }
	w.run()
	waited := w.put(alice, 1)
	w.events.wait(t, trace.Deferred, 1)
	broken := w.login("alice@localhost/a", func(c *client) { close(c.over) })
	eventually(t, "some tries", func() bool { return drains.Load() > 2 })
	w.put(alice, 1)
	w.events.wait(t, trace.Deferred, 2)
	w.logout(broken)
	w.login("alice@localhost/b").expect(t, append(waited, "m2"))
}

// TestParkedBefore: what a former process has parked is delivered, to a client
// that logged in before it was known and to one that comes later.
func TestParkedBefore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.run()
	forAlice, forBob := w.put(alice, 3), w.put(bob, 3)
	w.events.wait(t, trace.Deferred, 6)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.close(w.broker)

	w.open()
	a := w.login("alice@localhost/a")
	w.run()
	a.expect(t, forAlice)
	w.login("bob@localhost/b").expect(t, forBob)
	w.events.wait(t, trace.Delivered, 6)
	w.idle()
}

// TestCrashBetweenParkAndAck: a process that dies between the two leaves a
// message in both stages. DELIVER gives it again, and it is not parked again.
func TestCrashBetweenParkAndAck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(alice, 1)
	parked := make(chan struct{})
	w.hooks.store = func(_ []broker.Message, store func() error) error {
		select {
		case <-parked: // the process is dead
			return broker.ErrUnavailable
		default:
			defer close(parked)
			return errors.Join(store(), broker.ErrUnavailable)
		}
	}
	stop := w.run()
	<-parked
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.close(w.broker)

	w.hooks.store = nil
	w.open()
	w.run()
	if n := w.waiting()["alice@localhost"]; n != 1 {
		t.Fatalf("PARK holds %d messages, want 1", n)
	}
	ids = append(ids, w.put(alice, 1)...)
	w.events.wait(t, trace.Deferred, 1)
	w.login("alice@localhost/a").expect(t, ids)
	w.events.wait(t, trace.Delivered, 2)
	w.idle()
}

// TestDelayMark: what waited says since when it is on its way (XEP-0203), however
// short the wait; what did not wait says nothing.
func TestDelayMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	before := time.Now().UTC().Truncate(time.Second)
	w.put(alice, 1)
	w.events.wait(t, trace.Deferred, 1)
	c := w.login("alice@localhost/a")
	w.events.wait(t, trace.Delivered, 1)
	w.put(alice, 1)
	w.events.wait(t, trace.Delivered, 2)

	mark := c.got[0].Element.Child(nameDelay)
	if mark == nil {
		t.Fatal("the message that waited is not marked")
	}
	stamp, err := time.Parse(time.RFC3339, mark.Attr("stamp"))
	if err != nil || stamp.Before(before) || stamp.After(time.Now()) {
		t.Errorf("stamp %q, want the time of acceptance", mark.Attr("stamp"))
	}
	if from := mark.Attr("from"); from != "localhost" {
		t.Errorf("mark from %q, want the domain that held it", from)
	}
	if c.got[1].Element.Child(nameDelay) != nil {
		t.Error("the message that did not wait is marked too")
	}
}

// TestKeep: a message from one Jabber user to another who is away.
func TestKeep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	st := stanza.NewMessage(jid.MustParse("alice@localhost/gone"), jid.MustParse("bob@localhost/b"), stanza.TypeChat, "later")
	st.ID = "k1"
	if err := w.dl.Keep(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	w.events.wait(t, trace.Deferred, 1)
	c := w.login("alice@localhost/a")
	c.expect(t, []string{"k1"})
	got := c.got[0]
	if got.From != st.From || got.To != st.To || got.Element.Child(nameDelay) == nil {
		t.Errorf("got %s, want its addresses and a delay", got)
	}
	if e := w.events.wait(t, trace.Stored, 1)[0]; e.Listener != "xmpp_listener" || e.To != "alice@localhost" || e.StanzaID != "k1" {
		t.Errorf("told %+v", e)
	}

	w.close(w.broker)
	if err := w.dl.Keep(t.Context(), st); !errors.Is(err, broker.ErrUnavailable) {
		t.Errorf("without the broker: %v, want %v", err, broker.ErrUnavailable)
	}
}

// TestKeptRefused: whoever wrote a message that was kept, and then was refused for good, is
// told so; of mail nobody is told by Jabber.
func TestKeptRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	bob := w.login("bob@localhost/b")
	st := stanza.NewMessage(jid.MustParse("nobody@localhost"), bob.full, stanza.TypeChat, "hello")
	st.ID = "k1"
	if err := w.dl.Keep(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	bob.expect(t, []string{"k1"})
	if got := bob.got[0]; got.Type != stanza.TypeError || got.From != st.To || stanza.ParseError(got.Child("error")).Condition != stanza.ServiceUnavailable {
		t.Errorf("got %s", got.Element)
	}
	mail := stanza.NewMessage(jid.MustParse("nobody@localhost"), bob.full, stanza.TypeChat, "hello")
	mail.ID = "m1"
	w.putStanza(mail)
	w.events.wait(t, trace.Failed, 2)
	if got := bob.ids(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	w.idle()
	eventually(t, "that of the mail is dead", func() bool { return w.dead() == 1 })
}

// TestManyAbsent: thousands of recipients for whom messages wait and whose time has
// come cost nothing at the broker, and the one who comes gets theirs at once.
func TestManyAbsent(t *testing.T) {
	t.Parallel()
	absent := 10_000
	if testing.Short() {
		absent = 500
	}
	w := newWorld(t)
	var drains atomic.Int64
	w.hooks.drain = func() { drains.Add(1) }
	var putting sync.WaitGroup
	const putters = 8
	for p := range putters {
		var msgs []broker.Message
		for i := p; i < absent; i += putters {
			st := stanza.NewMessage(jid.MustParse(fmt.Sprintf("user%d@localhost", i)), news, stanza.TypeChat, "hello")
			st.ID = fmt.Sprintf("m%d", i)
			msgs = append(msgs, w.message(st))
		}
		putting.Go(func() {
			for some := range slices.Chunk(msgs, 500) {
				if err := w.broker.Store(context.Background(), some...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	putting.Wait()
	w.run()
	w.events.wait(t, trace.Deferred, absent)
	if s := w.dl.Stats(); s.Parked != absent || s.ParkedRoutes != absent {
		t.Errorf("stats %+v, want %d parked", s, absent)
	}
	w.due()
	eventually(t, "all were tried", func() bool {
		w.dl.mu.Lock()
		defer w.dl.mu.Unlock()
		for _, rt := range w.dl.routes {
			if rt.Attempts < 2 {
				return false
			}
		}
		return true
	})
	if n := drains.Load(); n != 0 {
		t.Errorf("attempts for absent recipients drained %d times", n)
	}
	w.login("user77@localhost/a").expect(t, []string{"m77"})
	if n := drains.Load(); n != 1 {
		t.Errorf("%d drains for one login", n)
	}
}

// TestWaveOfLogins: every one of many who come at once gets theirs, although
// only some are served at the same time.
func TestWaveOfLogins(t *testing.T) {
	t.Parallel()
	const users = 2 * drains
	w := newWorld(t)
	w.run()
	name := func(i int) string { return fmt.Sprintf("user%d@localhost", i) }
	for i := range users {
		w.put(jid.MustParse(name(i)), 1)
	}
	w.events.wait(t, trace.Deferred, users)
	clients := make([]*client, users)
	for i := range users {
		clients[i] = w.login(name(i) + "/a")
	}
	for i, c := range clients {
		c.expect(t, []string{fmt.Sprintf("m%d", i+1)})
	}
	w.idle()
}

// TestBigRoute: a drain over many pulls leaves nothing behind.
func TestBigRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	ids := w.put(alice, 1500)
	w.events.wait(t, trace.Deferred, len(ids))
	c := w.login("alice@localhost/a")
	live := w.put(alice, 20)
	w.events.wait(t, trace.Delivered, len(ids)+len(live))
	c.expect(t, append(ids, live...))
	w.idle()
	if left := w.waiting(); len(left) != 0 {
		t.Errorf("PARK still holds %v", left)
	}
}

// TestReasonInPark: the reason of a deferral is for a person, and bounded.
func TestReasonInPark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.put(alice, 2)
	for i, e := range w.events.wait(t, trace.Deferred, 2) {
		if !strings.Contains(e.Reason, "no available resource") && e.Reason != "earlier messages wait" {
			t.Errorf("message %d deferred because %q", i, e.Reason)
		}
	}
}

// TestWaits: from the moment that a message of another user is kept until it has
// ended, a later one waits for it, in this process and in the next.
func TestWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stop := w.run()
	bob := jid.MustParse("bob@localhost")
	if w.dl.Waits(t.Context(), bob) {
		t.Error("before anything was kept")
	}
	var ids []string
	for range 2 {
		// Of a sender who gives none or always the same.
		st := stanza.NewMessage(bob, jid.MustParse("alice@localhost/a"), "chat", "hi")
		st.Element.Add(xmlwire.New("urn:xmpp:sid:0", "stanza-id", "by", "localhost", "id", "forged"))
		if err := w.dl.Keep(t.Context(), st); err != nil {
			t.Fatal(err)
		}
		if st.ID != "" {
			t.Error("what the caller has was changed")
		}
	}
	w.events.wait(t, trace.Deferred, 2)
	waits := func(want bool, when string) {
		t.Helper()
		if w.dl.Waits(t.Context(), bob) != want || w.dl.Waits(t.Context(), jid.MustParse("carol@localhost")) {
			t.Errorf("%s: not right", when)
		}
	}
	waits(true, "parked")
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.close(w.broker)
	w.open()
	w.run()
	eventually(t, "it is known after a restart", func() bool { return w.dl.Waits(t.Context(), bob) })
	waits(true, "after a restart")
	received := make(chan *stanza.Stanza, 2)
	w.login("bob@localhost/b", func(c *client) { c.received = func(st *stanza.Stanza) { received <- st } })
	for range 2 {
		st := <-received
		var stamps []string
		for e := range st.Element.Elements() {
			if e.Name == stanza.StanzaID {
				stamps = append(stamps, e.Attr("id"))
			}
		}
		if len(stamps) != 1 || stamps[0] == "forged" || stamps[0] != st.ID || slices.Contains(ids, st.ID) {
			t.Errorf("id %q, stanza ids %q", st.ID, stamps)
		}
		ids = append(ids, st.ID)
	}
	eventually(t, "both have ended", func() bool { return !w.dl.Waits(t.Context(), bob) })
}
