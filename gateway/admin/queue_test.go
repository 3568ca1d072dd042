package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// recorder is a Queue that answers as it is told and notes what it was asked.
type recorder struct {
	routes   []QueueRoute
	messages []QueueMessage
	n        int
	err      error
	do       func(context.Context) // runs in Do

	asked []string // "routes", "messages", or the action
	f     QueueFilter
	limit int
}

func (q *recorder) Routes(_ context.Context, f QueueFilter) ([]QueueRoute, error) {
	q.asked, q.f = append(q.asked, "routes"), f
	return q.routes, q.err
}

func (q *recorder) Messages(_ context.Context, f QueueFilter, limit int) ([]QueueMessage, error) {
	q.asked, q.f, q.limit = append(q.asked, "messages"), f, limit
	return q.messages[:min(limit, len(q.messages))], q.err
}

func (q *recorder) Do(ctx context.Context, a QueueAction, f QueueFilter) (int, error) {
	q.asked, q.f = append(q.asked, string(a)), f
	if q.do != nil {
		q.do(ctx)
	}
	return q.n, q.err
}

// TestQueueFilters: what a request selects is what the queue is asked for.
func TestQueueFilters(t *testing.T) {
	t.Parallel()
	whole := QueueFilter{ID: "q1", Recipient: "alice@localhost", Domain: "bücher.example", State: Dead, Reason: "no such user"}
	for _, c := range []struct {
		name, method, path, body string
		asked                    string
		f                        QueueFilter
	}{
		{"everything", "GET", "/v1/queue", "", "routes", QueueFilter{}},
		{"whether it is there", "HEAD", "/v1/queue", "", "routes", QueueFilter{}},
		{"every field, prepared", "GET", "/v1/queue?id=%3Cq1%3E&recipient=Alice@LOCALHOST&domain=xn--bcher-kva.Example&state=dead&reason=no+such+user", "", "routes", whole},
		{"messages", "GET", "/v1/queue/messages?state=held", "", "messages", QueueFilter{State: Held}},
		{"every field, in a body", "POST", "/v1/queue:drop",
			`{"id":"<q1>","recipient":"Alice@LOCALHOST","domain":"xn--bcher-kva.Example","state":"dead","reason":"no such user"}`, "drop", whole},
		{"a Message-ID has an @", "POST", "/v1/queue:drop", `{"id":"a@b.example"}`, "drop", QueueFilter{ID: "a@b.example"}},
		{"an angle bracket alone is not a pair", "POST", "/v1/queue:drop", `{"id":"<x"}`, "drop", QueueFilter{ID: "<x"}},
		{"all is meant", "POST", "/v1/queue:drop", `{"all":true}`, "drop", QueueFilter{}},
		{"all of one domain", "POST", "/v1/queue:drop", `{"all":true,"domain":"localhost"}`, "drop", QueueFilter{Domain: "localhost"}},
		{"a retry is of what waits", "POST", "/v1/queue:retry", `{"domain":"localhost"}`, "retry", QueueFilter{Domain: "localhost", State: Deferred}},
		{"also of all", "POST", "/v1/queue:retry", `{"all":true}`, "retry", QueueFilter{State: Deferred}},
		{"a retry of the dead", "POST", "/v1/queue:retry", `{"domain":"localhost","state":"dead"}`, "retry", QueueFilter{Domain: "localhost", State: Dead}},
		{"a retry of a message, whatever its state", "POST", "/v1/queue:retry", `{"id":"q1"}`, "retry", QueueFilter{ID: "q1"}},
		{"hold a recipient", "POST", "/v1/queue:hold", `{"recipient":"alice@localhost"}`, "hold", QueueFilter{Recipient: "alice@localhost"}},
		{"hold a domain", "POST", "/v1/queue:hold", `{"domain":"localhost"}`, "hold", QueueFilter{Domain: "localhost"}},
		{"release all", "POST", "/v1/queue:release", `{"all":true}`, "release", QueueFilter{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			if w := f.ask(c.method, c.path, c.body, nil); w.Code != 200 {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if !reflect.DeepEqual(f.queue.asked, []string{c.asked}) || f.queue.f != c.f {
				t.Errorf("asked for %v of %+v, want %s of %+v", f.queue.asked, f.queue.f, c.asked, c.f)
			}
		})
	}
}

// TestQueueRefuses: a request that is not wholly understood does nothing.
func TestQueueRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		detail                   string
	}{
		{"unknown parameter", "GET", "/v1/queue?recipent=alice@localhost", "", 400, `no "recipent"`},
		{"routes have no limit", "GET", "/v1/queue?limit=7", "", 400, `no "limit"`},
		{"twice", "GET", "/v1/queue?domain=a.example&domain=b.example", "", 400, "domain is given twice"},
		{"an escape that is none", "GET", "/v1/queue?domain=%zz", "", 400, "query: "},
		{"a semicolon", "GET", "/v1/queue?domain=a.example;state=dead", "", 400, "query: "},
		{"an empty id", "GET", "/v1/queue?id=", "", 400, "id is empty"},
		{"an id of brackets", "GET", "/v1/queue?id=%3C%3E", "", 400, "id is empty"},
		{"an empty reason", "GET", "/v1/queue?reason=", "", 400, "reason is empty"},
		{"an empty domain", "GET", "/v1/queue?domain=", "", 400, "domain: "},
		{"an empty recipient", "GET", "/v1/queue?recipient=", "", 400, "recipient: "},
		{"an empty state", "GET", "/v1/queue?state=", "", 400, "state must be"},
		{"unknown state", "GET", "/v1/queue?state=Dead", "", 400, "deferred, held or dead"},
		{"not a JID", "GET", "/v1/queue?recipient=@@", "", 400, "recipient: "},
		{"a domain is no recipient", "GET", "/v1/queue?recipient=localhost", "", 400, "recipient must be of the form user@domain"},
		{"a full JID", "GET", "/v1/queue?recipient=a@localhost/x", "", 400, "recipient must be of the form user@domain"},
		{"a recipient is no domain", "GET", "/v1/queue?domain=a@localhost", "", 400, "domain: "},
		{"a domain with a space", "GET", "/v1/queue?domain=a%20b", "", 400, "domain: "},
		{"a control character", "GET", "/v1/queue?id=a%1b", "", 400, "id must be text"},
		{"not UTF-8", "GET", "/v1/queue?reason=%ff", "", 400, "reason must be text"},
		{"limit of nothing", "GET", "/v1/queue/messages?limit=0", "", 400, "from 1 to 1000"},
		{"too many", "GET", "/v1/queue/messages?limit=1001", "", 400, "from 1 to 1000"},
		{"no number", "GET", "/v1/queue/messages?limit=all", "", 400, "from 1 to 1000"},
		{"empty limit", "GET", "/v1/queue/messages?limit=", "", 400, "from 1 to 1000"},
		{"reading changes nothing", "POST", "/v1/queue", `{}`, 405, "GET, HEAD"},
		{"changing is not reading", "GET", "/v1/queue:drop", "", 405, "POST"},
		{"no such action", "POST", "/v1/queue:flush", `{"all":true}`, 404, "nothing at this path"},

		{"everything by a slip", "POST", "/v1/queue:drop", `{}`, 400, `"all": true`},
		{"null", "POST", "/v1/queue:drop", `null`, 400, `"all": true`},
		{"everything, but not", "POST", "/v1/queue:drop", `{"all":false}`, 400, `"all": true`},
		{"all as text", "POST", "/v1/queue:drop", `{"all":"true"}`, 400, "all must be true or false"},
		{"all as null", "POST", "/v1/queue:drop", `{"all":null}`, 400, "all must be true or false"},
		{"an unset variable", "POST", "/v1/queue:drop", `{"all":true,"id":""}`, 400, "id is empty"},
		{"null for a value", "POST", "/v1/queue:drop", `{"all":true,"domain":null}`, 400, "domain must be a string"},
		{"a number", "POST", "/v1/queue:drop", `{"id":7}`, 400, "id must be a string"},
		{"an unknown field", "POST", "/v1/queue:drop", `{"all":true,"dry_run":true}`, 400, `no "dry_run"`},
		{"another case", "POST", "/v1/queue:drop", `{"all":true,"Domain":"localhost"}`, 400, `no "Domain"`},
		{"a list", "POST", "/v1/queue:drop", `["q1"]`, 400, "body: "},
		{"two objects", "POST", "/v1/queue:drop", `{"id":"q1"}{}`, 400, "follows"},
		{"no body", "POST", "/v1/queue:drop", "", 415, "application/json"},
		{"too large", "POST", "/v1/queue:drop", `{"id":"` + strings.Repeat("x", maxBody) + `"}`, 413, "16384"},
		{"the filter in the query", "POST", "/v1/queue:drop?id=q1", `{"all":true}`, 400, "no query parameters"},
		{"hold a message", "POST", "/v1/queue:hold", `{"id":"q1"}`, 400, "hold is for a recipient or a domain"},
		{"hold a state", "POST", "/v1/queue:hold", `{"domain":"localhost","state":"dead"}`, 400, "hold is for"},
		{"release a reason", "POST", "/v1/queue:release", `{"reason":"x"}`, 400, "release is for"},
		{"retry what is held", "POST", "/v1/queue:retry", `{"state":"held"}`, 400, "released"},
	} {
		t.Log(c.name)
		checkProblem(t, f.ask(c.method, c.path, c.body, nil), c.code, c.detail)
	}
	form := f.ask("POST", "/v1/queue:drop", `{"all":true}`, func(r *http.Request) {
		r.Header.Set("Content-Type", "text/plain") // what a foreign page can send
	})
	checkProblem(t, form, 415, "application/json")
	page := f.ask("POST", "/v1/queue:drop", `{"all":true}`, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") })
	checkProblem(t, page, 403, "another site")
	if f.queue.asked != nil {
		t.Errorf("the queue was asked: %v", f.queue.asked)
	}
	for line := range strings.Lines(f.log.String()) {
		if !strings.Contains(line, `"message":"audit"`) && !strings.Contains(line, `"message":"request of another site refused"`) || strings.Contains(line, "affected") {
			t.Errorf("logged: %s", line)
		}
	}
	f.o.Queue = nil
	for _, path := range []string{"/v1/queue", "/v1/queue/messages"} {
		checkProblem(t, f.ask("GET", path, "", nil), 501, "no queue")
	}
	checkProblem(t, f.ask("POST", "/v1/queue:drop", `{"id":"q1"}`, nil), 501, "no queue")
}

