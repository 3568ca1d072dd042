package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/admin"
)

// ask reads a path of the admin HTTP into answer, and returns the status.
func (g *gateway) ask(path string, answer any) int {
	g.t.Helper()
	resp, err := http.Get(g.admin() + path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
			g.t.Fatal(err)
		}
	}
	return resp.StatusCode
}

// routes are those of the queue that have the fields, in pairs.
func (g *gateway) routes(filter ...string) []admin.QueueRoute {
	g.t.Helper()
	query := make(url.Values)
	for i := 0; i < len(filter); i += 2 {
		query.Set(filter[i], filter[i+1])
	}
	var answer admin.QueueRoutes
	if code := g.ask("/v1/queue?"+query.Encode(), &answer); code != http.StatusOK {
		g.t.Fatalf("queue of %v: %d", filter, code)
	}
	return answer.Routes
}

// waits waits until the queue has one route of the recipient and state, with so
// many messages, and nothing else of the recipient.
func (g *gateway) waits(recipient string, state admin.QueueState, messages int) (r admin.QueueRoute) {
	g.t.Helper()
	g.eventually(recipient+" "+string(state), func() bool {
		all := g.routes("recipient", recipient)
		if len(all) != 1 || all[0].State != state || all[0].Messages != messages {
			return false
		}
		r = all[0]
		return true
	})
	return r
}

// operate runs a command on the gateway and holds its standard output, or its
// error where that is expected, to what is wanted.
func operate(t *testing.T, g *gateway, want string, args ...string) {
	t.Helper()
	stdout, stderr, code := program(t, "", append(args, "--admin", g.admin())...)
	if text, fails := strings.CutPrefix(want, "error: "); fails != (code != 0) || !strings.Contains(stdout+stderr, text) {
		t.Fatalf("%v ended with %d\n%s%s\nwant %s", args, code, stdout, stderr, want)
	}
}

// send injects messages for a recipient, in this order.
func send(t *testing.T, g *gateway, to string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := inject(t.Context(), g, false, to, text); err != nil {
			t.Fatal(err)
		}
	}
}

// away has an account and no session.
const away = "away@localhost"

// newQueue is a gateway with accounts and an empty queue.
func newQueue(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t, "")
	g.start()
	for _, user := range []string{"away", "bob", "carol"} {
		g.addUser(user+"@localhost", "secret")
	}
	operate(t, g, "the queue is empty", "queue", "list")
	return g
}

// TestQueueListed: what waits is listed, tried again, and one message of it
// dropped.
func TestQueueListed(t *testing.T) {
	t.Parallel()
	g := newQueue(t)
	send(t, g, away, "1", "2", "3")
	r := g.waits(away, admin.Deferred, 3)
	if r.Route != away || r.Domain != "localhost" || r.Oldest.IsZero() || r.Reason == "" {
		t.Errorf("listed as %+v", r)
	}
	var listed admin.QueueMessages
	g.ask("/v1/queue/messages?recipient="+away, &listed)
	if len(listed.Messages) != 3 || listed.More {
		t.Fatalf("messages %+v", listed)
	}
	for i, m := range listed.Messages {
		if m.From != "news@corp.example" || m.To != away || m.JID != away || m.ID == "" || m.StanzaID == "" || m.State != admin.Deferred || m.Reason == "" ||
			m.Accepted.IsZero() || m.Since.Before(m.Accepted) || m.Size == 0 || i > 0 && m.Accepted.Before(listed.Messages[i-1].Accepted) {
			t.Errorf("message %d: %+v", i, m)
		}
	}
	var first admin.QueueMessages
	if g.ask("/v1/queue/messages?limit=1", &first); len(first.Messages) != 1 || !first.More || first.Messages[0] != listed.Messages[0] {
		t.Errorf("the first: %+v", first)
	}
	operate(t, g, "error: nothing in the queue has state dead", "queue", "list", "--state", "dead")
	operate(t, g, "error: nothing is in the queue that has recipient bob@localhost", "queue", "drop", "bob@localhost")
	operate(t, g, "3 messages are tried again", "queue", "retry", away)
	g.waits(away, admin.Deferred, 3) // in vain
	operate(t, g, "error: 3 messages, 3 deferred: --yes", "queue", "drop", away)
	operate(t, g, "1 message is dropped", "queue", "drop", listed.Messages[1].ID)
	g.waits(away, admin.Deferred, 2)
	j := login(t, g.xmpp(), away+"/a", 0)
	j.want("1")
	j.want("3")
	send(t, g, away, "live")
	j.want("live") // and "2" did not come before it
	g.eventually("an empty queue", func() bool { return len(g.routes()) == 0 })
}

