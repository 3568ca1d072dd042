package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/events"
)

// composingPart is a message that a filter drops.
const composingPart = `{"from":"news@corp.example","to":["alice@localhost"],"xmpp":"<message><composing xmlns='http://jabber.org/protocol/chatstates'/></message>","email":"From: news@corp.example\r\nSubject: typing\r\n\r\nx"}`

// TestEventsOfOutcomes: a webhook hears of each way in which a message can end, once,
// signed, and without a word of its text.
func TestEventsOfOutcomes(t *testing.T) {
	t.Parallel()
	h, waiting := newHook(t), newHook(t)
	g, mx := newMailGateway(t, h.webhook("crm", "")+waiting.webhook("waiting", "outcomes = ( deferred dropped )")+
		h.webhook("expired-only", "outcomes = ( expired ) domains = ( .late.example )")+`
domain "late.example" { xmpp_role = "client" routes = ( "xmpp-server://127.0.0.1:1" ) retry_interval = 1 max_retry_interval = 1 message_expiration = 1 }
domain "down.example" { xmpp_role = "client" routes = ( "xmpp-server://127.0.0.1:1" ) }
`)
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	ends := func(recipient, outcome string) (e hookEvent) {
		t.Helper()
		g.eventually("an event: "+outcome, func() bool {
			all := h.of(recipient)
			i := slices.IndexFunc(all, func(e hookEvent) bool { return e.Data.Outcome == outcome })
			if i >= 0 {
				e = all[i]
			}
			return i >= 0
		})
		if e.Type != "message."+outcome || e.Version != events.Version || e.Data.ID == "" || !e.Timestamp.Equal(e.Data.Ended) ||
			e.Data.Ended.Before(e.Data.Accepted) || (e.Data.Proof != "") == (e.Data.Reason != "") || (e.Data.Proof != "") != (outcome == "delivered" || outcome == "relayed") {
			t.Errorf("the event of %s is %+v", outcome, e)
		}
		return e
	}
	send(t, g, "alice@localhost", "the secret word is xyzzy")
	alice.want("the secret word is xyzzy")
	ends("alice@localhost", "delivered")
	if a := g.post("/v1/messages", "application/json", composingPart); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	ends("alice@localhost", "filtered")
	if a := g.post("/v1/messages?from=news@corp.example&to=alice@localhost", "message/rfc822", "From: news@corp.example\r\n\r\n"); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	ends("alice@localhost", "failed")
	if err := inject(t.Context(), g, true, "eve@corp.example", "the secret word is xyzzy"); err != nil {
		t.Fatal(err)
	}
	one(t, mx, "eve@corp.example")
	ends("mailto:eve@corp.example", "relayed")
	send(t, g, "x@sub.late.example", "the secret word is xyzzy")
	send(t, g, "x@late.example", "the secret word is xyzzy")
	ends("x@late.example", "expired")
	send(t, g, "x@down.example", "the secret word is xyzzy")
	g.waits("x@down.example", admin.Deferred, 1)
	operate(t, g, "1 message is dropped", "queue", "drop", "x@down.example")
	ends("x@down.example", "dropped")
	g.eventually("events of what waited", func() bool { return len(waiting.of("x@down.example")) == 2 })
	if all := waiting.of("x@down.example"); all[0].Type != "message.deferred" || all[0].Data.Reason == "" || !all[0].Data.Ended.IsZero() ||
		!all[0].Data.Next.After(all[0].Timestamp) || all[1].Type != "message.dropped" || all[1].Data.ID != all[0].Data.ID {
		t.Errorf("events of what waited: %+v", all)
	}
	if all := h.of("x@down.example"); len(all) != 1 {
		t.Errorf("who has not asked for deferrals has %+v", all)
	}

	counts := make(map[string]int)
	for _, e := range h.all() {
		counts[e.ID+" "+e.Data.Outcome]++
		if text, _ := json.Marshal(e); strings.Contains(string(text), "xyzzy") {
			t.Errorf("an event tells what the message says: %s", text)
		}
	}
	g.eventually("the second webhook", func() bool {
		var list admin.WebhookList
		return g.ask("/v1/webhooks", &list) == http.StatusOK && len(list.Webhooks) == 3 && list.Webhooks[2].Sent == 1 && list.Webhooks[2].State == "idle"
	})
	for id, n := range counts {
		if want := 1; n != want && !strings.HasSuffix(id, " expired") {
			t.Errorf("%s came %d times", id, n)
		}
	}
	values := metricsOf(t, g)
	if n := values[`mcmt2xmpp_events_sent_total{to="crm"}`]; n < 6 {
		t.Errorf("metrics say %v were sent", n)
	}
	for _, name := range []string{"failed_total", "passed_over_total", "missed_total", "behind", "oldest_seconds", "failing_seconds", "given_up"} {
		if n, ok := values[`mcmt2xmpp_events_`+name+`{to="crm"}`]; !ok || n != 0 {
			t.Errorf("metric %s is %v, there %t", name, n, ok)
		}
	}
	if log := g.logFrom(0); strings.Contains(log, "hooks/x") || strings.Contains(log, hookKey[6:]) {
		t.Error("the log tells a secret")
	}
}

