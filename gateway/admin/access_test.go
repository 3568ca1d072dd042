package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/s2s"
)

// TestRoles: who may only look changes nothing, whatever the method, and what is
// tried is in the audit.
func TestRoles(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.servers()
	as := func(token string) func(*http.Request) {
		return func(r *http.Request) {
			r.RemoteAddr = "192.0.2.7:1"
			r.Header.Set("Authorization", "Bearer "+token)
		}
	}
	for _, rt := range f.routes() {
		if rt.open {
			continue
		}
		path := strings.NewReplacer("{jid}", "a@localhost", "{id}", "q1", "{domain}", "a.example", "{$}", "").Replace(rt.path)
		w := f.ask(rt.method, path, map[bool]string{true: "{}"}[rt.method != "GET"], as("other"))
		if refused := w.Code == http.StatusForbidden; refused != (rt.needs() == Operate) {
			t.Errorf("%s %s with the role read: %d %s", rt.method, path, w.Code, w.Body)
		}
		if rt.needs() == Operate {
			checkProblem(t, w, 403, "takes the role operate, and you have read")
		}
		if rt.method == "GET" && rt.needs() == Operate {
			t.Errorf("%s changes something by GET", path)
		}
	}
	if len(f.queue.asked) == 0 || slices.Contains(f.queue.asked, string(Drop)) {
		t.Errorf("the queue was asked %v", f.queue.asked)
	}
	f.log.Reset()
	if w := f.ask("POST", "/v1/users", `{"jid":"a@localhost","password":"secret word"}`, as("right")); w.Code != http.StatusCreated {
		t.Errorf("with the role operate: %d %s", w.Code, w.Body)
	}
	checkProblem(t, f.ask("DELETE", "/v1/users/b@localhost", "", as("other")), 403, "operate")
	entries := f.audit("/v1/audit?limit=2")
	if len(entries) != 2 || entries[1].Who != "one" || entries[1].Address != "192.0.2.7" || entries[1].Action != "addUser" || entries[1].On["jid"] != "a@localhost" || entries[1].Status != 201 {
		t.Errorf("audit %+v", entries)
	}
	if e := entries[0]; e.Who != "two" || e.Action != "removeUser" || e.On["jid"] != "b@localhost" || e.Status != 403 || e.Refusal == "" || e.Time.IsZero() {
		t.Errorf("audit %+v", e)
	}
	if n := strings.Count(f.log.String(), `"message":"audit"`); n != 2 || strings.Contains(f.log.String(), "secret word") || strings.Contains(f.log.String(), "right") {
		t.Errorf("%d lines of audit: %s", n, &f.log)
	}
}

// servers gives the gateway streams with other servers, of which there are none.
func (f *fixture) servers() { f.o.Servers = noServers{} }

func (f *fixture) audit(path string) []AuditEntry {
	f.t.Helper()
	var all AuditEntries
	w := f.ask("GET", path, "", nil)
	if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
		f.t.Fatalf("%d %v", w.Code, err)
	}
	return all.Entries
}

// TestAuditBounded: the list keeps the latest.
func TestAuditBounded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if got := f.audit("/v1/audit"); got == nil || len(got) != 0 {
		t.Errorf("at the start: %v", got)
	}
	for i := range maxAudit + 7 {
		f.o.Audit.add(AuditEntry{Who: strconv.Itoa(i)})
	}
	if got := f.audit("/v1/audit?limit=1000"); len(got) != maxAudit || got[0].Who != "1006" || got[maxAudit-1].Who != "7" {
		t.Errorf("%d entries, from %s to %s", len(got), got[0].Who, got[len(got)-1].Who)
	}
	checkProblem(t, f.ask("GET", "/v1/audit?limit=0", "", nil), 400, "from 1 to 1000")
}

// TestLocalRole: what a peer on this machine may do without a token is configured.
func TestLocalRole(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	local := Read
	f.o.Config = func(netip.Addr) PeerOptions {
		return PeerOptions{Local: local, Tokens: []Token{{"one", "right", Operate}}}
	}
	if w := f.ask("GET", "/v1/users", "", nil); w.Code != 200 {
		t.Errorf("look: %d", w.Code)
	}
	checkProblem(t, f.ask("DELETE", "/v1/users/a@localhost", "", nil), 403, "role operate")
	local = Nobody
	checkProblem(t, f.ask("GET", "/v1/users", "", nil), 401, "token is required")
	good := func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer right")
		r.Host = "gateway.example" // which a page of another site cannot use without the token
	}
	checkProblem(t, f.ask("DELETE", "/v1/users/a@localhost", "", good), 404, "no such account")
	f.o.Config = func(netip.Addr) PeerOptions { return PeerOptions{} }
	checkProblem(t, f.ask("GET", "/v1/users", "", nil), 401, "token")
}