// TestQueueAnswers: the answers, byte by byte; programs read them.
func TestQueueAnswers(t *testing.T) {
	t.Parallel()
	at := func(s int64) time.Time { return time.Unix(s, 0).UTC() }
	f := newFixture(t)
	f.queue.n = 3
	for _, c := range []struct{ name, method, path, body, answer string }{
		{"no routes", "GET", "/v1/queue", "", `{"routes":[]}`},
		{"no messages", "GET", "/v1/queue/messages", "", `{"messages":[],"more":false}`},
		{"a change", "POST", "/v1/queue:drop", `{"id":"q1"}`, `{"affected":3}`},
	} {
		if w := f.ask(c.method, c.path, c.body, nil); w.Body.String() != c.answer+"\n" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v %s", c.name, w.Header(), w.Body)
		}
	}

	f.queue.routes = []QueueRoute{
		{Route: "held@localhost", Domain: "localhost", State: Held},
		{Route: "b@localhost", Domain: "localhost", State: Dead, Messages: 1, Oldest: at(20), Reason: "x"},
		{Route: "b@localhost", Domain: "localhost", State: Deferred, Messages: 1, Oldest: at(20)},
		{Route: "a@localhost", Domain: "localhost", State: Deferred, Messages: 1, Oldest: at(20)},
		{Route: "old.example", Domain: "old.example", State: Deferred, Messages: 12, Oldest: at(10), Attempts: 4, Next: at(30), FirstFailure: at(15),
			Reason: "connection refused"},
	}
	const routes = `{"routes":[` +
		`{"route":"old.example","domain":"old.example","state":"deferred","messages":12,"oldest":"1970-01-01T00:00:10Z","attempts":4,` +
		`"next":"1970-01-01T00:00:30Z","first_failure":"1970-01-01T00:00:15Z","reason":"connection refused"},` +
		`{"route":"a@localhost","domain":"localhost","state":"deferred","messages":1,"oldest":"1970-01-01T00:00:20Z","attempts":0},` +
		`{"route":"b@localhost","domain":"localhost","state":"dead","messages":1,"oldest":"1970-01-01T00:00:20Z","attempts":0,"reason":"x"},` +
		`{"route":"b@localhost","domain":"localhost","state":"deferred","messages":1,"oldest":"1970-01-01T00:00:20Z","attempts":0},` +
		`{"route":"held@localhost","domain":"localhost","state":"held","messages":0,"attempts":0}]}` + "\n"
	if w := f.ask("GET", "/v1/queue", "", nil); w.Body.String() != routes || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("routes: %s\nwant %s", w.Body, routes)
	}

	f.queue.messages = []QueueMessage{
		{ID: "q1", StanzaID: "s1", From: "n@corp.example", To: "+1@sms.example", JID: "a@localhost", State: Deferred, Reason: "away", Accepted: at(10),
			Since: at(11), Attempts: 2, Next: at(30), Size: 77, Stage: "park"},
		{ID: "q2", To: "a@localhost", State: Dead},
	}
	const messages = `{"messages":[{"id":"q1","stanza_id":"s1","from":"n@corp.example","to":"+1@sms.example","jid":"a@localhost","state":"deferred",` +
		`"reason":"away","accepted":"1970-01-01T00:00:10Z","since":"1970-01-01T00:00:11Z","attempts":2,"next":"1970-01-01T00:00:30Z","size":77,"stage":"park"}`
	if w := f.ask("GET", "/v1/queue/messages?limit=1", "", nil); w.Body.String() != messages+`],"more":true}`+"\n" {
		t.Errorf("the first message: %s\nwant %s", w.Body, messages)
	}
	all := messages + `,{"id":"q2","to":"a@localhost","state":"dead","attempts":0,"size":0}],"more":false}` + "\n"
	if w := f.ask("GET", "/v1/queue/messages?limit=2", "", nil); w.Body.String() != all {
		t.Errorf("both messages: %s\nwant %s", w.Body, all)
	}
}

