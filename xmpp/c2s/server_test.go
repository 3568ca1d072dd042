package c2s

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

func TestShutdown(t *testing.T) {
	t.Parallel()
	r := router.New(router.Options{Domains: func(d string) bool { return d == "localhost" }})
	serverTLS, clientTLS := certificate(t)
	v := New(Options{Router: r, Connection: func(net.Addr) ConnOptions {
		return ConnOptions{TLS: serverTLS, Accounts: users}
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- v.Serve(ctx, ln) }()

	f := &fixture{v, r, ln.Addr().String(), clientTLS}
	bound := f.online(t, "alice@localhost/a")
	half, err := net.Dial("tcp", f.addr) // says nothing yet
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	eventually(t, func() bool { return v.Stats().Open == 2 }, "both are accepted")
	stop()
	_, err = bound.Receive(within(t))
	var told *stream.PeerError
	if !errors.As(err, &told) || told.Err.Condition != stream.SystemShutdown {
		t.Errorf("the client was told %v", err)
	}
	text, err := io.ReadAll(half)
	if err != nil || !strings.Contains(string(text), "<system-shutdown") {
		t.Errorf("who was negotiating was told %q, %v", text, err)
	}
	_ = half.Close()
	_ = bound.Close(within(t))
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Serve does not return")
	}
	if st := v.Stats(); st.Open != 0 || st.Sessions != 0 || len(r.All()) != 0 {
		t.Errorf("left behind: %+v", st)
	}
	if n := v.door.Addresses(); n != 0 {
		t.Errorf("%d addresses are still counted", n)
	}
}

// slots counts who negotiates.
type slots struct {
	free chan struct{}
	most int
	mu   sync.Mutex
	used int
}

func (s *slots) Acquire(ctx context.Context) error {
	select {
	case s.free <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used++
	s.most = max(s.most, s.used)
	return nil
}

func (s *slots) Release() {
	s.mu.Lock()
	s.used--
	s.mu.Unlock()
	<-s.free
}

func TestSlots(t *testing.T) {
	t.Parallel()
	pool := &slots{free: make(chan struct{}, 2)}
	f := serve(t, router.Options{}, Options{Slots: pool}, ConnOptions{})
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() { f.login(t, fmt.Sprintf("alice@localhost/%d", i)) })
	}
	all.Wait()
	eventually(t, func() bool { pool.mu.Lock(); defer pool.mu.Unlock(); return pool.used == 0 }, "bound sessions need no slot")
	if pool.most != 2 {
		t.Errorf("%d negotiated at once", pool.most)
	}
	if n := f.server.Stats().Sessions; n != 10 {
		t.Errorf("%d sessions", n)
	}
}

func TestDirectTLS(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{Direct: true})
	c, err := stream.Dial(within(t), stream.ClientOptions{
		JID: jid.MustParse("alice@localhost/a"), Password: "secret", Address: f.addr, TLS: f.tls, Direct: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Stream().TLS().NegotiatedProtocol; p != "xmpp-client" {
		t.Errorf("ALPN %q (XEP-0368)", p)
	}
	_ = c.Close(within(t))
}

// TestLogHidesSecrets looks for the password and the text of a message in the
// log at its most talkative.
func TestLogHidesSecrets(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var text bytes.Buffer
	log := zerolog.New(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(b)
	})).Level(zerolog.DebugLevel)
	f := serve(t, router.Options{}, Options{Log: log}, ConnOptions{AllowPlainWithoutTLS: true})
	ctx := within(t)
	c, err := stream.Dial(ctx, stream.ClientOptions{
		JID: jid.MustParse("alice@localhost/a"), Password: "secret", Address: f.addr, ClearText: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ctx, stanza.NewMessage(c.JID(), jid.JID{}, "chat", "private words")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	_ = c.Close(ctx)
	eventually(t, func() bool { return f.server.Stats().Open == 0 }, "the session is over")
	mu.Lock()
	defer mu.Unlock()
	got := text.String()
	for _, secret := range []string{"private words", "n,,n=alice", "biwsbj1hbGljZ"} {
		if strings.Contains(got, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	for _, want := range []string{"session opened", "session ended", "SCRAM-SHA-256", "<body>***</body>", "<jid>alice@localhost/a</jid>"} {
		if !strings.Contains(got, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
