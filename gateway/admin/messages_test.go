package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// past is a History of the outcomes it has, by the ids it is asked for.
type past struct {
	outcomes map[string][]Outcome
	err      error
	asked    []string

	searched    MessageFilter
	limit       int
	after, next string
}

func (p *past) Message(_ context.Context, id string) ([]Outcome, error) {
	p.asked = append(p.asked, id)
	return p.outcomes[id], p.err
}

func (p *past) Messages(_ context.Context, f MessageFilter, limit int, after string) ([]Outcome, string, error) {
	p.searched, p.limit, p.after = f, limit, after
	return p.outcomes["found"], p.next, p.err
}

func TestMessage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	short := Outcome{ID: "q1", To: "b@localhost", Outcome: "waiting"}
	f.history.outcomes = map[string][]Outcome{
		"q1": {{ID: "q1", StanzaID: "s1", MessageID: "m@x", From: "n@corp.example", To: "+1@sms.example", JID: "a@localhost", Outcome: "delivered", Proof: "ping",
			Reason: "r", Part: "xmpp", Listener: "l", Node: "N1", Accepted: at(10), Ended: at(11), Attempts: 2,
			Author: "c@localhost", Peer: "p", User: "u", Stage: "park", Next: at(12), Steps: []Step{{At: at(10), Step: "stored"}, {At: at(11), Step: "attempt",
				Node: "N1", Name: "n", Peer: "p", Verdict: "v", Shadow: true, Route: "r", Answer: "a", Count: 2, Until: at(12)}}}, short},
		"a/b@x":       {short},
		"a@localhost": {short},
	}
	const brief = `{"id":"q1","to":"b@localhost","outcome":"waiting","attempts":0}`
	for _, c := range []struct{ name, path, answer string }{
		{"every field, and none", "/v1/messages/q1", `{"outcomes":[{"id":"q1","stanza_id":"s1","message_id":"m@x","from":"n@corp.example","author":"c@localhost","to":"+1@sms.example",` +
			`"jid":"a@localhost","outcome":"delivered","proof":"ping","reason":"r","part":"xmpp","listener":"l","peer":"p","user":"u","node":"N1",` +
			`"accepted":"1970-01-01T00:00:10Z","ended":"1970-01-01T00:00:11Z","attempts":2,"stage":"park","next":"1970-01-01T00:00:12Z",` +
			`"steps":[{"at":"1970-01-01T00:00:10Z","step":"stored"},{"at":"1970-01-01T00:00:11Z","step":"attempt","node":"N1","name":"n","peer":"p","verdict":"v",` +
			`"shadow":true,"route":"r","answer":"a","count":2,"until":"1970-01-01T00:00:12Z"}]},` + brief + `]}`},
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

// TestSearch: the parameters are read whole and strictly, and the answer says how to go on.
func TestSearch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.history.outcomes = map[string][]Outcome{"found": {{ID: "q1", To: "b@localhost", Outcome: "failed"}}}
	f.history.next = "ended.7"
	w := f.ask("GET", "/v1/messages?since=2026-03-01T11:00:00Z&until=2026-03-01T13:00:00%2B01:00&domain=CHAT.example&outcome=failed&from=n@x&to=b@localhost&limit=7&after=ended.3", "", nil)
	if want := `{"outcomes":[{"id":"q1","to":"b@localhost","outcome":"failed","attempts":0}],"next":"ended.7"}` + "\n"; w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s, want %s", w.Code, w.Body, want)
	}
	got := f.history.searched
	since := time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)
	if !got.Since.Equal(since) || !got.Until.Equal(since.Add(time.Hour)) {
		t.Errorf("window %s to %s", got.Since, got.Until)
	}
	got.Since, got.Until = time.Time{}, time.Time{}
	if want := (MessageFilter{Domain: "chat.example", Outcome: "failed", From: "n@x", To: "b@localhost"}); got != want || f.history.limit != 7 || f.history.after != "ended.3" {
		t.Errorf("searched for %+v, %d after %q", got, f.history.limit, f.history.after)
	}
	f.history.outcomes, f.history.next = nil, ""
	before := time.Now()
	if w := f.ask("GET", "/v1/messages?since=2d&until=90m", "", nil); w.Code != 200 || w.Body.String() != `{"outcomes":[]}`+"\n" || f.history.limit != 100 {
		t.Errorf("nothing: %d %s, limit %d", w.Code, w.Body, f.history.limit)
	}
	if got := f.history.searched; got.Since.Before(before.Add(-48*time.Hour)) || got.Until.Sub(got.Since) != 48*time.Hour-90*time.Minute {
		t.Errorf("window %s to %s", got.Since, got.Until)
	}
	for query, detail := range map[string]string{
		"outcome=lost": "outcome must be one of", "since=": "since must be a time", "since=-1h": "since must be a time", "since=1h&until=1h": "since must be before until", "limit=0": "limit must be",
		"limit=1001": "limit must be", "from=": "from is empty", "to=%00": "to must be text", "domain=%20": "domain", "id=1": `there is no "id" here`, "from=a&from=b": "given twice", "after=": "after is empty",
	} {
		t.Log(query)
		checkProblem(t, f.ask("GET", "/v1/messages?"+query, "", nil), 400, detail)
	}
	checkProblem(t, f.ask("POST", "/v1/messages", "", nil), 405, "GET, HEAD")
	f.history.err = fmt.Errorf("%w: %q", ErrAfter, "x")
	checkProblem(t, f.ask("GET", "/v1/messages?after=x", "", nil), 400, "after is not the next of an earlier answer")
}

// TestMoment: times as people write them.
func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 28, 8, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2h": now.Add(-2 * time.Hour), "0s": now, "7d": now.Add(-7 * 24 * time.Hour), "2026-11-28T07:30:00+01:00": now.Add(-90 * time.Minute),
	} {
		if got, err := moment("since", text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "-2h", "-2d", "2026-11-28", "8:00"} {
		if got, err := moment("since", text, now); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
