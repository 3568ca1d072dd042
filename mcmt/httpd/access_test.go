package httpd

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/mcmt"
)

// users is an Authenticator of one user, and one token; "slow" cannot be checked.
type users struct{}

func (users) Basic(_ context.Context, user, password string) (string, error) {
	switch {
	case user == "slow":
		return "", errors.New("store is away")
	case user == "jörg" && password == "pass:wörd":
		return "joerg", nil
	}
	return "", ErrDenied
}

func (users) Bearer(ctx context.Context, token string) (string, error) {
	return Tokens{"t0k"}.Bearer(ctx, token)
}

func basic(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\n"
}

func TestWhoMayPost(t *testing.T) {
	t.Parallel()
	withUsers := PeerOptions{Authenticator: users{}, AllowPlainWithoutTLS: true}
	for name, tc := range map[string]struct {
		strange bool // the peer is not on loopback
		opt     PeerOptions
		fields  string
		status  int
		user    string
		trusted bool
	}{
		"loopback":                           {false, PeerOptions{}, "", 202, "", false},
		"loopback in relay_hosts":            {false, PeerOptions{Trusted: true}, "", 202, "", true},
		"a stranger":                         {true, PeerOptions{AllowPlainWithoutTLS: true}, "", 401, "", false},
		"a stranger where it is clear text":  {true, PeerOptions{Authenticator: users{}}, "", 403, "", false},
		"credentials in clear text":          {true, PeerOptions{Authenticator: users{}}, basic("jörg", "pass:wörd"), 403, "", false},
		"a stranger in relay_hosts":          {true, PeerOptions{Trusted: true}, "", 202, "", true},
		"always_deny":                        {false, PeerOptions{Deny: true, Trusted: true}, "", 403, "", false},
		"a password, RFC 7617":               {true, withUsers, basic("jörg", "pass:wörd"), 202, "joerg", true},
		"a wrong password":                   {true, withUsers, basic("jörg", "pass"), 401, "", false},
		"a wrong password from loopback":     {false, withUsers, basic("jörg", "pass"), 401, "", false},
		"a wrong password from relay_hosts":  {true, PeerOptions{Trusted: true, Authenticator: users{}, AllowPlainWithoutTLS: true}, basic("jörg", "x"), 401, "", false},
		"credentials nobody can check":       {true, withUsers, basic("slow", "x"), 503, "", false},
		"credentials where none are known":   {false, PeerOptions{}, basic("jörg", "pass:wörd"), 401, "", false},
		"a token, RFC 6750":                  {true, withUsers, "Authorization: bEARER t0k\n", 202, "bearer", true},
		"a wrong token":                      {true, withUsers, "Authorization: Bearer t0\n", 401, "", false},
		"an empty token":                     {true, withUsers, "Authorization: Bearer\n", 401, "", false},
		"a scheme we do not have":            {true, withUsers, "Authorization: Negotiate abc\n", 401, "", false},
		"Basic that is not base64":           {true, withUsers, "Authorization: Basic %%%\n", 401, "", false},
		"Basic without a colon":              {true, withUsers, "Authorization: Basic YWJj\n", 401, "", false},
		"two fields of credentials":          {true, withUsers, "Authorization: Bearer t0k\nAuthorization: Bearer x\n", 400, "", false},
		"a page of another origin":           {false, PeerOptions{}, "Origin: https://evil.example\n", 403, "", false},
		"a sandboxed page":                   {false, PeerOptions{}, "Origin: null\n", 403, "", false},
		"a page whose name was rebound":      {false, PeerOptions{}, "Origin: http://evil.example\nHost: evil.example\n", 403, "", false},
		"a page of another port":             {false, PeerOptions{}, "Origin: http://localhost:3000\n", 403, "", false},
		"a page of another address":          {false, PeerOptions{}, "Origin: http://192.0.2.9\n", 403, "", false},
		"our own page":                       {false, PeerOptions{}, "Origin: http://localhost\n", 202, "", false},
		"a page that is on the list":         {false, PeerOptions{Origins: []string{"https://desk.example"}}, "Origin: https://desk.example\n", 202, "", false},
		"a page with a token all the same":   {true, withUsers, "Origin: https://evil.example\nAuthorization: Bearer t0k\n", 403, "", false},
		"a request that hides its origin":    {false, PeerOptions{}, "Sec-Fetch-Site: cross-site\n", 403, "", false},
		"a request that a user typed, so to": {false, PeerOptions{}, "Sec-Fetch-Site: none\n", 202, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk, run := &sink{}, start
			if tc.strange {
				run = startStrange
			}
			_, addr := run(t, Options{Sink: snk, Config: stranger(tc.opt)})
			req := request("/v1/messages", jsonField+tc.fields, goodJSON)
			if strings.Contains(tc.fields, "Host:") {
				req = strings.Replace(req, "Host: localhost\r\n", "", 1)
			}
			w := dial(t, addr)
			w.send(req)
			got := w.read()
			if got.status != tc.status {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if auth := got.header.Values("WWW-Authenticate"); (len(auth) == 2) != (got.status == 401) {
				t.Errorf("WWW-Authenticate %q", auth)
			}
			if got.status != 202 {
				got.problem(t)
				return
			}
			if env, _ := snk.one(t); env.User != tc.user || env.Trusted != tc.trusted {
				t.Errorf("user %q, trusted %v", env.User, env.Trusted)
			}
		})
	}
}

