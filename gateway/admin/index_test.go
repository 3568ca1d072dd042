package admin

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/s2s"
)

// servers are those it has.
type servers struct {
	Servers
	all []ServerStream
}

func (s servers) Streams() []ServerStream { return s.all }

// TestPage: the page has the numbers as they come, and can be read without its script.
func TestPage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	hour := time.Now().Add(-time.Hour)
	f.o.Overview = &outlook{routes: []QueueRoute{
		{Route: "alice@localhost", Domain: "localhost", State: Deferred, Messages: 1234, Oldest: hour, Attempts: 3, Next: time.Now().Add(time.Hour + time.Second), Reason: "the recipient is away"},
		{Route: "chat.example", Domain: "chat.example", State: Held, Messages: 2, Oldest: hour, Reason: "connection refused"},
	}}
	f.o.Servers = servers{all: []ServerStream{{State: s2s.State{Domain: "chat.example", State: "waiting", Failure: &s2s.FailureState{Step: "tls", Text: "expired", At: hour, InARow: 3}}}}}
	w := f.ask("GET", "/", "", nil)
	text := w.Body.String()
	for _, part := range []string{"mcmt2xmpp <small>1.2.3</small>", ">Ready<", "1\u202f234", "alice@localhost", "the recipient is away", "in 1h", ">chat.example<", "tls: expired",
		"1h ago, 3 in a row", "7 to convert", `<dd>5</dd>`, "things total", "<td>good</td><td class=\"num\">7</td>", "Things &lt;by&gt; kind.",
		`data-path="/v1/queue:retry" data-body="{&#34;recipient&#34;:&#34;alice@localhost&#34;}"`, `data-path="/v1/queue:release" data-body="{&#34;domain&#34;:&#34;chat.example&#34;}"`,
		"1234 messages for alice@localhost are deleted for good", `data-path="/v1/s2s/chat.example/retry"`, `<noscript><meta http-equiv="refresh"`} {
		if !strings.Contains(text, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	if strings.Contains(text, "<script>") || strings.Contains(text, "style=") || strings.Contains(text, "onclick") || strings.Contains(text, "://") {
		t.Error("the page has a script or style of its own, or asks elsewhere")
	}
	csp := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %s", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	f.broken = errors.New("<gone>")
	f.live.last = nil
	if w := f.ask("GET", "/", "", nil); !strings.Contains(w.Body.String(), "Not ready.") || !strings.Contains(w.Body.String(), "broker: &lt;gone&gt;") {
		t.Error("the page does not say what is broken")
	}
}

// TestPageHostile: what strangers write is text, wherever the page shows it.
func TestPageHostile(t *testing.T) {
	t.Parallel()
	const hostile = `"'><img src=x onerror=alert(1)><script>alert(1)</script>{{.}}` + "`\u202e\x00\r\n\ndata: x"
	f := newFixture(t)
	f.o.Overview = &outlook{routes: []QueueRoute{{Route: hostile + "@x", Domain: hostile, State: Deferred, Messages: 1, Reason: hostile}}}
	f.o.Servers = servers{all: []ServerStream{{State: s2s.State{Domain: hostile, State: "waiting", Address: hostile, Authenticated: hostile, Failure: &s2s.FailureState{Text: hostile}}, Link: hostile}}}
	f.o.Metrics = func() []Metric {
		return []Metric{{Name: "x", Help: hostile, Labels: []string{"l"}, Collect: func(add func(float64, ...string)) { add(1, hostile) }}}
	}
	f.queue.routes = []QueueRoute{{Route: hostile, Domain: hostile, State: Dead, Messages: 1, Reason: hostile}}
	o := Outcome{ID: hostile, StanzaID: hostile, MessageID: hostile, From: hostile, To: hostile, JID: hostile, Outcome: "deferred", Proof: hostile, Reason: hostile, Part: hostile, Listener: hostile, Node: hostile}
	f.history.outcomes = map[string][]Outcome{"q1": {o}}
	f.broken = errors.New(hostile)
	w := f.ask("GET", "/?id=q1&show=dead", "", nil)
	text := w.Body.String()
	if w.Code != 200 || strings.Count(text, html.EscapeString("<img src=x onerror=alert(1)>")) < 20 {
		t.Errorf("%d, and what was written is not shown: %s", w.Code, text)
	}
	seen := regexp.MustCompile(`(data-(body|key|find)|title)="[^"]*"`).ReplaceAllString(text, "") // what a person sees or hears
	for _, bad := range []string{"<img", "<script>", "\u202e", "\x00"} {
		if strings.Contains(seen, bad) {
			at := strings.Index(seen, bad)
			t.Errorf("the page holds %q: %q", bad, seen[max(0, at-200):at])
		}
	}
	if n := strings.Count(text, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
}

// TestPageSearch: a search without a script.
func TestPageSearch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var many []Outcome
	for i := range 60 {
		many = append(many, Outcome{ID: fmt.Sprintf("q%d.", i), To: "a@localhost", JID: "a@localhost", Outcome: "deferred", Accepted: time.Unix(int64(i+1), 0)})
	}
	f.history.outcomes = map[string][]Outcome{
		"q1":          {{ID: "q1", To: "b@localhost", JID: "b@localhost", Outcome: "delivered", Proof: "stream management", Accepted: time.Unix(10, 0), Ended: time.Unix(11, 0), Attempts: 2}},
		"a@localhost": many,
		"q3":          {{ID: "q3", JID: "b@localhost", Outcome: "held"}},
		"q4":          {{ID: "q4", JID: "mailto:c@mail.example", Outcome: "deferred"}},
	}
	for _, c := range []struct {
		name, query string
		want        []string
		not         string
	}{
		{"delivered", "?id=q1", []string{"b@localhost", "<h4>delivered</h4>", "stream management", "<h4>accepted</h4>"}, "/v1/queue:drop"},
		{"in the brackets of its header", "?id=%3Cq1%3E", []string{"stream management"}, ""},
		{"the latest of many, which wait", "?id=a@localhost", []string{"q59.", "q10.", "10 before them are not", `{&#34;id&#34;:&#34;q59.&#34;,&#34;recipient&#34;:&#34;a@localhost&#34;}`}, "q9."},
		{"held", "?id=q3", []string{"/v1/queue:release", "/v1/queue:drop"}, "/v1/queue:retry"},
		{"to go as mail", "?id=q4", []string{"mailto:c@mail.example"}, "/v1/queue:"},
		{"unknown", "?id=q2", []string{"No message is known", `value="q2"`}, `<section id="trace" aria-labelledby="trace-title" hidden>`},
		{"not an id", "?id=%01", []string{"id must be text"}, ""},
		{"none", "", []string{`<section id="trace" aria-labelledby="trace-title" hidden>`}, "<h4>"},
	} {
		w := f.ask("GET", "/"+c.query, "", nil)
		for _, want := range c.want {
			if w.Code != 200 || !strings.Contains(w.Body.String(), want) {
				t.Errorf("%s: %d without %s", c.name, w.Code, want)
			}
		}
		if c.not != "" && strings.Contains(w.Body.String(), c.not) {
			t.Errorf("%s: has %s", c.name, c.not)
		}
	}
	checkProblem(t, f.ask("GET", "/?%zz", "", nil), 400, "query")
	f.history.err = errors.New("secret detail")
	if w := f.ask("GET", "/?id=q1", "", nil); !strings.Contains(w.Body.String(), "cannot be read now") || strings.Contains(w.Body.String(), "secret detail") {
		t.Errorf("%s", w.Body)
	}
	f.o.History = nil
	if w := f.ask("GET", "/?id=q1", "", nil); !strings.Contains(w.Body.String(), "does not keep") {
		t.Errorf("%s", w.Body)
	}
}

func TestPageDead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue.routes = []QueueRoute{{Route: "carol@x.example", Domain: "x.example", State: Dead, Messages: 2, Oldest: time.Unix(1, 0), Reason: "no such user"}}
	if w := f.ask("GET", "/", "", nil); strings.Contains(w.Body.String(), "carol") || len(f.queue.asked) > 0 {
		t.Error("what is dead is read each time")
	}
	w := f.ask("GET", "/?show=dead", "", nil)
	for _, want := range []string{"carol@x.example", "no such user", "Send again", `{&#34;reason&#34;:&#34;no such user&#34;,&#34;recipient&#34;:&#34;carol@x.example&#34;,&#34;state&#34;:&#34;dead&#34;}`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("lacks %s", want)
		}
	}
	if f.queue.f != (QueueFilter{State: Dead}) {
		t.Errorf("asked for %+v", f.queue.f)
	}
	f.queue.err = errors.New("secret detail")
	if w := f.ask("GET", "/?show=dead", "", nil); !strings.Contains(w.Body.String(), "cannot be read now") || strings.Contains(w.Body.String(), "secret detail") {
		t.Errorf("%s", w.Body)
	}
	f.queue.err, f.queue.routes = nil, nil
	if w := f.ask("GET", "/?show=dead", "", nil); !strings.Contains(w.Body.String(), "Nothing is dead.") {
		t.Errorf("%s", w.Body)
	}
}