// TestOtherSites: what a browser says of the page that makes it ask.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		name, method string
		fields       []string
		code         int
	}{
		{"our own page", "POST", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://127.0.0.1:8026"}, 201},
		{"a person by hand", "GET", []string{"Sec-Fetch-Site", "none"}, 200},
		{"a link of another site", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 200},
		{"an image of another site", "GET", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"}, 403},
		{"a form of another site, without Origin", "POST", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"}, 403},
		{"another port of this machine", "POST", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:3000"}, 403},
		{"another site", "POST", []string{"Origin", "https://evil.example"}, 403},
		{"a page without an origin", "POST", []string{"Origin", "null"}, 403},
		{"an origin that is none", "POST", []string{"Origin", "http://%zz"}, 403},
	} {
		f.users.users = make(map[jid.JID]string)
		w := f.ask(c.method, "/v1/users", map[string]string{"POST": `{"jid":"a@localhost","password":"x"}`}[c.method], func(r *http.Request) {
			for i := 0; i < len(c.fields); i += 2 {
				r.Header.Set(c.fields[i], c.fields[i+1])
			}
		})
		if w.Code != c.code || (len(f.users.users) > 0) != (c.code == 201) {
			t.Errorf("%s: %d, %d accounts", c.name, w.Code, len(f.users.users))
		}
	}
	// A form needs no leave of the other side (CORS), so it changes nothing, with a
	// body or without.
	for _, path := range []string{"/v1/users", "/v1/queue:drop", "/v1/s2s/a.example/block"} {
		f.servers()
		for _, media := range []string{"application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"} {
			w := f.ask("POST", path, "", func(r *http.Request) { r.Header.Set("Content-Type", media) })
			checkProblem(t, w, 415, "application/json")
		}
	}
	if n := strings.Count(f.log.String(), "request of another site refused"); n != 6 {
		t.Errorf("%d refusals are logged", n)
	}
}

// TestRequestRate: a caller that asks too often is told when to come back, and others
// are not held up.
func TestRequestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		o := PeerOptions{Local: Operate, Rate: 0.5, Burst: 3, Tokens: []Token{{"one", "right", Read}}}
		f.o.Config = func(netip.Addr) PeerOptions { return o }
		get := func(addr string, token string) int {
			t.Helper()
			w := f.ask("GET", "/v1/queue", "", func(r *http.Request) {
				r.RemoteAddr = addr
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
			})
			if w.Code == http.StatusTooManyRequests {
				checkProblem(t, w, 429, "too many requests")
				if got := w.Header().Get("Retry-After"); got != "2" {
					t.Errorf("Retry-After %q, want the seconds until there is one again", got)
				}
			}
			return w.Code
		}
		for i, want := range []int{200, 200, 200, 429, 429} {
			if got := get("127.0.0.1:1", ""); got != want {
				t.Errorf("request %d: %d, want %d", i, got, want)
			}
		}
		if got := get("127.0.0.1:1", "right"); got != 200 {
			t.Errorf("another caller there: %d", got)
		}
		if got := get("127.0.0.2:1", ""); got != 200 {
			t.Errorf("the same at another address: %d", got)
		}
		for i, want := range []int{200, 200, 200, 429} {
			if got := get([]string{"[2001:db8::1]:1", "[2001:db8::2]:1"}[i%2], "right"); got != want {
				t.Errorf("of a /64, request %d: %d, want %d", i, got, want)
			}
		}
		time.Sleep(2 * time.Second)
		if got := get("127.0.0.1:1", ""); got != 200 {
			t.Errorf("after two seconds: %d", got)
		}
		if got := get("127.0.0.1:1", ""); got != 429 {
			t.Errorf("once more: %d", got)
		}
		if w := f.ask("GET", "/healthz", "", nil); w.Code != 200 {
			t.Errorf("a probe is answered %d", w.Code)
		}
		o.Burst = 100 // a reload
		time.Sleep(2 * time.Second)
		if got := get("127.0.0.1:1", ""); got != 200 {
			t.Errorf("with another rate: %d", got)
		}
		o.Rate = 0
		for range 200 {
			if got := get("127.0.0.1:1", ""); got != 200 {
				t.Fatalf("without a bound: %d", got)
			}
		}
	})
}

