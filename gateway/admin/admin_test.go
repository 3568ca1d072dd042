package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/jid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is the built-in store without a broker.
type memory struct {
	mu    sync.Mutex
	users map[jid.JID]string
	down  error
}

func (m *memory) Add(_ context.Context, user jid.JID, password string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch _, ok := m.users[user]; {
	case m.down != nil:
		return m.down
	case ok:
		return fmt.Errorf("%s: %w", user, store.ErrExists)
	case strings.ContainsRune(password, 0x7):
		return fmt.Errorf("%s: %w: control character", user, store.ErrInvalid)
	}
	m.users[user] = password
	return nil
}

func (m *memory) SetPassword(_ context.Context, user jid.JID, password string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.users[user]; !ok {
		return fmt.Errorf("%s: %w", user, store.ErrNoAccount)
	}
	m.users[user] = password
	return nil
}

func (m *memory) Remove(_ context.Context, user jid.JID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.users[user]; !ok {
		return fmt.Errorf("%s: %w", user, store.ErrNoAccount)
	}
	delete(m.users, user)
	return nil
}

func (m *memory) List(context.Context) ([]jid.JID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []jid.JID
	for j := range m.users {
		all = append(all, j)
	}
	slices.SortFunc(all, func(a, b jid.JID) int { return strings.Compare(a.String(), b.String()) })
	return all, m.down
}

// fixture is a server that is asked without a network.
type fixture struct {
	*Server
	t       testing.TB
	users   *memory
	queue   *recorder
	history *past
	bus     *trace.Bus
	log     bytes.Buffer
	broken  error // of the condition "broker"
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{t: t, users: &memory{users: make(map[jid.JID]string)}, queue: new(recorder), history: new(past), bus: new(trace.Bus)}
	f.Server = New(Options{
		Version: "1.2.3", Accounts: f.users, Queue: f.queue, History: f.history, Trace: f.bus, Log: zerolog.New(&f.log),
		Ready: map[string]func() error{"broker": func() error { return f.broken }, "listeners": func() error { return nil }},
		Metrics: func() []Metric {
			return []Metric{{Name: "things_total", Help: "Things <by> kind.", Labels: []string{"kind"}, Collect: func(add func(float64, ...string)) {
				add(7, "good")
				add(1, "bad")
			}}}
		},
		Config: f.peerOptions,
	})
	t.Cleanup(f.Close)
	return f
}

// peerOptions are those of the tests: local peers may do all, and one that is not has
// tokens.
func (f *fixture) peerOptions(peer netip.Addr) PeerOptions {
	o := PeerOptions{Local: Operate}
	if peer == netip.MustParseAddr("192.0.2.7") {
		o.Tokens = []Token{{"one", "right", Operate}, {"two", "other", Read}}
	}
	return o
}

// ask makes a request from loopback unless edit changes that.
func (f *fixture) ask(method, path, body string, edit func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = "127.0.0.1:4711", "127.0.0.1:8026"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	f.handler.ServeHTTP(&visitor{w, leave}, r.WithContext(ctx))
	f.checkContract(r, body, w)
	return w
}

// visitor is an answer whose client leaves once a piece of it is there: it does not wait
// for the end of one that has none.
type visitor struct {
	*httptest.ResponseRecorder
	leave context.CancelFunc
}

func (v *visitor) Flush() {
	v.ResponseRecorder.Flush()
	v.leave()
}

// checkContract holds an answer to the document of the API, and a request that was
// done.
func (f *fixture) checkContract(r *http.Request, body string, w *httptest.ResponseRecorder) {
	f.t.Helper()
	doc, err := contract()
	if err != nil {
		f.t.Fatal(err)
	}
	if strings.Contains(w.Body.String(), "nothing at this path") {
		return
	}
	doc.CheckAnswer(f.t, r, w.Code, w.Header(), w.Body.Bytes())
	if w.Code < 300 && r.Method != http.MethodHead {
		doc.CheckRequest(f.t, r, body)
	}
}