// TestSignIn: a browser from elsewhere is asked for the token, and told nothing else.
func TestSignIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	browser := func(more ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.RemoteAddr = "192.0.2.7:1"
			r.Header.Set("Accept", "text/html,application/xhtml+xml")
			for i := 0; i+1 < len(more); i += 2 {
				r.Header.Set(more[i], more[i+1])
			}
		}
	}
	w := f.ask("GET", "/", "", browser())
	if w.Code != 401 || !strings.Contains(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("WWW-Authenticate") == "" ||
		!strings.Contains(w.Body.String(), `id="token"`) || strings.Contains(w.Body.String(), "things") || strings.Contains(w.Body.String(), "1.2.3") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := f.ask("GET", "/", "", browser("Authorization", "Bearer right")); w.Code != 200 || !strings.Contains(w.Body.String(), "things") {
		t.Errorf("with the token: %d", w.Code)
	}
	checkProblem(t, f.ask("GET", "/", "", browser("Authorization", "Bearer wrong")), 401, "not a good one")
	checkProblem(t, f.ask("GET", "/v1/live", "", browser()), 401, "required")
	f.o.Forwarded = func(netip.Addr, []string) netip.Addr { return netip.MustParseAddr("192.0.2.7") }
	through := f.ask("GET", "/", "", func(r *http.Request) {
		r.Header.Set("Accept", "text/html")
		r.Header.Set("X-Forwarded-For", "192.0.2.7")
	})
	if through.Code != 401 {
		t.Errorf("through a proxy on this machine: %d", through.Code)
	}
	checkProblem(t, f.ask("GET", "/", "", func(r *http.Request) {
		r.Host = "evil.example"
		r.Header.Set("Accept", "text/html")
	}), 403, "Host header") // no token would help
}

