package httpd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
)

const patience = time.Minute

var noDeadline time.Time

// sink keeps what it is given. Its functions, where set, decide.
type sink struct {
	put       func(ctx context.Context, env mcmt.Envelope, raw []byte) error
	recipient func(addr string) error
	sender    func(env mcmt.Envelope) error

	mu   sync.Mutex
	envs []mcmt.Envelope // guarded by mu, as raws
	raws []string
}

func (s *sink) Sender(_ context.Context, env mcmt.Envelope) error {
	if s.sender != nil {
		return s.sender(env)
	}
	return nil
}

func (s *sink) Recipient(_ context.Context, _ mcmt.Envelope, addr string) error {
	if s.recipient != nil {
		return s.recipient(addr)
	}
	if strings.HasPrefix(addr, "nobody@") {
		return &mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}, Status: 422, Text: "no such user here"}
	}
	if strings.HasPrefix(addr, "later@") {
		return &mcmt.Refusal{Code: 451, Enhanced: [3]int{4, 4, 4}, Status: 503, Text: "no route now"}
	}
	return nil
}

func (s *sink) Put(ctx context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	if s.put != nil {
		if err := s.put(ctx, env, raw); err != nil {
			return "", err
		}
	}
	if env.Parsed != nil {
		if again, err := mcmt.Parse(raw, mcmt.Limits{}); err != nil || !reflect.DeepEqual(env.Parsed, again) {
			return "", fmt.Errorf("parsed as another message: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envs, s.raws = append(s.envs, env), append(s.raws, string(raw))
	return mcmt.ID(fmt.Sprintf("id%d", len(s.envs))), nil
}

func (s *sink) stored() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.envs)
}

// one returns the only message stored.
func (s *sink) one(t *testing.T) (mcmt.Envelope, string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.envs) != 1 {
		t.Fatalf("%d messages stored, want one", len(s.envs))
	}
	return s.envs[0], s.raws[0]
}

// start serves o on loopback until the end of the test.
func start(t testing.TB, o Options) (*Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, o, ln)
}

func startOn(t testing.TB, o Options, ln net.Listener) (*Server, string) {
	t.Helper()
	if o.Sink == nil {
		o.Sink = &sink{}
	}
	s := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s, ln.Addr().String()
}

// stranger makes the peers of a server strangers: not on loopback.
func stranger(opt PeerOptions) func(netip.AddrPort) PeerOptions {
	return func(netip.AddrPort) PeerOptions { return opt }
}

// strange is a listener whose peers come from elsewhere.
type strange struct{ net.Listener }

func (l strange) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return strangeConn{c}, nil
}

type strangeConn struct{ net.Conn }

func (strangeConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4711}
}

func startStrange(t testing.TB, o Options) (*Server, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, o, strange{ln})
}

// wire is a connection on which a test speaks HTTP by hand.
type wire struct {
	net.Conn
	t  testing.TB
	br *bufio.Reader
}

func dial(t testing.TB, addr string) *wire {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &wire{Conn: c, t: t, br: bufio.NewReader(c)}
}

func (w *wire) send(s string) {
	w.t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		w.t.Fatal(err)
	}
}

// reply is one response.
type reply struct {
	status int
	header http.Header
	body   string
}

func (w *wire) read() reply {
	w.t.Helper()
	res, err := http.ReadResponse(w.br, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	_ = res.Body.Close()
	return reply{res.StatusCode, res.Header, string(b)}
}

// problem reads the body of a refusal and checks what RFC 9457 asks of all.
func (r reply) problem(t testing.TB) problem {
	t.Helper()
	var p problem
	if err := json.Unmarshal([]byte(r.body), &p); err != nil {
		t.Fatalf("%d %s: %v", r.status, r.body, err)
	}
	if r.header.Get("Content-Type") != "application/problem+json" || p.Status != r.status || p.Title == "" || !strings.HasPrefix(p.Type, typePrefix) {
		t.Errorf("not a problem document: %d %v %s", r.status, r.header, r.body)
	}
	return p
}

// request writes a POST to /v1/messages with the fields, one per line.
func request(path, fields, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s",
		path, strings.ReplaceAll(fields, "\n", "\r\n"), len(body), body)
}

func post(t testing.TB, addr, path, fields, body string) reply {
	t.Helper()
	w := dial(t, addr)
	w.send(request(path, fields, body))
	return w.read()
}

const (
	jsonField = "Content-Type: application/json\n"
	goodJSON  = `{"from":"a@corp.example","to":["juliet@localhost"],"text":"hi"}`
	mailField = "Content-Type: message/rfc822\n"
	goodMail  = "From: a@corp.example\r\nTo: juliet@localhost\r\nSubject: hi\r\n\r\ntext\r\n"
)

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