// checkProblem holds an answer to RFC 9457.
func checkProblem(t *testing.T, w *httptest.ResponseRecorder, status int, detail string) {
	t.Helper()
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("%d with Content-Type %q, want a problem", w.Code, got)
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d: %v: %s", w.Code, err, w.Body)
	}
	if w.Code != status || p.Status != status || p.Title == "" || !strings.Contains(p.Detail, detail) {
		t.Errorf("%d %+v, want %d with %q", w.Code, p, status, detail)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.broken = errors.New("connection is closed")
	for _, c := range []struct {
		name, path string
		code       int
		body       string
	}{
		{"alive though nothing works", "/healthz", 200, "ok\n"},
		{"the reason why not", "/readyz", 503, "broker: connection is closed\n"},
	} {
		w := f.ask("GET", c.path, "", func(r *http.Request) { r.RemoteAddr = "203.0.113.9:1" }) // probes come from anywhere
		if w.Code != c.code || w.Body.String() != c.body {
			t.Errorf("%s: %d %q", c.name, w.Code, w.Body)
		}
	}
	f.broken = nil
	if w := f.ask("GET", "/readyz", "", nil); w.Code != 200 || w.Body.String() != "ready\n" {
		t.Errorf("ready: %d %q", w.Code, w.Body)
	}
	checkProblem(t, f.ask("POST", "/healthz", "{}", nil), 405, "GET, HEAD")
}

// TestAccess: who may see the numbers and change accounts.
func TestAccess(t *testing.T) {
	t.Parallel()
	from := func(addr string, more ...string) func(*http.Request) {
		return func(r *http.Request) {
			r.RemoteAddr = addr
			for i := 0; i+1 < len(more); i += 2 {
				if more[i] == "Host" {
					r.Host = more[i+1]
					continue
				}
				r.Header.Set(more[i], more[i+1])
			}
		}
	}
	unix := func(r *http.Request) {
		*r = *r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/a.sock", Net: "unix"}))
		r.RemoteAddr, r.Host = "@", "gateway"
	}
	f := newFixture(t)
	f.history.outcomes = map[string][]Outcome{"q1": {{ID: "q1", Outcome: "delivered"}}}
	for _, c := range []struct {
		name string
		edit func(*http.Request)
		code int
	}{
		{"loopback", from("127.0.0.1:1"), 200},
		{"IPv6 loopback", from("[::1]:1", "Host", "[::1]:8026"), 200},
		{"IPv4 in IPv6", from("[::ffff:127.0.0.1]:1"), 200},
		{"by name", from("127.0.0.1:1", "Host", "localhost:8026"), 200},
		{"by name without a port", from("127.0.0.1:1", "Host", "LOCALHOST."), 200},
		{"Unix socket, whatever the Host", unix, 200},
		{"another name: DNS rebinding", from("127.0.0.1:1", "Host", "evil.example:8026"), 403},
		{"no Host", from("127.0.0.1:1", "Host", ""), 403},
		{"our own page", from("127.0.0.1:1", "Origin", "http://127.0.0.1:8026"), 200},
		{"another site's page", from("127.0.0.1:1", "Origin", "http://evil.example"), 403},
		{"a page without an origin", from("127.0.0.1:1", "Origin", "null"), 403},
		{"from outside", from("192.0.2.7:1"), 401},
		{"an address that is none", from("somewhere"), 401},
		{"the token", from("192.0.2.7:1", "Authorization", "Bearer right"), 200},
		{"another of the tokens", from("192.0.2.7:1", "Authorization", "bearer other"), 200},
		{"the token of another peer", from("192.0.2.8:1", "Authorization", "Bearer right"), 401},
		{"a wrong token", from("192.0.2.7:1", "Authorization", "Bearer wrong"), 401},
		{"the beginning of the token", from("192.0.2.7:1", "Authorization", "Bearer righ"), 401},
		{"no token in the field", from("192.0.2.7:1", "Authorization", "Bearer "), 401},
		{"another scheme", from("192.0.2.7:1", "Authorization", "Basic right"), 401},
		{"a wrong token from loopback, which needs none", from("127.0.0.1:1", "Authorization", "Bearer wrong"), 401},
		{"the token and another site's page", from("192.0.2.7:1", "Authorization", "Bearer right", "Origin", "http://evil.example"), 403},
	} {
		for _, path := range []string{"/", "/metrics", "/v1/users", "/v1/queue", "/v1/queue/messages", "/v1/messages/q1"} {
			w := f.ask("GET", path, "", c.edit)
			switch {
			case w.Code != c.code:
				t.Errorf("%s: %s: %d %s, want %d", c.name, path, w.Code, w.Body, c.code)
			case c.code != 200:
				checkProblem(t, w, c.code, "")
			}
			if challenge := w.Header().Get("WWW-Authenticate"); (challenge != "") != (c.code == 401) {
				t.Errorf("%s: %s: %d with challenge %q", c.name, path, w.Code, challenge)
			}
		}
	}
}

