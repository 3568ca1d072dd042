package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"mcmt2xmpp/xmpp/s2s"
)

// FuzzQueueFilter: a filter that is accepted selects something in particular, and
// means the same when it is written again, in a query as in a body.
func FuzzQueueFilter(f *testing.F) {
	for _, s := range []string{"", "id=q1", "recipient=Alice%40localhost&state=dead", "domain=xn--bcher-kva.example", "reason=%ff", "id=%3Ca@b%3E",
		"state=held;x", "id=<<a>>", "recipient=%EF%BC%A1@localhost"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		read := func(raw string) (QueueFilter, error) {
			got, _, err := readQuery(&http.Request{URL: &url.URL{RawQuery: raw}}, 0)
			return got, err
		}
		first, err := read(raw)
		if err != nil {
			return
		}
		query, body := make(url.Values), make(map[string]string)
		for _, field := range first.fields() {
			if field.value != "" {
				query.Set(field.name, field.value)
				body[field.name] = field.value
			}
		}
		if strings.ContainsAny(first.ID, "<>") {
			return // its brackets may look like those of a header
		}
		if second, err := read(query.Encode()); err != nil || second != first {
			t.Errorf("%q is %+v, and that is %+v, %v", raw, first, second, err)
		}
		if len(body) == 0 {
			return
		}
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "/v1/queue:drop", strings.NewReader(string(text)))
		r.Header.Set("Content-Type", "application/json")
		if len(text) > maxBody {
			return
		}
		if second, err := readSelection(httptest.NewRecorder(), r, Drop); err != nil || second != first {
			t.Errorf("%s: %+v, %v, want %+v", text, second, err, first)
		}
	})
}

// FuzzRequest: whatever the query and the body are, every route answers, with what the
// document of the API says, and nothing goes wrong within.
func FuzzRequest(f *testing.F) {
	for i, s := range []string{"", "limit=7", "limit=-1&limit=2", "state=dead&recipient=a@localhost", "from=a.example", "%zz", "a;b", "id=%00", "since=7d&outcome=failed&after=x"} {
		f.Add(uint8(3*i), s, `{"jid":"a@localhost","password":"x","all":true}`)
		f.Add(uint8(5*i+1), s, `{"a@localhost":{"groups":[1]}}`)
	}
	fx := newFixture(f) // whose answers are held to the document
	fx.servers()
	routes := fx.routes()
	f.Fuzz(func(t *testing.T, n uint8, raw, body string) {
		fx.t = t
		fx.log.Reset()
		rt := routes[int(n)%len(routes)]
		path := strings.NewReplacer("{jid}", "a@localhost", "{id}", "q1", "{domain}", "a.example", "{$}", "").Replace(rt.path)
		w := fx.ask(rt.method, path, body, func(r *http.Request) { r.URL.RawQuery = raw })
		if w.Code >= 500 && w.Code != http.StatusNotImplemented {
			t.Errorf("%s %s: %d %s", rt.method, path, w.Code, w.Body)
		}
	})
}

// FuzzPage: whatever strangers write, the page has the same elements with the same
// attributes.
func FuzzPage(f *testing.F) {
	for _, s := range []string{"x", `"'><script>alert(1)</script>`, "</template></main><img src=x onerror=alert(1)>", "javascript:alert(1)", "`${x}`", "<!--", "{{.}}", "\x00\u202e\r\ndata: x", "&lt;", "\xff"} {
		f.Add(s)
	}
	of := func(t *testing.T, s string) (elements []string) {
		f := newFixture(t)
		f.o.Overview = &outlook{routes: []QueueRoute{{Route: s + "@", Domain: "@" + s, State: Deferred, Messages: 1, Reason: s}}}
		f.o.Servers = servers{all: []ServerStream{{State: s2s.State{Domain: "d" + s, State: "waiting", Failure: &s2s.FailureState{Text: s}}}}}
		f.o.Metrics = func() []Metric {
			return []Metric{{Name: "x", Labels: []string{"l"}, Collect: func(add func(float64, ...string)) { add(1, s) }}}
		}
		f.queue.routes = []QueueRoute{{Route: s, Domain: s, State: Dead, Messages: 1, Reason: s}}
		f.history.outcomes = map[string][]Outcome{"q1": {{ID: "i" + s, StanzaID: "s" + s, MessageID: "m" + s, From: "f" + s, To: "t" + s, JID: "a@localhost", Outcome: "deferred", Reason: "r" + s}}}
		f.broken = errors.New(s)
		w := f.ask("GET", "/?id=q1&show=dead", "", nil)
		for page := html.NewTokenizer(w.Body); page.Next() != html.ErrorToken; {
			token := page.Token()
			if token.Type != html.StartTagToken && token.Type != html.EndTagToken && token.Type != html.SelfClosingTagToken && token.Type != html.CommentToken {
				continue
			}
			for _, a := range token.Attr {
				token.Data += " " + a.Key
			}
			elements = append(elements, token.Data)
		}
		return elements
	}
	f.Fuzz(func(t *testing.T, s string) {
		want := of(t, "harmless") // not empty, because then less is there
		if got := of(t, "h"+s); !slices.Equal(got, want) {
			t.Errorf("%q makes %q of %q", s, got, want)
		}
	})
}