// A peer on a Unix socket is a local user.
func TestUnixPeer(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	snk := &sink{}
	startOn(t, Options{Sink: snk, Config: func(p netip.AddrPort) PeerOptions {
		if p != netip.MustParseAddrPort("127.0.0.1:0") {
			t.Errorf("asked for %v", p)
		}
		return PeerOptions{}
	}}, ln)
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := io.WriteString(c, request("/v1/messages", jsonField+"Connection: close\n", goodJSON)); err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.1 202") {
		t.Errorf("got %s", b)
	}
}

// Under TLS strangers are asked for credentials, and give them.
func TestTLS(t *testing.T) {
	t.Parallel()
	// The certificate of httptest, which its client trusts.
	ts := httptest.NewUnstartedServer(nil)
	ts.StartTLS()
	defer ts.Close()
	cfg := &tls.Config{Certificates: ts.TLS.Certificates}
	_, addr := startStrange(t, Options{TLS: cfg, Config: stranger(PeerOptions{Authenticator: users{}})})
	client := ts.Client()
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	defer client.CloseIdleConnections()
	for _, tc := range []struct {
		password string
		status   int
	}{{"", 401}, {"pass:wörd", 202}} {
		req, err := http.NewRequest(http.MethodPost, "https://"+addr+"/v1/messages", strings.NewReader(goodJSON))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if tc.password != "" {
			req.SetBasicAuth("jörg", tc.password)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tc.status || res.ProtoMajor != 1 {
			t.Errorf("got %s %s", res.Proto, res.Status)
		}
	}
}

// Whoever guesses is soon not listened to, not even with the right answer.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	s, addr := startStrange(t, Options{MaxFailedLogins: 3, Config: stranger(PeerOptions{Authenticator: users{}, AllowPlainWithoutTLS: true})})
	w := dial(t, addr)
	for i, want := range []int{401, 401, 401, 429, 429} {
		fields := basic("jörg", "guess")
		if i == 4 {
			fields = basic("jörg", "pass:wörd")
		}
		w.send(request("/v1/messages", jsonField+fields, goodJSON))
		if got := w.read(); got.status != want || (want == 429) != (got.header.Get("Retry-After") != "") {
			t.Errorf("try %d: %d, want %d", i+1, got.status, want)
		}
	}
	if got := s.Stats().AuthFailed; got != 3 {
		t.Errorf("%d counted", got)
	}
}

// guessed is an Authenticator that bounds the guessing itself.
type guessed struct{ AuthError }

func (g guessed) Basic(context.Context, string, string) (string, error) { return "", &g.AuthError }
func (g guessed) Bearer(context.Context, string) (string, error)        { return "", &g.AuthError }

// An Authenticator that bounds the guessing decides when it is too much, and how long an
// answer waits (RFC 6585 §4).
func TestGuessing(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		err    AuthError
		status int
		after  string
		took   time.Duration
		stats  Stats
	}{
		"wrong": {AuthError{Delay: 8 * time.Second, Err: ErrDenied}, 401, "", 8 * time.Second, Stats{AuthFailed: 1}},
		"refused": {AuthError{Refused: true, RetryAfter: 90 * time.Second, Err: errors.New("too many")}, 429, "90", 0,
			Stats{Guarded: 1}},
		"refused for a moment more": {AuthError{Refused: true, RetryAfter: time.Millisecond, Err: errors.New("too many")}, 429, "1", 0,
			Stats{Guarded: 1}},
		"not to be told": {AuthError{Err: errors.New("store is away")}, 503, "10", 0, Stats{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := New(Options{Sink: &sink{}, MaxFailedLogins: 1, Config: func(netip.AddrPort) PeerOptions {
					return PeerOptions{Authenticator: guessed{tc.err}, AllowPlainWithoutTLS: true}
				}})
				for range 3 { // MaxFailedLogins does not count them
					rec, req := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/messages", strings.NewReader(goodJSON))
					req.SetBasicAuth("jörg", "x")
					began := time.Now()
					s.ServeHTTP(rec, req)
					if took := time.Since(began); rec.Code != tc.status || rec.Header().Get("Retry-After") != tc.after || took != tc.took {
						t.Errorf("%d, Retry-After %q, after %v", rec.Code, rec.Header().Get("Retry-After"), took)
					}
				}
				if got := s.Stats(); got.AuthFailed != 3*tc.stats.AuthFailed || got.Guarded != 3*tc.stats.Guarded {
					t.Errorf("counted %+v", got)
				}
			})
		})
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	s, addr := start(t, Options{Config: stranger(PeerOptions{Rate: 0.01, Burst: 2})})
	w := dial(t, addr)
	for i, want := range []int{202, 202, 429} {
		w.send(request("/v1/messages", jsonField, goodJSON))
		got := w.read()
		if got.status != want {
			t.Errorf("request %d: %d %s", i+1, got.status, got.body)
		}
		if retry := got.header.Get("Retry-After"); want == 429 && len(retry) < 2 { // about 100 s
			t.Errorf("Retry-After %q", retry)
		}
	}
	if st := s.Stats(); st.Throttled != 1 || st.Deferred != 1 || st.Accepted != 2 {
		t.Errorf("stats %+v", st)
	}
}

