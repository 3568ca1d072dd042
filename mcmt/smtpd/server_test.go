package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestNewWithoutSink(t *testing.T) {
	t.Parallel()
	if _, err := New(Options{}); err == nil {
		t.Error("no error")
	}
}

// 421 4.7.0 above the limits, and a place again when a connection ends.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"total":   {MaxConnections: 2},
		"address": {MaxConnectionsPerAddress: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := start(t, o, PeerOptions{})
			first, second := dial(t, r.addr), dial(t, r.addr)
			first.expect("220 *")
			second.expect("220 *")
			third := dial(t, r.addr)
			third.expect("421 4.7.0 *")
			third.closed()
			if got := r.Stats().LimitConnection; got != 1 {
				t.Errorf("%d connections counted as refused", got)
			}
			first.do("QUIT", "221 *")
			first.closed()
			_ = first.c.Close()
			// The server counts out after it has closed.
			for deadline := time.Now().Add(patience); ; {
				p := dial(t, r.addr)
				if strings.HasPrefix(p.line(), "220 ") {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the place was not given back")
				}
			}
		})
	}
}

// What is counted as one address: an IPv4 address, also mapped; an IPv6 /64.
func TestPeerOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1/32",
		"::ffff:192.0.2.1": "192.0.2.1/32",
		"2001:db8::1:2":    "2001:db8::/64",
	} {
		c := addrConn{addr: &net.TCPAddr{IP: net.ParseIP(addr), Port: 9}}
		peer, prefix := peerOf(c)
		if prefix.String() != want || peer.Port() != 9 {
			t.Errorf("%s: %v counted as %v, want %s", addr, peer, prefix, want)
		}
	}
}

type addrConn struct {
	net.Conn
	addr net.Addr
}

func (c addrConn) RemoteAddr() net.Addr { return c.addr }

// The end of the context: idle sessions get 421 4.3.2, new connections none, and
// a message that is being received is finished and answered.
func TestStop(t *testing.T) {
	t.Parallel()
	sink := &testSink{gate: make(chan struct{}), in: make(chan struct{}, 1)}
	r := start(t, Options{Sink: sink}, PeerOptions{})
	idle, busy := dial(t, r.addr), dial(t, r.addr)
	idle.expect("220 *")
	busy.expect("220 *")
	busy.do("HELO c.example", "250 *")
	busy.do("MAIL FROM:<a@example.org>", "250 *")
	busy.do("RCPT TO:<b@example.com>", "250 *")
	busy.do("DATA", "354 *")

	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	idle.expect("421 4.3.2 *")
	idle.closed()
	_ = idle.c.Close()

	busy.send("text\r\n.\r\n")
	<-sink.in
	select {
	case <-stopped:
		t.Fatal("Serve returned while a message was with the sink")
	default:
	}
	close(sink.gate)
	busy.expect("250 2.0.0 *")
	busy.expect("421 4.3.2 *")
	busy.closed()
	_ = busy.c.Close()
	<-stopped
	if len(sink.taken()) != 1 {
		t.Error("message lost")
	}
	if c, err := net.Dial("tcp", r.addr.String()); err == nil {
		_ = c.Close()
		t.Error("the listener is still open")
	}
}

// A message that does not end within the grace is cut off, also one that the
// sink does not finish.
func TestStopAfterGrace(t *testing.T) {
	t.Parallel()
	sink := &testSink{gate: make(chan struct{}), in: make(chan struct{}, 1)}
	r := start(t, Options{Sink: sink, Grace: 50 * time.Millisecond}, PeerOptions{})
	slow, stuck := dial(t, r.addr), dial(t, r.addr)
	for _, p := range []*peer{slow, stuck} {
		p.expect("220 *")
		p.do("HELO c.example", "250 *")
		p.do("MAIL FROM:<a@example.org>", "250 *")
		p.do("RCPT TO:<b@example.com>", "250 *")
		p.do("DATA", "354 *")
	}
	stuck.send("text\r\n.\r\n")
	<-sink.in
	r.stop()
	slow.closed()
	if len(sink.taken()) != 0 {
		t.Error("a message was taken")
	}
}

// The listener's own failure ends Serve with its error, and the sessions.
func TestListenerFails(t *testing.T) {
	t.Parallel()
	s, err := New(Options{Sink: &testSink{}, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	p := dial(t, l.Addr())
	p.expect("220 *")
	_ = l.Close()
	p.expect("421 4.3.2 *")
	_ = p.c.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// A Unix socket's peer is a local user: 127.0.0.1:0, not limited per address.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	r := startOn(t, l, Options{MaxConnectionsPerAddress: 1}, PeerOptions{})
	dial(t, r.addr).expect("220 *")
	p := dial(t, r.addr)
	p.expect("220 *")
	p.do("HELO c.example", "250 *")
	p.deliver("250 2.0.0 *")
	got := r.sink.taken()[0]
	if got.env.Peer != netip.MustParseAddrPort("127.0.0.1:0") {
		t.Errorf("peer %v", got.env.Peer)
	}
	if !strings.Contains(got.trace(), "from c.example (local socket)") {
		t.Errorf("trace field %q", got.trace())
	}
}

// A listener of crypto/tls: TLS from the first byte (RFC 8314 §3.3).
func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, _ := testTLS()
	r := startOn(t, tls.NewListener(l, server), Options{}, PeerOptions{TLS: server})
	p := dial(t, l.Addr())
	p.startTLS()
	p.expect("220 *")
	p.do("EHLO c.example", "250 *")
	p.do("STARTTLS", "503 *")
	p.deliver("250 2.0.0 *")
	if got := r.sink.taken()[0].trace(); !strings.Contains(got, " with ESMTPS\r\n") {
		t.Errorf("trace field %q", got)
	}
}

// TLS 1.2 is the least, whatever the configuration says (RFC 8996).
func TestOldTLS(t *testing.T) {
	t.Parallel()
	server, client := testTLS()
	server, client = server.Clone(), client.Clone()
	server.MinVersion, client.MinVersion, client.MaxVersion = tls.VersionTLS10, tls.VersionTLS10, tls.VersionTLS11
	r := start(t, Options{}, PeerOptions{TLS: server})
	p := dial(t, r.addr)
	p.expect("220 *")
	p.do("STARTTLS", "220 *")
	if err := tls.Client(p.c, client).Handshake(); err == nil {
		t.Error("handshake with TLS 1.1")
	}
}

// A panic in the configuration ends one connection, not the process.
func TestPanicInConfig(t *testing.T) {
	t.Parallel()
	log := &syncBuffer{}
	s, err := New(Options{
		Sink:   &testSink{},
		Config: func(netip.AddrPort) PeerOptions { panic("bug") },
		Log:    zerolog.New(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	for range 2 {
		p := dial(t, l.Addr())
		p.expect("421 4.3.0 *")
		p.closed()
		_ = p.c.Close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s.Stats().Panics != 2 || !strings.Contains(log.String(), "bug") {
		t.Error("panic neither counted nor logged")
	}
}

func ExampleServer() {
	s, err := New(Options{
		Hostname: "mx.example",
		Sink:     &testSink{},
		Config: func(peer netip.AddrPort) PeerOptions {
			return PeerOptions{Trusted: peer.Addr().IsLoopback()}
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // at once, here
	fmt.Println(s.Serve(ctx, l))
	// Output: <nil>
}
