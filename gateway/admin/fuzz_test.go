package admin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
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
	for i, s := range []string{"", "limit=7", "limit=-1&limit=2", "state=dead&recipient=a@localhost", "from=a.example", "%zz", "a;b", "id=%00"} {
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
