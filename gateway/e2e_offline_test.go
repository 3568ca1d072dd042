package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

// TestOffline: what comes for somebody who is away is kept, also over the end of
// the process, and arrives at login: all of it, in order, once, and stamped with
// the time of acceptance (XEP-0203).
func TestOffline(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		between func(*gateway)
	}{
		{"no restart", func(*gateway) {}},
		{"stopped", func(g *gateway) { g.stop(); g.start() }},
		{"killed", func(g *gateway) { g.kill(); g.start() }},
		{"stopped and killed", func(g *gateway) { g.stop(); g.start(); g.kill(); g.start() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, "")
			g.start()
			g.addUser("away@localhost", "secret")
			before := time.Now().Add(-time.Second)
			const count = 200
			for i := range count {
				if err := inject(t.Context(), g, i%20 == 0, "away@localhost", fmt.Sprint(i)); err != nil {
					t.Fatal(err)
				}
			}
			after := time.Now().Add(time.Second)
			c.between(g)
			// What the end of the process met on its way to the others goes on first:
			// it was not deferred, and would come without a delay.
			g.eventually("all wait for the recipient", func() bool {
				m := metricsOf(t, g)
				return m["mcmt2xmpp_parked_messages"] >= count && m[`mcmt2xmpp_custody_waiting{stage="in"}`] == 0 && m[`mcmt2xmpp_custody_waiting{stage="dlv"}`] == 0
			})
			j := login(t, g.xmpp(), "away@localhost/back", 0)
			ids := make(map[string]bool)
			for i := range count {
				st := j.want(fmt.Sprint(i))
				if st.ID == "" || ids[st.ID] {
					t.Fatalf("message %d has the id %q, which is empty or not its own", i, st.ID)
				}
				ids[st.ID] = true
				delay := st.Element.Child(nameDelay)
				if delay == nil {
					t.Fatalf("message %d has no delay", i)
				}
				stamp, err := time.Parse(time.RFC3339, delay.Attr("stamp"))
				if err != nil || stamp.Before(before) || stamp.After(after) || delay.Attr("from") != "localhost" {
					t.Fatalf("message %d: %s, accepted between %s and %s", i, delay, before, after)
				}
			}
			// The next one comes live, and nothing twice before it.
			if err := inject(t.Context(), g, true, "away@localhost", "live"); err != nil {
				t.Fatal(err)
			}
			if st := j.want("live"); st.Element.Child(nameDelay) != nil {
				t.Errorf("a message that waited for nothing has a delay: %s", st)
			}
			g.eventually("nothing left", func() bool {
				m := metricsOf(t, g)
				return m["mcmt2xmpp_parked_messages"] == 0 && m[`mcmt2xmpp_custody_waiting{stage="dlv"}`] == 0
			})
		})
	}
}

// TestComesAndGoes: the recipient logs in and out, in order and by losing the
// connection, while messages flow.
func TestComesAndGoes(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	const user = "restless@localhost"
	g.addUser(user, "secret")
	box := newInbox()
	ctx, cancel := context.WithCancel(t.Context())
	var client sync.WaitGroup
	defer client.Wait()
	defer cancel()
	sessions := 0
	client.Go(func() {
		for ; ctx.Err() == nil; sessions++ {
			box.visit(ctx, g, user, time.Duration(10+sessions*17%50)*time.Millisecond, sessions%2 == 0)
		}
	})
	var sent []string
	for i := range 400 {
		body := fmt.Sprintf("message %d", i)
		if err := inject(t.Context(), g, i%8 == 0, user, body); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, body)
	}
	copies := box.await(t, sent)
	cancel()
	client.Wait()
	if !slices.Equal(box.bodies, sent) {
		t.Errorf("arrived in another order than sent: %q", box.bodies)
	}
	if sessions < 5 {
		t.Errorf("only %d sessions: the test proves nothing", sessions)
	}
	t.Logf("%d sessions, %d copies under the same id", sessions, copies)
}