func TestUsers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		name, method, path, body string
		code                     int
		detail                   string // of the problem; empty: none
	}{
		{"add", "POST", "/v1/users", `{"jid":"Alice@localhost","password":"secret"}`, 201, ""},
		{"add again", "POST", "/v1/users", `{"jid":"alice@localhost","password":"secret"}`, 409, "exists"},
		{"change", "PUT", "/v1/users/alice@localhost", `{"password":"other"}`, 204, ""},
		{"change, named twice", "PUT", "/v1/users/alice@localhost", `{"jid":"alice@localhost","password":"other"}`, 204, ""},
		{"change of two", "PUT", "/v1/users/alice@localhost", `{"jid":"bob@localhost","password":"other"}`, 400, "not that of the path"},
		{"change nobody", "PUT", "/v1/users/nobody@localhost", `{"password":"other"}`, 404, "no such account"},
		{"escaped", "POST", "/v1/users", `{"jid":"a\\2fb@localhost","password":"secret"}`, 201, ""},
		{"remove, escaped", "DELETE", `/v1/users/a%5C2fb@localhost`, "", 204, ""},
		{"remove nobody", "DELETE", "/v1/users/nobody@localhost", "", 404, "no such account"},
		{"no password", "POST", "/v1/users", `{"jid":"bob@localhost"}`, 400, "password is empty"},
		{"no jid", "POST", "/v1/users", `{"password":"x"}`, 400, "jid: "},
		{"a domain", "POST", "/v1/users", `{"jid":"localhost","password":"x"}`, 400, "user@domain"},
		{"a full JID", "POST", "/v1/users", `{"jid":"bob@localhost/x","password":"x"}`, 400, "user@domain"},
		{"not a JID", "DELETE", "/v1/users/@@", "", 400, "jid: "},
		{"a password that cannot be one", "POST", "/v1/users", `{"jid":"bob@localhost","password":"\u0007"}`, 400, "not valid"},
		{"not JSON", "POST", "/v1/users", `jid=bob`, 400, "body: "},
		{"two objects", "POST", "/v1/users", `{"jid":"bob@localhost","password":"x"}{}`, 400, "follows"},
		{"an unknown field", "POST", "/v1/users", `{"jid":"bob@localhost","password":"x","admin":true}`, 400, "admin"},
		{"too large", "POST", "/v1/users", `{"jid":"` + strings.Repeat("x", maxBody) + `"}`, 413, "16384"},
		{"another method", "PATCH", "/v1/users", `{}`, 405, "GET, HEAD, POST"},
		{"read one", "GET", "/v1/users/alice@localhost", "", 405, "DELETE, PUT"},
		{"whether the list is there", "HEAD", "/v1/users", "", 200, ""},
		{"another path", "GET", "/v1/nothing", "", 404, "nothing"},
	} {
		w := f.ask(c.method, c.path, c.body, nil)
		if c.detail != "" {
			t.Log(c.name)
			checkProblem(t, w, c.code, c.detail)
		} else if w.Code != c.code {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	form := f.ask("POST", "/v1/users", "jid=bob@localhost&password=x", func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded") // what a foreign page can send
	})
	checkProblem(t, form, 415, "application/json")
	if w := f.ask("GET", "/v1/users", "", nil); w.Body.String() != `[{"jid":"alice@localhost"}]`+"\n" {
		t.Errorf("list: %s", w.Body)
	}
	if f.users.users[jid.MustParse("alice@localhost")] != "other" {
		t.Error("the password was not changed")
	}
	f.users.down = errors.New("secret detail of the broker")
	w := f.ask("GET", "/v1/users", "", nil)
	checkProblem(t, w, 503, "cannot be read")
	if strings.Contains(w.Body.String(), "secret detail") {
		t.Error("an internal error was shown")
	}
	f.o.Accounts = nil
	checkProblem(t, f.ask("GET", "/v1/users", "", nil), 501, "built-in store")
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.bus.Emit(trace.Event{Stage: trace.Delivered, To: "alice@localhost", Took: 2 * time.Millisecond, Since: 3 * time.Second})
	f.bus.Emit(trace.Event{Stage: trace.Filtered})
	w := f.ask("GET", "/metrics", "", nil)
	for _, line := range []string{
		`mcmt2xmpp_things_total{kind="good"} 7`,
		`mcmt2xmpp_build_info{version="1.2.3"} 1`,
		`mcmt2xmpp_stage_total{stage="delivered"} 1`,
		`mcmt2xmpp_stage_total{stage="filtered"} 1`,
		`mcmt2xmpp_stage_seconds_count{stage="delivered"} 1`,
		`mcmt2xmpp_age_seconds_bucket{stage="delivered",le="4.096"} 1`,
		`mcmt2xmpp_age_seconds_bucket{stage="delivered",le="1.024"} 0`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(w.Body.String(), "alice") {
		t.Error("an address is a label")
	}
	f.Close()
	f.bus.Emit(trace.Event{Stage: trace.Delivered})
	if w := f.ask("GET", "/metrics", "", nil); !strings.Contains(w.Body.String(), `mcmt2xmpp_stage_total{stage="delivered"} 1`) {
		t.Error("counts on after Close")
	}
}

// loopback is a listener on a port that is free.
func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// serving has srv serve l until stop; wait waits for its end.
func serving(t *testing.T, srv *Server, l net.Listener) (stop, wait func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	return stop, func() {
		t.Helper()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

// TestServe: a request that runs when the end comes is answered, a connection too
// many is closed, and a Unix socket needs no token.
func TestServe(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	srv := New(Options{MaxConnections: 1, Ready: map[string]func() error{"slow": func() error {
		close(entered)
		<-leave
		return nil
	}}})
	defer srv.Close()
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	stop, wait := serving(t, srv, l)
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
	answer := make(chan string, 1)
	go func() {
		resp, err := client.Get("http://gateway/readyz")
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		answer <- string(body)
	}()
	<-entered
	if resp, err := client.Get("http://gateway/healthz"); err == nil {
		resp.Body.Close()
		t.Error("a second connection was served")
	}
	if n := srv.Stats().OverLimit; n == 0 {
		t.Error("the second connection is not counted")
	}
	stop()
	close(leave)
	if got := <-answer; got != "ready\n" {
		t.Errorf("the request that ran was answered %q", got)
	}
	wait()
}

func TestServeFails(t *testing.T) {
	t.Parallel()
	l := loopback(t)
	_ = l.Close()
	srv := New(Options{})
	defer srv.Close()
	if err := srv.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve on a closed listener: %v", err)
	}
}

func TestHeaderBounded(t *testing.T) {
	t.Parallel()
	srv := New(Options{})
	defer srv.Close()
	l := loopback(t)
	stop, wait := serving(t, srv, l)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = conn.Write([]byte("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "))
	_, _ = conn.Write(bytes.Repeat([]byte("x"), 64<<10))
	answer, _ := io.ReadAll(conn)
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 431 ")) {
		t.Errorf("a header of 64 KiB: %.60q", answer)
	}
	_ = conn.Close()
	stop()
	wait()
}

// TestEmptyToken: an empty token in the configuration opens nothing.
func TestEmptyToken(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.o.Config = func(netip.Addr) PeerOptions { return PeerOptions{Tokens: []Token{{"empty", "", Operate}}} }
	for _, field := range []string{"Bearer", "Bearer ", "Bearer  "} {
		w := f.ask("GET", "/metrics", "", func(r *http.Request) {
			r.RemoteAddr = "192.0.2.7:1"
			r.Header.Set("Authorization", field)
		})
		checkProblem(t, w, 401, "token")
	}
}
