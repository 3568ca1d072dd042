package main

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/admin/openapitest"
	"mcmt2xmpp/mcmt/mailtest"
)

// traced are the outcomes that an id names.
func (g *gateway) traced(id string) []admin.Outcome {
	g.t.Helper()
	var found admin.Outcomes
	if code := g.ask("/v1/messages/"+url.PathEscape(id), &found); code != http.StatusOK && code != http.StatusNotFound {
		g.t.Fatalf("trace of %s: %d", id, code)
	}
	return found.Outcomes
}

// traces waits until a message has one outcome, and that is the given one.
func (g *gateway) traces(id string, outcome admin.OutcomeKind) (o admin.Outcome) {
	g.t.Helper()
	g.eventually(id+" "+string(outcome), func() bool {
		all := g.traced(id)
		if len(all) != 1 || all[0].Outcome != outcome {
			return false
		}
		o = all[0]
		return true
	})
	return o
}

// searched are the messages that a query finds, page by page.
func (g *gateway) searched(query string) (all []admin.Outcome) {
	g.t.Helper()
	for after := ""; ; {
		var page admin.Outcomes
		if code := g.ask("/v1/messages?"+query+after, &page); code != http.StatusOK {
			g.t.Fatalf("search %s: %d", query, code)
		}
		all = append(all, page.Outcomes...)
		if page.Next == "" {
			return all
		}
		after = "&after=" + url.QueryEscape(page.Next)
	}
}

// asDocumented holds what is answered under paths to the document that the gateway serves.
func (g *gateway) asDocumented(paths ...string) {
	g.t.Helper()
	get := func(path string) (*http.Response, []byte) {
		resp, err := http.Get(g.admin() + path)
		if err != nil {
			g.t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			g.t.Fatal(err)
		}
		return resp, body
	}
	_, text := get("/v1/openapi.json")
	doc, err := openapitest.Parse(text)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, path := range paths {
		resp, body := get(path)
		doc.CheckAnswer(g.t, resp.Request, resp.StatusCode, resp.Header, body)
	}
}

// stepsOf are the steps in one word each, with the name where there is one.
func stepsOf(o admin.Outcome) (all []string) {
	for _, s := range o.Steps {
		word := s.Step
		if s.Step == "filter" || s.Step == "converted" {
			word += " " + s.Name
		}
		all = append(all, word)
	}
	return all
}

// checkSteps holds the steps of a message to their kinds and to the order of their times.
func checkSteps(t *testing.T, o admin.Outcome, want ...string) {
	t.Helper()
	if got := stepsOf(o); !slices.Equal(got, want) {
		t.Errorf("%s: steps %q, want %q", o.ID, got, want)
	}
	for i, s := range o.Steps {
		if s.At.IsZero() || s.Node == "" || i > 0 && s.At.Before(o.Steps[i-1].At) {
			t.Errorf("%s: step %d is %+v after %+v", o.ID, i, s, o.Steps[max(i-1, 0)])
		}
	}
}

// step is the first of a kind.
func step(o admin.Outcome, kind string) (s admin.Step) {
	for _, s := range o.Steps {
		if s.Step == kind {
			return s
		}
	}
	return s
}

const timelines = `
retry_interval = 1
max_retry_interval = 1
filter "spam" { type = "body_regex" pattern = "(?i)free" mode = "shadow" direction = "both" }
domain "old.example" { xmpp_role = "server" message_expiration = 2 }
`

// TestTimeline: the whole life of messages is told, whatever became of them, by each of
// their ids, and a crash between two stages takes nothing of it away.
func TestTimeline(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, timelines)
	g.addUser("carol@localhost", "secret")
	g.addUser("ghost@old.example", "secret")
	accepted := offlineThenDelivered(t, g)
	answered(t, g, accepted)
	expired(t, g, mx)
	found(t, g)
}

// offlineThenDelivered is a message whose recipient is away, also when it is tried again;
// the gateway is killed, and then the recipient comes.
func offlineThenDelivered(t *testing.T, g *gateway) (stanzaID string) {
	t.Helper()
	if err := inject(t.Context(), g, true, "alice@localhost", "free lunch"); err != nil {
		t.Fatal(err)
	}
	var id string
	g.eventually("two attempts in vain", func() bool {
		all := g.traced("alice@localhost")
		if len(all) != 1 || all[0].Outcome != "deferred" || all[0].Attempts < 3 {
			return false
		}
		id = all[0].ID
		return all[0].Stage == "park" && !all[0].Next.IsZero()
	})
	before := g.traces(id, "deferred")
	g.kill()
	g.start()
	after := g.traces(id, "deferred")
	if a, b := before.Steps[:5], after.Steps[:5]; !slices.Equal(a, b) {
		t.Errorf("the crash made of\n%+v\n%+v", a, b)
	}
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	st := alice.want("free lunch")
	o := g.traces(id, "delivered")
	want := []string{"accepted", "stored", "converted xmpp", "filter chat-states", "filter spam", "attempt", "attempt"}
	for range len(o.Steps) - len(want) - 1 {
		want = append(want, "attempt") // of another process
	}
	checkSteps(t, o, append(want, "delivered")...)
	if s := o.Steps[3]; s.Verdict != "pass" || s.Shadow || s.Answer != "has a body" {
		t.Errorf("the filter: %+v", s)
	}
	if s := o.Steps[4]; s.Verdict != "drop" || !s.Shadow || s.Answer == "" {
		t.Errorf("the filter in shadow mode: %+v", s)
	}
	for _, s := range o.Steps[5 : len(o.Steps)-1] {
		if s.Route != "alice@localhost" || s.Answer == "" {
			t.Errorf("an attempt: %+v", s)
		}
	}
	end := o.Steps[len(o.Steps)-1]
	if end.Route != "alice@localhost/desk" || end.Answer == "" || end.Answer != o.Proof || end.Node == o.Steps[0].Node || o.Attempts < 4 {
		t.Errorf("the end: %+v after %d attempts", end, o.Attempts)
	}
	if s := o.Steps[0]; !strings.HasPrefix(s.Name, "esmtp_listener") || !strings.HasPrefix(s.Peer, "127.0.0.1:") {
		t.Errorf("accepted: %+v", s)
	}
	for _, name := range []string{"<track7@corp.example>", st.ID, "alice@localhost", "alice@localhost/desk"} {
		if by := g.traces(name, "delivered"); by.ID != id || !slices.Equal(by.Steps, o.Steps) {
			t.Errorf("by %s: %+v", name, by)
		}
	}
	operate(t, g, "filter spam: drop in shadow mode", "trace", id)
	alice.write(bob, "thanks")
	return "id-6-t"
}

