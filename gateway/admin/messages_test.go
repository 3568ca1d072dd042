package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// past is a History of the outcomes it has, by the ids it is asked for.
type past struct {
	outcomes map[string][]Outcome
	err      error
	asked    []string
}

func (p *past) Message(_ context.Context, id string) ([]Outcome, error) {
	p.asked = append(p.asked, id)
	return p.outcomes[id], p.err
}

func TestMessage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	short := Outcome{ID: "q1", To: "b@localhost", Outcome: "waiting"}
	f.history.outcomes = map[string][]Outcome{
		"q1": {{ID: "q1", StanzaID: "s1", MessageID: "m@x", From: "n@corp.example", To: "+1@sms.example", JID: "a@localhost", Outcome: "delivered", Proof: "ping",
			Reason: "r", Part: "xmpp", Listener: "l", Node: "N1", Accepted: at(10), Ended: at(11), Attempts: 2}, short},
		"a/b@x":       {short},
		"a@localhost": {short},
	}
	const brief = `{"id":"q1","to":"b@localhost","outcome":"waiting","attempts":0}`
	for _, c := range []struct{ name, path, answer string }{
		{"every field, and none", "/v1/messages/q1", `{"outcomes":[{"id":"q1","stanza_id":"s1","message_id":"m@x","from":"n@corp.example","to":"+1@sms.example",` +
			`"jid":"a@localhost","outcome":"delivered","proof":"ping","reason":"r","part":"xmpp","listener":"l","node":"N1",` +
			`"accepted":"1970-01-01T00:00:10Z","ended":"1970-01-01T00:00:11Z","attempts":2},` + brief + `]}`},
		{"a Message-ID as its header has it", "/v1/messages/%3Ca%2Fb@x%3E", `{"outcomes":[` + brief + `]}`},
		{"a recipient", "/v1/messages/a@localhost", `{"outcomes":[` + brief + `]}`},
	} {
		if w := f.ask("GET", c.path, "", nil); w.Code != 200 || w.Body.String() != c.answer+"\n" {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	asked := len(f.history.asked)
	for _, c := range []struct {
		name, method, path string
		code               int
		detail             string
	}{
		{"a parameter", "GET", "/v1/messages/q1?part=xmpp", 400, "no query parameters"},
		{"no id in the brackets", "GET", "/v1/messages/%3C%3E", 400, "id is empty"},
		{"a control character", "GET", "/v1/messages/%1b", 400, "id must be text"},
		{"no id", "GET", "/v1/messages/", 404, "nothing at this path"},
		{"two", "GET", "/v1/messages/a/b", 404, "nothing at this path"},
		{"sending is for another listener", "POST", "/v1/messages/q1", 405, "GET, HEAD"},
	} {
		t.Log(c.name)
		checkProblem(t, f.ask(c.method, c.path, "", nil), c.code, c.detail)
	}
	if len(f.history.asked) != asked {
		t.Errorf("asked for %q though it was refused", f.history.asked[asked:])
	}
	checkProblem(t, f.ask("GET", "/v1/messages/unknown", "", nil), 404, "no message is known")

	f.history.err = errors.New("secret detail of the broker")
	w := f.ask("GET", "/v1/messages/q1", "", nil)
	checkProblem(t, w, 503, "cannot be read now")
	if strings.Contains(w.Body.String(), "secret detail") || !strings.Contains(f.log.String(), "secret detail") {
		t.Errorf("answered %s, logged %s", w.Body, &f.log)
	}
	f.o.History = nil
	checkProblem(t, f.ask("GET", "/v1/messages/q1", "", nil), 501, "does not keep")
}