// TestEventForm: what an event tells has the names that the API has.
func TestEventForm(t *testing.T) {
	t.Parallel()
	api := make(map[string]reflect.Type)
	kind := reflect.TypeFor[admin.Outcome]()
	for i := range kind.NumField() {
		api[kind.Field(i).Tag.Get("json")] = kind.Field(i).Type
	}
	kind = reflect.TypeFor[events.Data]()
	for i := range kind.NumField() {
		f := kind.Field(i)
		of := api[f.Tag.Get("json")]
		if text := of != nil && of.Kind() == reflect.String && f.Type.Kind() == reflect.String; of != f.Type && !text {
			t.Errorf("%s is not that of GET /v1/messages/{id}", f.Tag.Get("json"))
		}
	}
}

// TestWebhookTrouble: a receiver that is down, broken, slow, lies and wants no more, with
// the commands of the operator, a change of the configuration, and another receiver that
// hears at once all the time.
func TestWebhookTrouble(t *testing.T) {
	t.Parallel()
	h, other := newHook(t), newHook(t)
	g := newGateway(t, h.webhook("crm", "timeout = 2")+other.webhook("other", "max_batch = 10"))
	g.start()
	g.addUser("alice@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	sent := 0
	say := func() {
		t.Helper()
		sent++
		text := fmt.Sprint("text ", sent)
		send(t, g, "alice@localhost", text)
		alice.want(text)
	}
	arrives := func(what string, h *hookServer) {
		t.Helper()
		g.eventually("events "+what, func() bool { return len(h.of("alice@localhost")) == sent })
	}
	status := func() admin.Webhook {
		t.Helper()
		var list admin.WebhookList
		if code := g.ask("/v1/webhooks", &list); code != http.StatusOK || len(list.Webhooks) != 2 || list.Stream != nil {
			t.Fatalf("%d: %+v", code, list)
		}
		return list.Webhooks[0]
	}
	fails := func(what, answer string) {
		t.Helper()
		g.eventually("a failure: "+what, func() bool { return strings.Contains(status().Answer, answer) && status().Tries > 0 })
		if s := status(); s.State != "retrying" || s.Behind == 0 || s.Failing.IsZero() || s.Node == "" {
			t.Errorf("%s: %+v", what, s)
		}
	}
	say()
	arrives("at first", h)
	h.down()
	say()
	say()
	fails("down", "refused")
	arrives("at the other", other)
	operate(t, g, "retrying", "webhook", "list")
	operate(t, g, "connection refused", "webhook", "list")
	h.up()
	arrives("when it is up", h)

	h.answers(func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if n < 2 {
			http.Error(w, "no database today", http.StatusInternalServerError)
		}
		return n >= 2
	})
	say()
	fails("broken", "500 Internal Server Error: no database today")
	arrives("after 500", h)

	h.answers(func(_ http.ResponseWriter, r *http.Request, n int) bool {
		if n == 0 {
			<-r.Context().Done()
		}
		return n > 0
	})
	say()
	fails("slow", "no answer within 2s")
	arrives("after it was slow", h)

	h.answers(func(w http.ResponseWriter, _ *http.Request, n int) bool {
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write([]byte("not so much"))
		return true
	})
	say()
	say()
	arrives("while it lies", h)

	h.answers(func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 0 {
			http.Redirect(w, r, "http://"+other.addr+"/", http.StatusTemporaryRedirect)
		}
		return n > 0
	})
	say()
	fails("redirecting", "307 Temporary Redirect")
	arrives("after a redirect", h)

	h.answers(func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.WriteHeader(http.StatusGone)
		return false
	})
	say()
	g.eventually("it to be given up", func() bool { return status().State == "given up" })
	if n := metricsOf(t, g)[`mcmt2xmpp_events_given_up{to="crm"}`]; n != 1 {
		t.Errorf("metrics: given up %v", n)
	}
	requests := h.requests()
	say()
	g.stop()
	g.start()
	alice = login(t, g.xmpp(), "alice@localhost/desk", 0)
	say()
	arrives("at the other after a restart", other)
	g.eventually("it known as given up", func() bool { return status().State == "given up" })
	if n := h.requests(); n != requests {
		t.Errorf("%d requests to who wants none, after %d", n, requests)
	}
	h.answers(nil)
	operate(t, g, "crm is tried now", "webhook", "retry", "crm")
	arrives("after retry", h)
	operate(t, g, "error: 404: no webhook has that name", "webhook", "retry", "nobody")

	// Once more, under the same ids.
	before := len(h.all())
	operate(t, g, "crm gets it once more", "webhook", "replay", "crm", "--since", "1h")
	g.eventually("a replay", func() bool { return len(h.all()) >= before+sent })
	if n := len(h.of("alice@localhost")); n != sent {
		t.Errorf("%d events after a replay, want %d", n, sent)
	}
	operate(t, g, "error: 400", "webhook", "replay", "crm", "--since", "1h", "--until", "2h")

	// A webhook that is new hears from now on; one that is gone hears nothing.
	third := newHook(t)
	from := g.reload(strings.Replace(g.config(), h.webhook("crm", "timeout = 2"), third.webhook("third", ""), 1))
	g.eventually("the reload", func() bool { return g.logged(from, "configuration reloaded") != "" })
	g.eventually("another webhook", func() bool {
		var list admin.WebhookList
		return g.ask("/v1/webhooks", &list) == http.StatusOK && len(list.Webhooks) == 2 && slices.ContainsFunc(list.Webhooks, func(w admin.Webhook) bool { return w.Name == "third" && w.State == "idle" })
	})
	h.answers(nil)
	say()
	g.eventually("an event at the new one", func() bool { return len(third.of("alice@localhost")) == 1 })
	arrives("at the one that has stayed", other)
	if n := h.requests(); n != 0 {
		t.Errorf("%d requests to who is gone", n)
	}
}