// Requests beyond a bound are answered while the others are still worked on,
// and let in again afterwards.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		all, peer int
		status    int
	}{"of one address": {0, 1, 429}, "in all": {1, 0, 503}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			entered, release := make(chan struct{}, 2), make(chan struct{})
			snk := &sink{put: func(context.Context, mcmt.Envelope, []byte) error {
				entered <- struct{}{}
				<-release
				return nil
			}}
			_, addr := start(t, Options{Sink: snk, MaxRequests: tc.all, Config: stranger(PeerOptions{MaxRequests: tc.peer})})
			first := dial(t, addr)
			first.send(request("/v1/messages", jsonField, goodJSON))
			<-entered
			second := dial(t, addr)
			second.send(request("/v1/messages", jsonField, goodJSON))
			if got := second.read(); got.status != tc.status || got.header.Get("Retry-After") == "" {
				t.Errorf("got %d %s", got.status, got.body)
			}
			close(release)
			if got := first.read(); got.status != 202 {
				t.Errorf("got %d %s", got.status, got.body)
			}
			first.send(request("/v1/messages", jsonField, goodJSON))
			if got := first.read(); got.status != 202 {
				t.Errorf("afterwards: %d %s", got.status, got.body)
			}
		})
	}
}

// Connections beyond a bound are closed at once, and counted.
func TestMaxConnections(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{"in all": {MaxConnections: 1}, "of one address": {MaxConnectionsPerAddress: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, addr := start(t, o)
			first := dial(t, addr)
			first.send(request("/v1/messages", jsonField, goodJSON))
			first.read()
			second := dial(t, addr)
			if _, err := second.br.ReadByte(); err == nil {
				t.Error("a second connection is served")
			}
			if got := s.Stats().OverLimit; got != 1 {
				t.Errorf("%d counted", got)
			}
			first.send(request("/v1/messages", jsonField+"Connection: close\n", goodJSON))
			first.read()
			_, _ = io.ReadAll(first.br) // closed by the server: its place is free
			for {                       // the place is given back just after the close
				third := dial(t, addr)
				third.send(request("/v1/messages", jsonField, goodJSON))
				if b, err := third.br.Peek(12); err == nil {
					if string(b) != "HTTP/1.1 202" {
						t.Errorf("got %s", b)
					}
					break
				}
			}
		})
	}
}

// Memory for bodies is bounded, and comes back.
func TestMemory(t *testing.T) {
	t.Parallel()
	s, addr := start(t, Options{Memory: 40 << 10, ReadTimeout: patience / 100})
	if got := post(t, addr, "/v1/messages", mailField, goodMail+strings.Repeat("x", 60<<10)); got.status != 503 {
		t.Errorf("got %d %s", got.status, got.body)
	}
	for range 20 {
		if got := post(t, addr, "/v1/messages", mailField, goodMail); got.status != 202 {
			t.Fatalf("got %d %s", got.status, got.body)
		}
	}
	if !s.memory.TryAcquire(40 << 10) {
		t.Error("some of it is lost")
	}
}

// Peers are forgotten when there are many, but not while they count.
func TestPeersForget(t *testing.T) {
	t.Parallel()
	var p peers
	busy := p.get(netip.MustParseAddr("192.0.2.1"))
	busy.begin(0)
	for _, st := range p.m {
		st.used = st.used.AddDate(-1, 0, 0)
	}
	old := p.get(netip.MustParseAddr("192.0.2.2"))
	old.used = old.used.AddDate(-1, 0, 0)
	p.forget(busy.used.AddDate(1, 0, 0))
	if p.get(netip.MustParseAddr("::ffff:192.0.2.1")) != busy || p.get(netip.MustParseAddr("192.0.2.2")) == old {
		t.Error("the wrong one is forgotten")
	}
	if p.get(netip.MustParseAddr("2001:db8::1")) != p.get(netip.MustParseAddr("2001:db8::2")) {
		t.Error("two addresses of one /64 are two peers")
	}
}