// TestQueueHeld: what is held comes to nobody, whether it was there before or
// came later, and outlives the process; after the release it arrives in order.
func TestQueueHeld(t *testing.T) {
	t.Parallel()
	g := newQueue(t)
	send(t, g, away, "1")
	g.waits(away, admin.Deferred, 1)
	operate(t, g, "1 route is held", "queue", "hold", away)
	g.waits(away, admin.Held, 1)
	operate(t, g, "1 route is held", "queue", "hold", "carol@localhost") // has nothing now
	g.waits("carol@localhost", admin.Held, 0)

	g.kill()
	g.start()
	g.waits(away, admin.Held, 1)
	g.waits("carol@localhost", admin.Held, 0)
	j, bob, carol := login(t, g.xmpp(), away+"/a", 0), login(t, g.xmpp(), "bob@localhost/b", 0), login(t, g.xmpp(), "carol@localhost/c", 0)
	send(t, g, away, "2")
	send(t, g, "carol@localhost", "1")
	send(t, g, "bob@localhost", "1")
	bob.want("1") // nobody else is held
	g.waits(away, admin.Held, 2)
	g.waits("carol@localhost", admin.Held, 1)
	operate(t, g, "error: nothing is deferred that has recipient "+away, "queue", "retry", away)
	select {
	case st := <-j.in:
		t.Fatalf("came in spite of the hold: %s", st)
	case st := <-carol.in:
		t.Fatalf("came in spite of the hold: %s", st)
	default:
	}
	operate(t, g, "1 route is released", "queue", "release", away)
	j.want("1")
	j.want("2")
	send(t, g, away, "3")
	j.want("3")
	operate(t, g, "1 route is released", "queue", "release", "--all")
	carol.want("1")
	operate(t, g, "error: nothing is held", "queue", "release", "--all")

	// A domain, with everybody who is there.
	operate(t, g, "1 route is held", "queue", "hold", "--domain", "localhost")
	send(t, g, "bob@localhost", "2")
	g.waits("bob@localhost", admin.Held, 1)
	operate(t, g, "1 route is released", "queue", "release", "--domain", "localhost")
	bob.want("2")
	g.eventually("an empty queue", func() bool { return len(g.routes()) == 0 })
}

// TestQueueDead: what was given up is listed with its reason, tried again where
// that is asked for, and dropped.
func TestQueueDead(t *testing.T) {
	t.Parallel()
	g := newQueue(t)
	// A message without anything that could be said.
	if a := g.post("/v1/messages?from=news@corp.example&to=bob@localhost", "message/rfc822", "From: news@corp.example\r\n\r\n"); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	dead := func(times float64) admin.QueueRoute {
		t.Helper()
		g.eventually("the message to be given up", func() bool { return metricsOf(t, g)[`mcmt2xmpp_stage_total{stage="failed"}`] == times })
		return g.waits("bob@localhost", admin.Dead, 1)
	}
	if r := dead(1); !strings.Contains(r.Reason, "no part that can be sent") || !r.Next.IsZero() {
		t.Errorf("listed as %+v", r)
	}
	operate(t, g, "no part that can be sent", "queue", "show", "bob@localhost", "--reason", "no part")
	operate(t, g, "error: nothing is deferred that has domain localhost; for what is dead give --state dead", "queue", "retry", "--domain", "localhost")
	operate(t, g, "1 message is tried again", "queue", "retry", "--domain", "localhost", "--state", "dead")
	dead(2)
	operate(t, g, "1 message is dropped", "queue", "drop", "bob@localhost")
	operate(t, g, "the queue is empty", "queue", "list")
}

// TestTrace: what became of a message, by each of its ids.
func TestTrace(t *testing.T) {
	t.Parallel()
	g := newQueue(t)
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	a := g.post("/v1/messages", "application/json", `{"from":"news@corp.example","to":["bob@localhost","away@localhost"],"text":"to two"}`)
	id := a.result(t).ID
	st := bob.want("to two")
	if err := inject(t.Context(), g, true, "bob@localhost", "by mail"); err != nil {
		t.Fatal(err)
	}
	bob.want("by mail")

	var found admin.Outcomes
	g.eventually("both ends of the message", func() bool {
		found = admin.Outcomes{}
		g.ask("/v1/messages/"+id, &found)
		return len(found.Outcomes) == 2 && found.Outcomes[0].Outcome != "waiting" && found.Outcomes[1].Outcome != "waiting"
	})
	for _, o := range found.Outcomes {
		want := map[string]admin.OutcomeKind{"bob@localhost": "delivered", away: "deferred"}[o.JID]
		if o.ID != id || o.Outcome != want || o.StanzaID == "" || o.From != "news@corp.example" || o.To != o.JID || o.Accepted.IsZero() ||
			o.Ended.IsZero() != (want == "deferred") || (o.Proof != "") != (want == "delivered") || o.Listener == "" || o.Attempts < 1 {
			t.Errorf("%+v, want it %s", o, want)
		}
	}
	g.eventually("the mail's end", func() bool {
		return g.ask("/v1/messages/"+url.PathEscape("<track7@corp.example>"), &found) == http.StatusOK && found.Outcomes[0].Outcome == "delivered"
	})
	operate(t, g, "bob@localhost delivered", "trace", "<track7@corp.example>")
	operate(t, g, "bob@localhost delivered", "trace", st.ID)
	operate(t, g, "away@localhost deferred", "trace", away)
	operate(t, g, "error: no message is known", "trace", "nothing")

	operate(t, g, "1 message is dropped", "queue", "drop", away)
	operate(t, g, "away@localhost dropped", "trace", id)
	operate(t, g, "error: nothing in the queue has id "+id, "queue", "show", id)

	// What has ended is known after a crash too.
	g.kill()
	g.start()
	operate(t, g, "bob@localhost delivered", "trace", id)
	operate(t, g, "away@localhost dropped", "trace", id)
}