// TestAssets: what the page asks for is there, for a browser that has not shown a token.
func TestAssets(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	outside := func(r *http.Request) { r.RemoteAddr = "203.0.113.9:1" }
	for name, media := range assets {
		w := f.ask("GET", "/dashboard/"+name, "", outside)
		tag := w.Header().Get("ETag")
		if w.Code != 200 || w.Header().Get("Content-Type") != media || w.Body.Len() == 0 || tag == "" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		again := f.ask("GET", "/dashboard/"+name, "", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		if again.Code != 304 {
			t.Errorf("%s again: %d", name, again.Code)
		}
	}
	for _, path := range []string{"/dashboard/page.html", "/dashboard/nothing", "/dashboard/..%2findex.go"} {
		checkProblem(t, f.ask("GET", path, "", nil), 404, "nothing at this path")
	}
	checkProblem(t, f.ask("POST", "/dashboard/style.css", "{}", outside), 405, "GET, HEAD")
}

// TestSteps: the steps of an outcome are told, and of one without what it says itself.
func TestSteps(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	steps := stepsOf(Outcome{Steps: []Step{{At: at, Step: "stored"},
		{At: at, Step: "attempt", Node: "N1", Name: "n", Peer: "p", Verdict: "v", Shadow: true, Route: "a@x/1", Answer: "refused", Count: 7, Until: at.Add(time.Hour)}}})
	want := []storyStep{{at, "stored", nil}, {at, "attempt", []fact{{"name", "n"}, {"verdict", "v"}, {"shadow", "yes"}, {"route", "a@x/1"}, {"peer", "p"}, {"answer", "refused"},
		{"count", "7"}, {"until", stamp(at.Add(time.Hour))}, {"node", "N1"}}}}
	if fmt.Sprint(steps) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", steps, want)
	}
	told := stepsOf(Outcome{Outcome: "failed", Reason: "no such user", Accepted: time.Unix(1, 0), Ended: time.Unix(2, 0), Attempts: 1})
	if len(told) != 2 || told[0].Title != "accepted" || told[1].Title != "failed" || fmt.Sprint(told[1].Facts) != "[{attempts 1} {why no such user}]" {
		t.Errorf("%+v", told)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct{ got, want string }{
		{grouped(0), "0"}, {grouped(999), "999"}, {grouped(uint64(1234567)), "1\u202f234\u202f567"},
		{ratePerSecond(0), "0"}, {ratePerSecond(0.04), "0.0"}, {ratePerSecond(9.94), "9.9"}, {ratePerSecond(9.96), "10"}, {ratePerSecond(12345.6), "12\u202f346"},
		{ago(now, time.Time{}), "–"}, {ago(now, now.Add(-90*time.Minute)), "1h30m"},
		{until(now, time.Time{}), "–"}, {until(now, now), "now"}, {until(now, now.Add(time.Minute)), "in 1m"},
		{shown("a\u202eb\nc\x00"), "a\ufffdb c\ufffd"}, {shown(strings.Repeat("ä", 500)), strings.Repeat("ä", 400) + "…"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
