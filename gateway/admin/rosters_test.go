package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
)

// contacts are rosters without a broker, of alice only.
type contacts struct {
	mu     sync.Mutex
	roster roster.Roster
	fails  error
}

func (c *contacts) Roster(_ context.Context, user jid.JID) (*roster.Roster, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if user.String() != "alice@localhost" {
		return nil, fmt.Errorf("%s: %w", user, store.ErrNoAccount)
	}
	return c.roster.Clone(), c.fails
}

func (c *contacts) Import(_ context.Context, user jid.JID, record *roster.Roster, replace bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if user.String() != "alice@localhost" {
		return fmt.Errorf("%s: %w", user, store.ErrNoAccount)
	}
	if c.fails != nil {
		return c.fails
	}
	return c.roster.Import(record, replace)
}

const bobsLine = `{"bob@localhost":{"groups":["Work"],"name":"Bob","pending_requests":{},"subscription":"both"}}`

func TestRosters(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/v1/rosters/", "/riak/xmpp/"} {
		f := newFixture(t)
		f.o.Rosters = new(contacts)
		get := func() string {
			w := f.ask("GET", path+"Alice@localhost", "", nil)
			if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d, %s", path, w.Code, w.Header())
			}
			return strings.TrimSpace(w.Body.String())
		}
		if got := get(); got != "{}" {
			t.Errorf("nobody: %s", got)
		}
		for _, c := range []struct{ method, body, want string }{
			{"POST", bobsLine, bobsLine},
			{"POST", `{"carol@localhost":{}}`, bobsLine[:len(bobsLine)-1] + `,"carol@localhost":{"groups":[],"name":"","pending_requests":{},"subscription":"none"}}`},
			{"PUT", bobsLine, bobsLine},
			{"PUT", `{}`, `{}`},
		} {
			w := f.ask(c.method, path+"alice@localhost", c.body, nil)
			if got := get(); w.Code != 204 || w.Body.Len() > 0 || got != c.want {
				t.Errorf("%s %s: %d %s, then %s", c.method, c.body, w.Code, w.Body, got)
			}
		}
	}
}

func TestRostersRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kept := new(contacts)
	path := "/v1/rosters/alice@localhost"
	checkProblem(t, f.ask("GET", path, "", nil), 501, "not kept")
	f.o.Rosters = kept
	for _, c := range []struct {
		name, method, path, body string
		edit                     func(*http.Request)
		code                     int
		detail                   string
	}{
		{"nobody", "GET", "/v1/rosters/nobody@localhost", "", nil, 404, "no such account"},
		{"nobody's", "POST", "/v1/rosters/nobody@localhost", "{}", nil, 404, "no such account"},
		{"no account", "GET", "/v1/rosters/localhost", "", nil, 400, "user@domain"},
		{"a resource", "GET", "/v1/rosters/alice@localhost%2Fphone", "", nil, 400, "user@domain"},
		{"another method", "DELETE", path, "", nil, 405, "GET, HEAD, POST, PUT"},
		{"no JSON", "POST", path, "{", nil, 400, "not a roster record"},
		{"no record", "POST", path, "[]", nil, 400, "not a roster record"},
		{"a mistake in a line", "PUT", path, `{"bob@localhost":{"subscription":"x"}}`, nil, 400, `"bob@localhost": subscription is "x"`},
		{"too long a name", "PUT", path, `{"bob@localhost":{"name":"` + strings.Repeat("x", 2000) + `"}}`, nil, 400, "bytes in a name"},
		{"too large", "POST", path, `{"` + strings.Repeat("x", maxRecord) + `":{}}`, nil, 413, "4194304 bytes"},
		{"another type", "POST", path, "{}", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415, "application/json"},
		{"from elsewhere", "GET", path, "", func(r *http.Request) { r.RemoteAddr = "192.0.2.8:1" }, 401, "token"},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkProblem(t, f.ask(c.method, c.path, c.body, c.edit), c.code, c.detail)
		})
	}
	for _, c := range []struct {
		err    error
		code   int
		detail string
	}{
		{store.ErrDamaged, 409, "PUT replaces it"},
		{fmt.Errorf("%w: alice in her roster", store.ErrInvalid), 400, "alice in her roster"},
		{&roster.LimitError{What: "contacts", Max: 1000}, 400, "more than 1000 contacts"},
		{errors.New("secret detail"), 503, "cannot be read or changed now"},
	} {
		kept.fails = c.err
		checkProblem(t, f.ask("POST", path, "{}", nil), c.code, c.detail)
		checkProblem(t, f.ask("GET", path, "", nil), c.code, c.detail)
	}
}
