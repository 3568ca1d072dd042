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
	"go.uber.org/goleak"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// online logs in and waits until the server knows that the client is available.
func (f *fixture) online(t testing.TB, address string) *stream.Client {
	t.Helper()
	c := f.login(t, address)
	ctx := within(t)
	if err := c.Available(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receive(ctx); err != nil { // its own presence
		t.Fatal(err)
	}
	return c
}

// session is the server's side of a client.
func (f *fixture) session(t testing.TB, c *stream.Client) router.Session {
	t.Helper()
	s := f.router.Session(c.JID())
	if s == nil {
		t.Fatalf("%s is not bound", c.JID())
	}
	return s
}

func TestProve(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{})
	c := f.login(t, "bob@localhost/x")
	s := f.session(t, c)
	ctx := within(t)

	const n = 20
	// The client does not read yet: proofs must wait, however many there are.
	var proofs sync.WaitGroup
	var failed sync.Map
	for i := range n {
		if err := s.Send(ctx, stanza.NewMessage(c.JID(), jid.JID{}, "chat", fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		proofs.Go(func() {
			if err := s.Prove(ctx); err != nil {
				failed.Store(i, err)
			}
		})
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := s.Prove(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a client that reads nothing proved itself: %v", err)
	}
	// From here on it reads, and answers on the way.
	done := make(chan struct{})
	go func() { proofs.Wait(); close(done) }()
	for i := range n {
		st, err := c.Receive(ctx)
		if err != nil || st.Child("body").Text() != fmt.Sprint(i) {
			t.Fatalf("message %d is %v, %v", i, st, err)
		}
	}
	rest, stop := context.WithCancel(ctx)
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = c.Receive(rest) }) // answers the rest
	defer reader.Wait()
	defer stop()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("proofs do not come")
	}
	failed.Range(func(i, err any) bool { t.Errorf("proof %v: %v", i, err); return true })
	// One ping for who came first, one for all that came while it was on the way.
	if pings := s.(*session).sent.Load() - n; pings > 2+1 {
		t.Errorf("%d pings for %d concurrent proofs", pings, n+1)
	}
}

// TestProveCoversWhatWasSent has a proof join while a ping is on the way: it must
// not be satisfied by the answer to that one.
func TestProveCoversWhatWasSent(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{})
	c := f.login(t, "bob@localhost/x")
	ps := &f.session(t, c).(*session).proofs
	first := ps.join()
	second := ps.join()
	if first == second {
		t.Fatal("a proof is satisfied by a ping that was sent before it")
	}
	if third := ps.join(); third != second {
		t.Error("proofs that wait are not joined")
	}
}

func TestProveDead(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{ProofTime: 50 * time.Millisecond}, ConnOptions{})
	c := f.online(t, "bob@localhost/x")
	s := f.session(t, c)
	ctx := within(t)
	if err := s.Prove(ctx); !errors.Is(err, errGone) { // nobody answers: c does not read
		t.Errorf("proof of a dead client: %v", err)
	}
	if f.router.Reachable(c.JID()) {
		t.Error("the dead session is still bound")
	}
	if err := s.Prove(ctx); !errors.Is(err, errGone) {
		t.Errorf("proof after the end: %v", err)
	}
	_, err := c.Stream().Receive(ctx, time.Time{}) // the ping
	if err == nil {
		_, err = c.Stream().Receive(ctx, time.Time{})
	}
	var told *stream.PeerError
	if !errors.As(err, &told) || told.Err.Condition != stream.ConnectionTimeout {
		t.Errorf("the client was told %v", err)
	}
	eventually(t, func() bool { return f.server.Stats().Timeouts == 1 }, "the timeout is counted")
}

// eventually waits for what another goroutine does after the event a test can see.
func eventually(t testing.TB, ok func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(5 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it does not come true that %s", what)
		}
	}
}

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
	if len(v.addresses) != 0 {
		t.Errorf("addresses still counted: %v", v.addresses)
	}
}

// TestSlowReader has a client that stops reading: it is disconnected, and who
// sends to it waits once, for a bounded time.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{Limits: stream.Limits{
		Queue: 10 << 10, Patience: 50 * time.Millisecond, Close: 50 * time.Millisecond,
	}})
	c := f.online(t, "bob@localhost/x")
	s := f.session(t, c)
	ctx := within(t)
	st := stanza.NewMessage(c.JID(), jid.JID{}, "chat", strings.Repeat("x", 100<<10))
	var err error
	for range 1000 { // 100 MB: more than the kernel's buffers hold
		if err = s.Send(ctx, st); err != nil {
			break
		}
	}
	if !errors.Is(err, stream.ErrSlow) {
		t.Fatalf("got %v", err)
	}
	if n := s.(*session).out.Queued(); n > 10<<10+2*len(st.String()) {
		t.Errorf("%d bytes are queued", n)
	}
	eventually(t, func() bool { return len(f.router.All()) == 0 }, "the session is over")
	eventually(t, func() bool { return f.server.Stats().TooSlow == 1 }, "it is counted")
}

// TestOnAvailable is what custody waits for.
func TestOnAvailable(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{})
	told := make(chan jid.JID, 10)
	f.router.OnAvailable(func(bare jid.JID) { told <- bare })
	c := f.online(t, "bob@localhost/x")
	if got := <-told; got != c.JID().Bare() {
		t.Errorf("told of %s", got)
	}
	ctx := within(t)
	for _, p := range []int8{5, -1, 0} { // a change; not any more; again
		if err := c.Available(ctx, p); err != nil {
			t.Fatal(err)
		}
		if p == -1 {
			continue
		}
		if _, err := c.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, func() bool { p, _ := f.session(t, c).Priority(); return p == 0 }, "the last presence counts")
	<-told
	if len(told) != 0 {
		t.Errorf("told %d times too often", len(told))
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

// BenchmarkMessage sends a message from one client to another over TLS.
func BenchmarkMessage(b *testing.B) {
	f := serve(b, router.Options{}, Options{}, ConnOptions{})
	alice, bob := f.login(b, "alice@localhost/a"), f.login(b, "bob@localhost/b")
	got := make(chan error, 1)
	go func() {
		for range b.N {
			if _, err := bob.Receive(context.Background()); err != nil {
				got <- err
				return
			}
		}
		got <- nil
	}()
	st := stanza.NewMessage(bob.JID(), jid.JID{}, "chat", strings.Repeat("x", 300))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := alice.Send(context.Background(), st); err != nil {
			b.Fatal(err)
		}
	}
	if err := <-got; err != nil {
		b.Fatal(err)
	}
}