// TestQueueLimit: one more than will be shown is asked for, and never more.
func TestQueueLimit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for query, want := range map[string]int{"": 101, "?limit=1": 2, "?limit=1000": 1001} {
		if f.ask("GET", "/v1/queue/messages"+query, "", nil); f.queue.limit != want {
			t.Errorf("%q: the queue was asked for %d messages, want %d", query, f.queue.limit, want)
		}
	}
}

// TestQueueAudit: the log says who changed what, and how much of it.
func TestQueueAudit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.queue.n = 12
	audited := func() (all []map[string]any) {
		t.Helper()
		for line := range strings.Lines(f.log.String()) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
		f.log.Reset()
		return all
	}
	f.ask("POST", "/v1/queue:drop", `{"domain":"localhost","state":"dead","reason":"x"}`, nil)
	want := []map[string]any{{"level": "info", "message": "audit", "action": "dropQueue", "affected": "12", "peer": "127.0.0.1", "who": "local", "status": 200.0,
		"domain": "localhost", "state": "dead", "reason": "x"}}
	if got := audited(); !reflect.DeepEqual(got, want) {
		t.Errorf("logged %v, want %v", got, want)
	}
	f.queue.n = 0
	f.ask("POST", "/v1/queue:hold", `{"recipient":"a@localhost"}`, nil)
	want = []map[string]any{{"level": "info", "message": "audit", "action": "holdQueue", "affected": "0", "peer": "127.0.0.1", "who": "local", "status": 200.0,
		"recipient": "a@localhost"}}
	if got := audited(); !reflect.DeepEqual(got, want) {
		t.Errorf("logged %v, want %v", got, want)
	}
	f.ask("GET", "/v1/queue", "", nil)
	if got := audited(); got != nil {
		t.Errorf("reading is logged: %v", got)
	}

	// A change that broke off is one too.
	f.queue.n, f.queue.err = 5, errors.New("secret detail of the broker")
	checkProblem(t, f.ask("POST", "/v1/queue:drop", `{"id":"q1"}`, nil), 503, "after 5")
	got := audited()
	if len(got) != 2 || got[1]["affected"] != "5" || got[0]["level"] != "error" || got[0]["error"] != "drop, after 5: secret detail of the broker" ||
		got[1]["refusal"] != "broken off after 5: the queue cannot be changed now" {
		t.Errorf("logged %v, want the five and the error", got)
	}
}

