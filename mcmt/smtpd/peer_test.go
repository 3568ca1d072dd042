package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/mcmt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for anything that must happen.
const patience = time.Minute

// secret is in every internal error of the test sink: no reply may hold it.
const secret = "10.9.8.7"

// put is a message that the sink took.
type put struct {
	env mcmt.Envelope
	raw []byte
}

// String is the form that dialogs compare: without the trace field.
func (p put) String() string {
	var to, notify, orcpt []string
	for _, r := range p.env.To {
		to = append(to, r.Address)
		notify = append(notify, strings.Join(r.Notify, "+"))
		orcpt = append(orcpt, r.ORCPT)
	}
	return fmt.Sprintf("from=%s to=%s notify=%s orcpt=%s ret=%s envid=%s utf8=%t user=%s trusted=%t body=%q",
		p.env.From, strings.Join(to, ","), strings.Join(notify, ","), strings.Join(orcpt, ","), p.env.Return,
		p.env.EnvelopeID, p.env.SMTPUTF8, p.env.User, p.env.Trusted, p.body())
}

// body is the message as the peer sent it.
func (p put) body() []byte {
	rest := p.raw
	for first := true; first || len(rest) > 0 && rest[0] == '\t'; first = false {
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
	}
	return rest
}

// trace is the Received field.
func (p put) trace() string { return string(p.raw[:len(p.raw)-len(p.body())]) }

// testSink takes what its local parts do not tell it to refuse.
type testSink struct {
	mu   sync.Mutex
	puts []put
	seen []mcmt.ID     // what Confirm was told
	gate chan struct{} // not nil: Put waits for it, or for its context
	in   chan struct{} // not nil: told when Put is entered
}

func behave(addr string) error {
	local, _, _ := strings.Cut(addr, "@")
	switch local {
	case "unknown":
		// Wrapped, as a sink of several layers returns it.
		return fmt.Errorf("intake: %w", &mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user", Err: errors.New(secret)})
	case "broken":
		return errors.New("dial tcp " + secret + ": connection refused")
	case "bang":
		panic("at " + secret)
	case "odd":
		// A "refusal" that would read as an acceptance.
		return &mcmt.Refusal{Code: 250, Enhanced: [3]int{2, 0, 0}, Text: "fine"}
	case "mixed":
		return &mcmt.Refusal{Code: 550, Enhanced: [3]int{4, 1, 1}, Text: "two\r\n250 lines"}
	}
	return nil
}

func (s *testSink) Sender(_ context.Context, env mcmt.Envelope) error { return behave(env.From) }

func (s *testSink) Recipient(_ context.Context, _ mcmt.Envelope, addr string) error {
	return behave(addr)
}

func (s *testSink) Put(ctx context.Context, env mcmt.Envelope, raw []byte) (mcmt.ID, error) {
	if s.in != nil {
		s.in <- struct{}{}
	}
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	if _, text, ok := bytes.Cut(raw, []byte("Behave: ")); ok {
		word, _, _ := bytes.Cut(text, []byte("\r\n"))
		if err := behave(string(word)); err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts = append(s.puts, put{env, bytes.Clone(raw)})
	return mcmt.ID(fmt.Sprintf("id%d", len(s.puts))), nil
}

func (s *testSink) Confirm(ids ...mcmt.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, ids...)
}

func (s *testSink) confirmed() []mcmt.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

func (s *testSink) taken() []put {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.puts)
}

// testAuth knows alice with the password "secret", whatever the mechanism.
type testAuth struct{}

func (testAuth) Mechanisms(state *tls.ConnectionState) []string {
	if state != nil {
		return []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "X-STEP", "X-DOWN"}
	}
	return []string{"SCRAM-SHA-256", "PLAIN", "X-STEP", "X-DOWN"}
}

func (testAuth) Start(_ context.Context, mechanism string, state *tls.ConnectionState) (Exchange, error) {
	switch mechanism {
	case "PLAIN":
		return &plainExchange{}, nil
	case "X-STEP":
		return &stepExchange{}, nil
	case "X-DOWN":
		return nil, panicError{}
	}
	return newScramExchange(mechanism, state)
}

type plainExchange struct{ user string }

func (p *plainExchange) Username() string { return p.user }
func (p *plainExchange) Next(response []byte) ([]byte, bool, error) {
	if response == nil {
		return nil, false, nil
	}
	f := strings.Split(string(response), "\x00")
	if len(f) == 3 && f[1] == "bang" {
		panic(secret)
	}
	if len(f) == 3 && f[1] == "guessed" {
		return nil, false, &AuthError{Refused: true, Err: errors.New("too many for " + secret)}
	}
	if len(f) != 3 || f[1] != "alice" || f[2] != "secret" {
		return nil, false, errors.New("wrong password for " + secret)
	}
	p.user = f[1]
	return nil, true, nil
}