// answered is what became of an answer by mail.
func answered(t *testing.T, g *gateway, stanzaID string) {
	t.Helper()
	o := g.traces(stanzaID, "relayed")
	checkSteps(t, o, "accepted", "filter chat-states", "filter spam", "filter mail-content", "stored", "relayed")
	if s := o.Steps[len(o.Steps)-1]; s.Answer != o.Proof || !strings.Contains(s.Answer, "2.0.0") {
		t.Errorf("the server's answer: %+v", s)
	}
	if o.Author != "alice@localhost/desk" || o.To != "bob@corp.example" || o.JID != "mailto:bob@corp.example" {
		t.Errorf("%+v", o)
	}
	if by := g.traces("bob@corp.example", "relayed"); by.ID != o.ID {
		t.Errorf("by address: %+v", by)
	}
}

// expired is a message that is given up, and the report of that.
func expired(t *testing.T, g *gateway, mx *mailtest.Server) {
	t.Helper()
	a := g.post("/v1/messages", "application/json", `{"from":"news@corp.example","to":["ghost@old.example"],"text":"boo"}`)
	o := g.traces(a.result(t).ID, "expired")
	report := step(o, "reported")
	if last := o.Steps[len(o.Steps)-1]; last.Step != "expired" || !strings.Contains(last.Answer, "for more than 2s") || report.Verdict != "expired" || report.Route != "news@corp.example" || report.Name == "" {
		t.Errorf("%+v", o)
	}
	one(t, mx, "news@corp.example")
	r := g.traces(report.Name, "relayed")
	checkSteps(t, r, "accepted", "stored", "relayed")
	if s := r.Steps[0]; s.Answer != "it reports on "+o.ID {
		t.Errorf("the report: %+v", s)
	}
	operate(t, g, "1 message is tried again", "queue", "retry", o.ID)
	again := g.traces(o.ID, "expired")
	g.eventually("it expires again", func() bool { again = g.traces(o.ID, "expired"); return step(again, "revived").Step != "" })
	if step(again, "expired").Answer != o.Reason {
		t.Errorf("revived: %+v", again)
	}
}

// found is what a search finds: all there is, once, and what it asks for.
func found(t *testing.T, g *gateway) {
	t.Helper()
	send(t, g, "carol@localhost", "later")
	g.waits("carol@localhost", admin.Deferred, 1)
	whole := g.searched("since=1h&limit=1000")
	ids := make(map[string]string)
	for _, o := range whole {
		if ids[o.ID+o.JID] != "" {
			t.Errorf("twice: %+v and %s", o, ids[o.ID+o.JID])
		}
		ids[o.ID+o.JID] = string(o.Outcome)
	}
	if paged := g.searched("limit=1"); len(paged) < len(whole) {
		t.Errorf("%d by single pages, %d at once", len(paged), len(whole))
	}
	for query, want := range map[string]string{
		"outcome=delivered":                    "alice@localhost/desk",
		"outcome=expired&domain=OLD.example":   "ghost@old.example",
		"outcome=relayed&from=alice@localhost": "mailto:bob@corp.example",
		"outcome=deferred&since=1m":            "carol@localhost",
		"to=carol@localhost":                   "carol@localhost",
		"outcome=failed":                       "",
		"until=1h":                             "",
		"domain=nowhere.example":               "",
	} {
		got := ""
		for _, o := range g.searched(query) {
			got += " " + o.JID
		}
		if got = strings.TrimSpace(got); got != want && !(want == "alice@localhost/desk" && got == "alice@localhost") {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	operate(t, g, "1 route is held", "queue", "hold", "carol@localhost")
	if o := g.traces("carol@localhost", "held"); o.Stage != "park" || len(o.Steps) < 4 {
		t.Errorf("held: %+v", o)
	}
	g.asDocumented("/v1/messages", "/v1/messages?limit=1", "/v1/messages?outcome=held", "/v1/messages?after=ended.!", "/v1/messages/carol@localhost", "/v1/messages/alice@localhost", "/v1/messages/ghost@old.example")
	operate(t, g, "carol@localhost", "trace", "--outcome", "held", "--since", "1h")
	operate(t, g, "error: no such message is known", "trace", "--outcome", "failed", "--since", "1h")
	operate(t, g, "error: after is not the next", "trace", "--after", "ended.!")
}
