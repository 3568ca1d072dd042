package admin

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

func TestFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	chain, err := filters.Build([]filters.Spec{{Name: "watch", Type: "body_regex", Pattern: "secret", Mode: "shadow"}})
	if err != nil {
		t.Fatal(err)
	}
	checkProblem(t, f.ask("GET", "/v1/filters", "", nil), http.StatusNotImplemented, "no filters")
	f.o.Filters = chain
	const to, from = "alice@localhost", "bob@localhost/x"
	chain.Apply(t.Context(), &filters.Item{Direction: filters.In, Stanza: stanza.NewMessage(jid.MustParse(to), jid.MustParse(from), "chat", "secret 42")})
	chain.Apply(t.Context(), &filters.Item{Direction: filters.Out, Recipient: "+49", Stanza: stanza.NewMessage(jid.MustParse(to), jid.MustParse(from), "chat", "")})
	w := f.ask("GET", "/v1/filters", "", nil)
	var r filters.Report
	if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil || w.Code != 200 {
		t.Fatalf("%d %v: %s", w.Code, err, w.Body)
	}
	if len(r.Filters) != 4 || r.Suppressed.Messages != 1 || r.Suppressed.Saved.SMS != 1 {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{
		`{"suppressed":{"messages":1,"by_kind":{"empty":1},"by_direction":{"out":1},"by_domain":{"localhost":1},"by_client":{"unknown":1},"saved":{"mails":0,"sms":1,"jabber":0,"stored":0}},"filters":[`,
		`{"filter":"watch","type":"body_regex","action":"drop","direction":"both","mode":"shadow","since":"`,
		`"verdicts":{"continue":0,"defer":0,"drop":1,"pass":0,"strip":0},"errors":0,"suppressed":{"messages":1,"by_kind":{"body":1}`,
		`"direction":"in","action":"drop","reason":"a body matches","stanza":"\u003cmessage`, `\u003cbody\u003exxxxxx 99\u003c/body`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
	checkProblem(t, f.ask("POST", "/v1/filters", "{}", nil), http.StatusMethodNotAllowed, "GET")
	stranger := func(r *http.Request) { r.RemoteAddr = "192.0.2.7:4711" }
	if w := f.ask("GET", "/v1/filters", "", stranger); w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger without a token: %d", w.Code)
	}
}