// stepExchange succeeds at once, with a last word.
type stepExchange struct{}

func (stepExchange) Username() string                          { return "alice" }
func (stepExchange) Next([]byte) (c []byte, d bool, err error) { return []byte("last word"), true, nil }

// testTLS is a certificate for mx.example and a client that trusts it.
var testTLS = sync.OnceValues(func() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mx.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		&tls.Config{RootCAs: pool, ServerName: "mx.example"}
})

// running is a server on a real listener.
type running struct {
	*Server
	sink *testSink
	addr net.Addr
	log  *syncBuffer
	stop func() // ends ctx and waits for Serve
}

// start serves on a loopback port until the test ends.
func start(t testing.TB, o Options, p PeerOptions) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, l, o, p)
}

func startOn(t testing.TB, l net.Listener, o Options, p PeerOptions) *running {
	t.Helper()
	r := &running{sink: &testSink{}, addr: l.Addr(), log: &syncBuffer{}}
	if o.Sink == nil {
		o.Sink = r.sink
	} else if s, ok := o.Sink.(*testSink); ok {
		r.sink = s
	}
	o.Hostname = "mx.example"
	o.PostmasterDomain = "first.example"
	o.Listener = "esmtp_listener test"
	o.Config = func(netip.AddrPort) PeerOptions { return p }
	o.Log = zerolog.New(r.log)
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(patience):
			t.Error("Serve did not return")
		}
	})
	t.Cleanup(r.stop)
	return r
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// peer is a client that speaks raw bytes.
type peer struct {
	t  testing.TB
	c  net.Conn
	br *bufio.Reader
}

func dial(t testing.TB, addr net.Addr) *peer {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, c: c, br: bufio.NewReader(c)}
	_ = c.SetDeadline(time.Now().Add(patience))
	t.Cleanup(func() { _ = c.Close() })
	return p
}

// send writes bytes as they are.
func (p *peer) send(s string) {
	p.t.Helper()
	if _, err := p.c.Write([]byte(s)); err != nil {
		p.t.Fatalf("send %.60q: %v", s, err)
	}
}

// line reads one line of a reply.
func (p *peer) line() string {
	p.t.Helper()
	s, err := p.br.ReadString('\n')
	if err != nil {
		p.t.Fatalf("read reply: %v (%q)", err, s)
	}
	s, ok := strings.CutSuffix(s, "\r\n")
	if !ok {
		p.t.Fatalf("reply %q without CRLF", s)
	}
	if strings.Contains(s, secret) {
		p.t.Errorf("reply tells internals: %q", s)
	}
	return s
}

// expect reads a whole reply, whose last line must match the pattern.
func (p *peer) expect(pattern string) string {
	p.t.Helper()
	for {
		s := p.line()
		if len(s) > 3 && s[3] == '-' {
			continue
		}
		if !glob(pattern, s) {
			p.t.Fatalf("reply %q, want %q", s, pattern)
		}
		return s
	}
}

// do sends a command and expects its reply.
func (p *peer) do(command, pattern string) string {
	p.t.Helper()
	p.send(command + "\r\n")
	return p.expect(pattern)
}

// closed expects the end of the connection and no further byte.
func (p *peer) closed() {
	p.t.Helper()
	rest, err := p.br.ReadString(0)
	if rest != "" {
		p.t.Fatalf("unexpected reply %q", rest)
	}
	var ne net.Error
	if err == nil || errors.As(err, &ne) && ne.Timeout() {
		p.t.Fatalf("connection is still open: %v", err)
	}
}

// startTLS is the client's side of the handshake.
func (p *peer) startTLS() {
	p.t.Helper()
	_, cfg := testTLS()
	c := tls.Client(p.c, cfg)
	if err := c.Handshake(); err != nil {
		p.t.Fatalf("handshake: %v", err)
	}
	p.c, p.br = c, bufio.NewReader(c)
}

// glob matches s with a pattern in which * is any run of characters.
func glob(pattern, s string) bool {
	head, tail, found := strings.Cut(pattern, "*")
	if !found {
		return s == pattern
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	for i := len(head); i <= len(s); i++ {
		if glob(tail, s[i:]) {
			return true
		}
	}
	return false
}

// deliver sends a small message.
func (p *peer) deliver(pattern string) {
	p.t.Helper()
	p.do("MAIL FROM:<a@example.org>", "250 *")
	p.do("RCPT TO:<b@example.com>", "250 *")
	p.do("DATA", "354 *")
	p.do("Subject: x\r\n\r\ntext\r\n.", pattern)
}