// TestWebhookKilled: the gateway is killed while events are on their way, and the receiver
// fails now and then. Each message has its event, under the same id however often it
// comes, in the order in which they were accepted.
func TestWebhookKilled(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	g := newGateway(t, h.webhook("crm", "max_batch = 3"))
	g.start()
	g.addUser("alice@localhost", "secret")
	h.answers(func(w http.ResponseWriter, _ *http.Request, n int) bool {
		if n%5 == 4 {
			w.WriteHeader(http.StatusBadGateway)
		}
		return n%5 != 4
	})
	const rounds, each = 4, 25
	for round := range rounds {
		login(t, g.xmpp(), "alice@localhost/desk", 0)
		n := len(h.all())
		for i := range each {
			send(t, g, "alice@localhost", fmt.Sprintf("%d.%d", round, i))
		}
		g.eventually("events", func() bool { return len(h.all()) > n+each/2 })
		g.kill()
		g.start()
	}
	login(t, g.xmpp(), "alice@localhost/desk", 0)
	g.eventually("all events", func() bool { return len(h.of("alice@localhost")) >= rounds*each })
	ids := make(map[string]string)
	last := time.Time{}
	for _, e := range h.of("alice@localhost") {
		if id, ok := ids[e.Data.ID]; ok || e.Data.Outcome != "delivered" {
			t.Errorf("%s has the events %s and %s: %+v", e.Data.ID, id, e.ID, e)
		}
		ids[e.Data.ID] = e.ID
		if e.Data.Accepted.Before(last) {
			t.Errorf("%s comes after what was accepted later", e.ID)
		}
		last = e.Data.Accepted
	}
	if len(ids) != rounds*each {
		t.Errorf("%d messages have an event, want %d", len(ids), rounds*each)
	}
	t.Logf("%d events came, %d of them once more", len(h.all()), len(h.all())-len(ids))
}