// TestRatesBounded: the table of callers does not grow without end, and who is over
// the rate is not forgotten for the others.
func TestRatesBounded(t *testing.T) {
	t.Parallel()
	var l rates
	o := PeerOptions{Rate: 0.001, Burst: 2}
	greedy := caller{name: "greedy"}
	for range 2 {
		l.take(greedy, o)
	}
	for i := range 3 * maxCallers {
		who := caller{name: strconv.Itoa(i)}
		l.take(who, PeerOptions{Rate: 1e9, Burst: 1})
	}
	if n := len(l.callers); n > maxCallers {
		t.Errorf("%d callers are kept", n)
	}
	if l.take(greedy, o) == 0 {
		t.Error("one that is over the rate has been forgotten")
	}
}

// guesses is a bound of three wrong tokens.
type guesses struct{ failed int }

func (g *guesses) Admit() time.Duration {
	if g.failed >= 3 {
		return 90 * time.Second
	}
	return 0
}

func (g *guesses) Failed() time.Duration {
	g.failed++
	return time.Second << g.failed
}

// TestGuessing: wrong tokens are answered late, then not tried, and each is logged
// without the token.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		g := new(guesses)
		f.o.Config = func(netip.Addr) PeerOptions {
			return PeerOptions{Tokens: []Token{{"one", "right", Operate}}, Guesses: g}
		}
		ask := func(token string) func(*http.Request) {
			return func(r *http.Request) {
				r.RemoteAddr = "203.0.113.9:1"
				r.Header.Set("Authorization", "Bearer "+token)
			}
		}
		for i := range 3 {
			start := time.Now()
			checkProblem(t, f.ask("GET", "/v1/users", "", ask("guess")), 401, "not a good one")
			if took := time.Since(start); took != time.Second<<(i+1) {
				t.Errorf("guess %d was answered after %s", i, took)
			}
		}
		w := f.ask("GET", "/v1/users", "", ask("right"))
		checkProblem(t, w, 429, "too many wrong tokens")
		if w.Header().Get("Retry-After") != "90" {
			t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
		}
		if n := strings.Count(f.log.String(), "wrong token"); n != 3 || strings.Contains(f.log.String(), "guess") {
			t.Errorf("logged %s", &f.log)
		}
		g.failed = 0
		if w := f.ask("GET", "/v1/users", "", ask("right")); w.Code != 200 || g.failed != 0 {
			t.Errorf("the good one: %d, %d failures", w.Code, g.failed)
		}
		f.ask("GET", "/v1/users", "", func(r *http.Request) { r.RemoteAddr = "203.0.113.9:1" })
		if g.failed != 0 {
			t.Error("no token counts as a wrong one")
		}
	})
}

// TestStats: whoever is turned away is counted once, by why, and nobody else is.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		g := new(guesses)
		local := PeerOptions{Local: Read}
		f.o.Config = func(peer netip.Addr) PeerOptions {
			if peer.IsLoopback() {
				return local
			}
			return PeerOptions{Tokens: []Token{{"one", "right", Operate}}, Guesses: g}
		}
		as := func(token string) func(*http.Request) {
			return func(r *http.Request) {
				r.RemoteAddr = "203.0.113.9:1"
				if token != "" {
					r.Header.Set("Authorization", "Bearer "+token)
				}
			}
		}
		f.ask("GET", "/v1/users", "", nil)
		f.ask("GET", "/v1/users?limit", "", as("right")) // a mistake of who may ask
		if got := f.Stats(); got != (Stats{}) {
			t.Errorf("%+v of those who are let in", got)
		}
		f.ask("GET", "/v1/users", "", as(""))
		for range 3 {
			f.ask("GET", "/v1/users", "", as("guess"))
		}
		for range 2 {
			f.ask("GET", "/v1/users", "", as("right"))
		}
		f.ask("DELETE", "/v1/users/a@localhost", "", nil)
		f.ask("GET", "/v1/users", "", func(r *http.Request) { r.Host = "evil.example" })
		f.ask("GET", "/v1/users", "", func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") })
		local.Rate, local.Burst = 0.001, 1
		for range 5 {
			f.ask("GET", "/v1/users", "", nil)
		}
		f.ask("GET", "/healthz", "", as("guess")) // open to all
		if got, want := f.Stats(), (Stats{NoToken: 1, WrongTokens: 3, Guarded: 2, Throttled: 4, Forbidden: 1, OtherSites: 2}); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// noServers are Servers without any stream.
type noServers struct{}

func (noServers) Streams() []ServerStream { return nil }
func (noServers) Check(context.Context, string, string) (*s2s.Check, error) {
	return new(s2s.Check), nil
}
func (noServers) Retry(string) bool                         { return false }
func (noServers) Block(context.Context, string, bool) error { return nil }