// TestQueueFails: the reason stays in the log, unless it is that nobody waits.
func TestQueueFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	requests := [][3]string{{"GET", "/v1/queue", ""}, {"GET", "/v1/queue/messages", ""}, {"POST", "/v1/queue:drop", `{"id":"q1"}`}}
	f.queue.err = errors.New("secret detail of the broker")
	for _, c := range requests {
		w := f.ask(c[0], c[1], c[2], nil)
		checkProblem(t, w, 503, "cannot be read or changed now")
		if strings.Contains(w.Body.String(), "secret detail") {
			t.Errorf("%s: an internal error was shown", c[1])
		}
		if log := f.log.String(); strings.Count(log, `"message":"queue"`) != 1 || !strings.Contains(log, `"level":"error"`) || !strings.Contains(log, "secret detail") {
			t.Errorf("%s: logged %q, want the reason", c[1], log)
		}
		f.log.Reset()
	}
	f.queue.err = fmt.Errorf("peek: %w", context.Canceled)
	for _, c := range requests {
		f.ask(c[0], c[1], c[2], func(r *http.Request) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			*r = *r.WithContext(ctx)
		})
	}
	if strings.Contains(f.log.String(), `"level":"error"`) {
		t.Errorf("a peer that is gone is logged: %s", &f.log)
	}
}

