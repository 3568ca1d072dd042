package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// TestHalfDead: a client that is connected and does not answer has got nothing
// that counts. Its messages come to the next session, under the same ids.
func TestHalfDead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	dead := w.login("alice@localhost/dead", deaf)
	ids := w.put(alice, 3)
	dead.expect(t, ids[:len(dead.wait(t, ids))])
	if got := w.events.of(trace.Delivered); len(got) != 0 {
		t.Fatalf("delivered without proof: %+v", got)
	}
	w.logout(dead)
	c := w.login("alice@localhost/alive")
	w.events.wait(t, trace.Delivered, 3)
	c.expect(t, ids)
	if c.got[0].Element.Child(nameDelay) == nil {
		t.Error("the first message was put off and is not marked")
	}
	if s := w.dl.Stats(); s.Delivered != 3 || s.Failed != 0 {
		t.Errorf("stats %+v", s)
	}
}

// wait waits until the client was asked for a proof, and returns what it has.
func (c *client) wait(t testing.TB, want []string) []string {
	t.Helper()
	select {
	case <-c.asked:
	case <-time.After(patience):
		t.Fatalf("%s was not asked for a proof of %v", c.full, want)
	}
	return c.ids()
}

// TestHalfDeadBesideLive: of two sessions that got a message one proof is enough,
// and the one that does not answer does not delay it.
func TestHalfDeadBesideLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	dead := w.login("alice@localhost/dead", deaf)
	live := w.login("alice@localhost/live")
	ids := w.put(alice, 5)
	w.events.wait(t, trace.Delivered, 5) // within patience, with dead never answering
	live.expect(t, ids)
	dead.expect(t, ids)
	w.idle()
}

// TestPipelining: a run of messages is sent before the first proof is asked for,
// and one proof covers them all.
func TestPipelining(t *testing.T) {
	t.Parallel()
	c := newClient("alice@localhost/a")
	dl := stubbed(func(st *stanza.Stanza) ([]router.Session, error) {
		return []router.Session{c}, c.Send(t.Context(), st)
	})
	var run []*broker.Delivery
	for i := range 64 {
		run = append(run, given(t, fmt.Sprintf("m%d", i)))
	}
	c.proofs = func(n int) {
		if got := len(c.got); n != 1 || got != 64 {
			t.Errorf("proof %d asked for after %d messages, want one after 64", n, got)
		}
	}
	if done := dl.Handle(t.Context(), run); len(done) != 64 || dl.Stats().Delivered != 64 {
		t.Errorf("%d settled, stats %+v", len(done), dl.Stats())
	}
}