// visit logs in, takes what comes for a while and leaves, politely or not.
func (b *inbox) visit(ctx context.Context, g *gateway, user string, stay time.Duration, polite bool) {
	c, err := dial(ctx, g.xmpp(), user, "secret")
	if err != nil {
		return
	}
	visit, cancel := context.WithTimeout(ctx, stay)
	defer cancel()
	for {
		st, err := c.Receive(visit)
		if err != nil {
			break
		}
		b.add(st)
	}
	if !polite {
		_ = c.Stream().Abort()
		return
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = c.Close(end)
}

// TestPriorities: messages to an account go to the resources with the highest
// priority, never to a negative one, and wait where there is no other (RFC 6121
// §8.5.2.1.1).
func TestPriorities(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	const user = "many@localhost"
	g.addUser(user, "secret")
	send := func(text string) {
		t.Helper()
		if err := inject(t.Context(), g, false, user, text); err != nil {
			t.Fatal(err)
		}
	}
	negative := login(t, g.xmpp(), user+"/negative", -1)
	send("nobody")
	g.eventually("the message waits", func() bool { return metricsOf(t, g)["mcmt2xmpp_parked_messages"] == 1 })

	low := login(t, g.xmpp(), user+"/low", 1)
	if st := low.want("nobody"); st.Element.Child(nameDelay) == nil {
		t.Error("a message that waited has no delay")
	}
	first, second := login(t, g.xmpp(), user+"/first", 5), login(t, g.xmpp(), user+"/second", 5)
	send("to the highest")
	first.want("to the highest")
	second.want("to the highest")
	// Who closes before the query behind a message is answered has not proven it: it
	// would go to the next one.
	g.eventually("both are proven", func() bool { return metricsOf(t, g)[`mcmt2xmpp_delivery_total{outcome="delivered"}`] == 2 })
	first.close()
	second.close()
	send("to the rest")
	low.want("to the rest") // and nothing before it
	// Presence may raise a priority (RFC 6121 §4.4.2).
	if err := negative.c.Available(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	g.eventually("the new priority is known", func() bool {
		send("raised?")
		select {
		case st, ok := <-negative.in:
			return ok && bodyOf(st) == "raised?" // and nothing before it
		case <-low.in:
			return false
		}
	})
}

// TestChatStateOffline: between two Jabber users a chat state is lost on somebody
// who is away, without an error, and a message is kept (SPEC 8).
func TestChatStateOffline(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	const composing, active = "<composing xmlns='http://jabber.org/protocol/chatstates'/>", "<active xmlns='http://jabber.org/protocol/chatstates'/>"
	alice.say("bob@localhost", composing)
	alice.say("bob@localhost", "<thread>t</thread>"+composing)
	alice.say("bob@localhost", "<body>are you there?</body>"+active)
	alice.say("alice@localhost", "<body>to myself</body>")
	alice.want("to myself") // an error would have come before
	g.eventually("the message is kept", func() bool { return metricsOf(t, g)["mcmt2xmpp_parked_messages"] == 1 })

	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	st := bob.want("are you there?")
	if st.Element.Child(nameDelay) == nil || st.From.String() != "alice@localhost/a" {
		t.Errorf("kept as %s: want a delay and the sender", st)
	}
	if st.Element.Child(xmlwire.Name{Space: "http://jabber.org/protocol/chatstates", Local: "active"}) == nil {
		t.Error("the state beside a body is gone")
	}
	// To somebody who is there a state passes.
	alice.say("bob@localhost", composing)
	if st := bob.next(); st.Element.Child(xmlwire.Name{Space: "http://jabber.org/protocol/chatstates", Local: "composing"}) == nil {
		t.Errorf("want the state, got %s", st)
	}
	if got := metricsOf(t, g).value(t, `mcmt2xmpp_router_stanzas_total{outcome="filtered"}`); got != 2 {
		t.Errorf("%v messages are filtered, want 2", got)
	}
}