// TestQueuePatience: work on a large queue takes longer than a request may, and
// ends when the peer is gone.
func TestQueuePatience(t *testing.T) {
	t.Parallel()
	const limit = 50 * time.Millisecond
	f := newFixture(t)
	f.queue.n = 7
	f.queue.do = func(ctx context.Context) {
		select {
		case <-ctx.Done():
			f.queue.n = -1
		case <-time.After(10 * limit):
		}
	}
	hs := &http.Server{Handler: f.handler, ReadTimeout: limit, WriteTimeout: limit}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- hs.Serve(l) }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	type answer struct{ Affected, Status int }
	drop := func(ctx context.Context) (got answer, err error) {
		req, err := http.NewRequestWithContext(ctx, "POST", "http://"+l.Addr().String()+"/v1/queue:drop", strings.NewReader(`{"all":true}`))
		if err != nil {
			return got, err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return got, err
		}
		defer resp.Body.Close()
		err = json.NewDecoder(resp.Body).Decode(&got)
		return got, err
	}
	if got, err := drop(t.Context()); err != nil || got.Affected != 7 {
		t.Errorf("affected %d, %v, want 7", got.Affected, err)
	}
	f.queue.err = errors.New("broken off")
	if got, err := drop(t.Context()); err != nil || got.Status != 503 {
		t.Errorf("answered %+v, %v, want the refusal", got, err)
	}

	begun, ended := make(chan struct{}), make(chan error, 1)
	f.queue.do = func(ctx context.Context) {
		close(begun)
		select {
		case <-ctx.Done():
			ended <- nil
		case <-time.After(time.Minute):
			ended <- errors.New("the work goes on though nobody waits for it")
		}
	}
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-begun
		leave()
	}()
	if _, err := drop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a peer that leaves: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := hs.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