// TestRefused: what the recipient's side refuses for good is a dead message,
// once, with the reason, and holds up nobody.
func TestRefused(t *testing.T) {
	t.Parallel()
	nobody := jid.MustParse("nobody@localhost")
	typed := func(to jid.JID, typ string) *stanza.Stanza {
		st := stanza.NewMessage(to, news, typ, "hello")
		st.ID = "bad"
		return st
	}
	for name, tc := range map[string]struct {
		st     *stanza.Stanza
		online bool
		reason string
	}{
		"no such account":           {typed(nobody, stanza.TypeChat), false, "refused: stanza error service-unavailable"},
		"no way to the domain":      {typed(jid.MustParse("carol@far.example"), stanza.TypeChat), false, "refused: stanza error remote-server-not-found"},
		"groupchat to a user":       {typed(alice, stanza.TypeGroupchat), true, "refused: stanza error service-unavailable"},
		"an error is never shown":   {typed(alice, stanza.TypeError), true, `ignored: no resource takes a message of type "error"`},
		"headline to another place": {typed(jid.MustParse("alice@localhost/gone"), stanza.TypeHeadline), true, `ignored: no resource takes a message of type "headline"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.putStanza(tc.st)
			next := w.put(tc.st.To.Bare(), 1)
			if tc.online {
				c := w.login("alice@localhost/a")
				defer c.expect(t, next)
			}
			w.run()
			failed := w.events.wait(t, trace.Failed, 1)
			if e := failed[0]; !strings.HasPrefix(e.Reason, tc.reason) || e.ID != "q-bad" || e.JID != tc.st.To.String() {
				t.Errorf("failed %+v, want the reason %q", e, tc.reason)
			}
			eventually(t, "it is among the dead", func() bool { return w.dead() >= 1 })
		})
	}
}

// TestRefusedOnce: a message that is refused behind one that is not proven is
// given again with it, and is one dead message all the same.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.put(alice, 1)
	bad := stanza.NewMessage(alice, news, stanza.TypeGroupchat, "hello")
	bad.ID = "bad"
	w.putStanza(bad)
	last := w.put(alice, 1)
	dying := w.login("alice@localhost/a", deaf)
	w.run()
	dying.wait(t, first)
	w.logout(dying)
	c := w.login("alice@localhost/b")
	c.expect(t, append(first, last...))
	w.events.wait(t, trace.Delivered, 2)
	if failed := w.events.of(trace.Failed); len(failed) != 1 || w.dl.Stats().Failed != 1 {
		t.Errorf("%d failures told, %d counted, want one", len(failed), w.dl.Stats().Failed)
	}
}

// TestHeadlineWaits: RFC 6121 would have a headline to an absent user ignored; it
// was promised to be delivered.
func TestHeadlineWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	for _, to := range []string{"alice@localhost", "alice@localhost/a"} {
		st := stanza.NewMessage(jid.MustParse(to), news, stanza.TypeHeadline, "goal")
		st.ID = to
		w.putStanza(st)
	}
	w.events.wait(t, trace.Deferred, 2)
	w.login("alice@localhost/a").expect(t, []string{"alice@localhost", "alice@localhost/a"})
}

// corrupt returns messages that no stage has written.
func (w *world) corrupt(stage broker.Stage) map[string]broker.Message {
	good := func() broker.Message {
		m := w.message(stanza.NewMessage(alice, news, stanza.TypeChat, "hello"))
		m.Stage = stage
		return m
	}
	all := make(map[string]broker.Message)
	change := func(name string, f func(m *broker.Message)) {
		m := good()
		m.ID = name
		f(&m)
		all[name] = m
	}
	change("no record", func(m *broker.Message) { m.Header = nil })
	change("record is not JSON", func(m *broker.Message) { m.Header = map[string]string{"Custody": "{"} })
	change("record without id", func(m *broker.Message) { m.Header = map[string]string{"Custody": "{}"} })
	change("recipient is no address", func(m *broker.Message) { m.Recipient = "@" })
	if stage != broker.Park {
		change("body is no stanza", func(m *broker.Message) { m.Body = []byte("<message") })
		change("body is empty", func(m *broker.Message) { m.Body = nil })
		change("body is another thing", func(m *broker.Message) { m.Body = []byte("<a/>") })
	}
	return all
}

// TestUnreadable: a damaged message is a dead one, with a reason, wherever it is
// found, and what is behind it arrives.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, w *world, n int) {
		t.Helper()
		for _, e := range w.events.wait(t, trace.Failed, n) {
			if !strings.HasPrefix(e.Reason, "unreadable: ") || e.ID == "" {
				t.Errorf("failed %+v, want a reason that says unreadable, and an id", e)
			}
		}
		eventually(t, "they are among the dead", func() bool { return w.dead() == uint64(n) })
	}
	t.Run("live", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		bad := w.corrupt(broker.Deliver)
		for _, m := range bad {
			w.store(m)
		}
		ids := w.put(alice, 1)
		c := w.login("alice@localhost/a")
		w.run()
		c.expect(t, ids)
		check(t, w, len(bad))
	})
	t.Run("while earlier messages wait", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.run()
		ids := w.put(alice, 1)
		w.events.wait(t, trace.Deferred, 1)
		bad := w.corrupt(broker.Deliver)
		delete(bad, "body is no stanza") // found when it is sent
		delete(bad, "body is empty")
		delete(bad, "body is another thing")
		for _, m := range bad {
			w.store(m)
		}
		check(t, w, len(bad))
		ids = append(ids, w.put(alice, 1)...)
		w.events.wait(t, trace.Deferred, 2)
		w.login("alice@localhost/a").expect(t, ids)
		w.idle()
	})
	t.Run("parked", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		bad := w.corrupt(broker.Park)
		for _, m := range bad {
			w.store(m)
		}
		ids := w.put(alice, 1)
		c := w.login("alice@localhost/a")
		w.run()
		c.expect(t, ids)
		check(t, w, len(bad))
		w.idle()
	})
}

// TestPanic: a message that brings out a bug is a dead one. The others of its run
// are not given again.
func TestPanic(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hooks.sent = func(st *stanza.Stanza) {
		if st.ID == "m2" {
			panic("bug")
		}
	}
	ids := w.put(alice, 3)
	c := w.login("alice@localhost/a")
	w.run()
	failed := w.events.wait(t, trace.Failed, 1)
	if failed[0].Reason != "panic: bug" || failed[0].StanzaID != "m2" {
		t.Errorf("failed %+v", failed[0])
	}
	c.expect(t, []string{ids[0], ids[2]})
	eventually(t, "it is among the dead", func() bool { return w.dead() == 1 })
}

// TestStopDuringProof: the end of the gateway lets a client answer for what it
// was sent; it does not get it again after the start.
func TestStopDuringProof(t *testing.T) {
	t.Parallel()
	for name, parked := range map[string]bool{"live": false, "parked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			answer := make(chan struct{})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- w.dl.Run(ctx, broker.ConsumeOptions{}) }()
			if parked {
				w.put(alice, 2)
				w.events.wait(t, trace.Deferred, 2)
			}
			c := w.login("alice@localhost/a", func(c *client) { c.hold = answer })
			if !parked {
				w.put(alice, 2)
			}
			sent := len(c.wait(t, nil))
			cancel()
			close(answer)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			n := len(w.events.of(trace.Delivered))
			if sent == 0 || n < sent {
				t.Fatalf("%d of %d delivered", n, sent)
			}
			w.close(w.broker)

			w.open()
			again := w.login("alice@localhost/a")
			rest := []string{"m1", "m2"}[n:]
			w.run()
			again.expect(t, append(rest, w.put(alice, 1)...))
		})
	}
}

// TestStopWithoutAnswer: a client that does not answer does not hold up the end
// for longer than the grace, and its messages stay.
func TestStopWithoutAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	waited := w.put(alice, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.dl.Run(ctx, broker.ConsumeOptions{Grace: 50 * time.Millisecond}) }()
	w.events.wait(t, trace.Deferred, 1)
	forAlice := w.login("alice@localhost/a", deaf)
	forBob := w.login("bob@localhost/b", deaf)
	live := w.put(bob, 1)
	forAlice.wait(t, waited)
	forBob.wait(t, live)
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("Run did not end")
	}
	if got := w.events.of(trace.Delivered); len(got) != 0 {
		t.Errorf("delivered without proof: %+v", got)
	}
	w.logout(forAlice)
	w.logout(forBob)
	w.close(w.broker)

	w.open()
	w.run()
	w.login("alice@localhost/a").expect(t, waited)
	w.login("bob@localhost/b").expect(t, live)
}

// stubbed is a Delivery without a broker, for what takes time.
func stubbed(deliver func(st *stanza.Stanza) ([]router.Session, error)) *Delivery {
	return New(Options{Router: stubRouter(deliver), Log: zerolog.Nop()})
}

type stubRouter func(st *stanza.Stanza) ([]router.Session, error)

func (r stubRouter) DeliverKept(_ context.Context, st *stanza.Stanza) ([]router.Session, bool, error) {
	took, err := r(st)
	return took, false, err
}
func (stubRouter) Reachable(jid.JID) bool                        { return true }
func (stubRouter) Serves(string) bool                            { return true }
func (stubRouter) Forward(context.Context, *stanza.Stanza) error { return nil }

// given is a message as the broker hands it over.
func given(t testing.TB, id string) *broker.Delivery {
	t.Helper()
	st := stanza.NewMessage(alice, news, stanza.TypeChat, "hello")
	st.ID = id
	msg, err := custody.Deliver(custody.Record{ID: mcmt.ID(id), To: mcmt.Recipient{Address: "alice@localhost"}, JID: alice, Accepted: time.Now()}, id, st.Append(nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	return &broker.Delivery{Stage: msg.Stage, Route: msg.Route, Recipient: msg.Recipient, ID: msg.ID, Header: msg.Header, Body: msg.Body, Attempt: 1}
}

// TestSilentSession: a session that neither answers nor ends is ended, or it
// would get the same messages for ever.
func TestSilentSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newClient("alice@localhost/a")
		c.deaf = true
		dl := stubbed(func(*stanza.Stanza) ([]router.Session, error) { return []router.Session{c}, nil })
		start := time.Now()
		done := dl.Handle(t.Context(), []*broker.Delivery{given(t, "m1")})
		if took := time.Since(start); took != proofTime {
			t.Errorf("gave up after %s, want %s", took, proofTime)
		}
		select {
		case <-c.over:
		default:
			t.Error("the session lives on")
		}
		if len(done) != 1 || dl.Stats().Delivered != 0 {
			t.Errorf("%d settled, stats %+v: want it given again", len(done), dl.Stats())
		}
	})
}

// TestTemporaryErrors: what is not a stanza error for good is tried again, and
// above all an error of the network, which calls itself permanent.
func TestTemporaryErrors(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"offline":            router.ErrOffline,
		"offline, by a pipe": fmt.Errorf("%w: %w", router.ErrOffline, permanentError{}),
		// What one session refuses says nothing about the account.
		"offline, by a refusal": fmt.Errorf("%w: %w", router.ErrOffline, &stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed}),
		"network":               permanentError{},
		"wait":                  &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout},
		"anything":              errors.New("accounts cannot be read"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dl := stubbed(func(*stanza.Stanza) ([]router.Session, error) { return nil, err })
			if out, got := dl.send(t.Context(), given(t, "m1"), time.Now()); got == nil || out.end != nil {
				t.Errorf("%v: dead %t, want not now", got, out.end != nil)
			}
		})
	}
}

type permanentError struct{}

func (permanentError) Error() string   { return "write: broken pipe" }
func (permanentError) Temporary() bool { return false }

// hadRouter is one whose clients have had everything.
type hadRouter struct{ stubRouter }

func (hadRouter) DeliverKept(context.Context, *stanza.Stanza) ([]router.Session, bool, error) {
	return nil, true, nil
}

// TestHadBefore: what a resumed stream has counted is delivered, without being sent.
func TestHadBefore(t *testing.T) {
	t.Parallel()
	bus, events := new(trace.Bus), newRecorder()
	bus.Subscribe(events.add)
	dl := New(Options{Router: hadRouter{}, Trace: bus, Log: zerolog.Nop()})
	if done := dl.Handle(t.Context(), []*broker.Delivery{given(t, "m1")}); len(done) != 1 || dl.Stats().Delivered != 1 {
		t.Errorf("%v settled, stats %+v", done, dl.Stats())
	}
	if got := events.of(trace.Delivered); len(got) != 1 || got[0].Proof != string(router.ProofAck) {
		t.Errorf("delivered %+v", got)
	}
}