// TestEventsTwice: what an operator sends on its way again ends again: two events, in
// their order.
func TestEventsTwice(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	g := newGateway(t, h.webhook("crm", ""))
	g.start()
	g.addUser("bob@localhost", "secret")
	if a := g.post("/v1/messages?from=news@corp.example&to=bob@localhost", "message/rfc822", "From: news@corp.example\r\n\r\n"); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	for n := range 3 {
		g.eventually("an event", func() bool { return len(h.of("bob@localhost")) == n+1 })
		g.waits("bob@localhost", admin.Dead, 1)
		operate(t, g, "1 message is tried again", "queue", "retry", "bob@localhost", "--state", "dead")
	}
	all := h.of("bob@localhost")
	for i, e := range all {
		if e.Data.Outcome != "failed" || e.Data.ID != all[0].Data.ID || i > 0 && !e.Data.Ended.After(all[i-1].Data.Ended) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
}

// TestEventsCluster: of two processes one sends to webhooks and publishes; when it is
// killed the other does. A client of NATS reads everything from the stream.
func TestEventsCluster(t *testing.T) {
	t.Parallel()
	h := newHook(t)
	n := newNATS(t)
	conf := h.webhook("crm", "") + fmt.Sprintf(`nats { urls = ( "nats://127.0.0.1:%d" ) slices = 2 }`, n.o.Port)
	nodes := []*gateway{newGateway(t, conf), newGateway(t, conf)}
	for _, g := range nodes {
		g.start()
	}
	nodes[0].addUser("alice@localhost", "secret")
	nodes[0].eventually("the account at the other", func() bool { return inject(t.Context(), nodes[1], false, "alice@localhost", "hello") == nil })
	var sender, rest *gateway
	nodes[0].eventually("one that sends", func() bool {
		first, second := sends(t, nodes[0]), sends(t, nodes[1])
		if sender, rest = nodes[0], nodes[1]; second {
			sender, rest = rest, sender
		}
		return first != second
	})
	alice := login(t, rest.xmpp(), "alice@localhost/desk", 0)
	alice.want("hello")
	count := 1
	say := func(some int) {
		t.Helper()
		for range some {
			count++
			text := fmt.Sprint("text ", count)
			send(t, rest, "alice@localhost", text)
			alice.want(text)
		}
		rest.eventually("events", func() bool { return len(h.of("alice@localhost")) == count })
	}
	say(5)
	// Each process answers for whoever sends.
	for _, g := range nodes {
		operate(t, g, "event.>", "webhook", "list")
	}
	if all := h.all(); len(all) != count {
		t.Errorf("%d events for %d messages: two processes send", len(all), count)
	}
	sender.kill()
	say(5)
	if !sends(t, rest) {
		t.Error("the other does not send")
	}

	nc, err := nats.Connect(n.s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	cons, err := js.OrderedConsumer(t.Context(), "EVENT", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"event.delivered.localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for len(seen) < count {
		m, err := cons.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatalf("after %d events: %v", len(seen), err)
		}
		var e hookEvent
		if err := json.Unmarshal(m.Data(), &e); err != nil || e.ID != m.Headers().Get(jetstream.MsgIDHeader) || e.Data.Outcome != "delivered" {
			t.Errorf("%s: %v", m.Data(), err)
		}
		seen[e.ID] = true
	}
	for _, e := range h.of("alice@localhost") {
		if !seen[e.ID] {
			t.Errorf("%s is not in the stream", e.ID)
		}
	}
}

// sends says whether a process sends events.
func sends(t *testing.T, g *gateway) (sends bool) {
	t.Helper()
	_, sends = metricsOf(t, g)[`mcmt2xmpp_events_behind{to="crm"}`]
	return sends
}
