package c2s

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
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

// TestSendBeforeBound holds stanzas back until the client knows its address.
func TestSendBeforeBound(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	v := New(Options{Router: router.New(router.Options{})})
	s := stream.New(near, stream.Options{Receiving: true})
	defer s.Abort()
	full := jid.MustParse("bob@localhost/x")
	c := newSession(v, s, full, ConnOptions{}, newCarrier(func(error) {}), zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	st := stanza.NewMessage(full, jid.JID{}, "chat", "early")
	if err := c.Send(ctx, st); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	c.unbind()
	if err := c.Send(t.Context(), st); !errors.Is(err, errGone) {
		t.Errorf("of a session that was never opened: %v", err)
	}
}

// TestServerChoosesResource is RFC 6120 §7.5: nobody can guess the resource of
// another.
func TestServerChoosesResource(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{})
	a, b := f.login(t, "alice@localhost").JID().Resource(), f.login(t, "alice@localhost").JID().Resource()
	if a == b || len(a) < 22 { // 128 bits in base64
		t.Errorf("resources %q and %q", a, b)
	}
}

// stuck is a Custody that takes its time.
type stuck struct{ entered, release chan struct{} }

func (s stuck) Keep(context.Context, *stanza.Stanza) error {
	close(s.entered)
	<-s.release
	return nil
}

// TestReplacedIsGoneFirst takes a JID over from a session that is busy: its
// presence must have ended before the new one can send any.
func TestReplacedIsGoneFirst(t *testing.T) {
	t.Parallel()
	custody := stuck{make(chan struct{}), make(chan struct{})}
	f := serve(t, router.Options{Custody: custody}, Options{}, ConnOptions{})
	c := f.online(t, "bob@localhost/x")
	old := f.session(t, c).(*session)
	if err := c.Send(within(t), stanza.NewMessage(jid.MustParse("alice@localhost"), jid.JID{}, "chat", "hi")); err != nil {
		t.Fatal(err)
	}
	<-custody.entered
	f.login(t, "bob@localhost/x")
	if _, available := old.Priority(); available {
		t.Error("the old session is still available")
	}
	// What it has sent before it learns of its end must not bring it back.
	if old.shows.set(stanza.NewPresence(jid.JID{}, old.full, ""), 0) || old.shows.direct(stanza.NewPresence(old.full, old.full, "")) {
		t.Error("the old session comes back")
	}
	if old.shows.clear(false); old.shows.set(stanza.NewPresence(jid.JID{}, old.full, ""), 0) {
		t.Error("the old session comes back after unavailable presence")
	}
	close(custody.release)
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
	if n := s.(*session).out().Queued(); n > 10<<10+2*len(st.String()) {
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

// TestKeptID: XEP-0359 §3.1, messages that custody may send twice are told apart by what
// nobody else gives them.
func TestKeptID(t *testing.T) {
	t.Parallel()
	const (
		origin = `<origin-id xmlns='urn:xmpp:sid:0' id='o'/>`
		ours   = `<stanza-id xmlns='urn:xmpp:sid:0' by='bob@localhost' id='a'/>`
		theirs = `<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.example' id='r'/>`
	)
	seen := make(map[string]string)
	for name, xml := range map[string]string{
		"an id":                      `<message xmlns='jabber:client' to='bob@localhost/x' id='1'/>`,
		"an id and an origin":        `<message xmlns='jabber:client' to='bob@localhost/x' id='1'>` + origin + `</message>`,
		"an id, and in the archive":  `<message xmlns='jabber:client' to='bob@localhost/x' id='1'>` + theirs + ours + `</message>`,
		"only in the archive":        `<message xmlns='jabber:client' to='bob@localhost/x'>` + ours + `</message>`,
		"only in somebody's archive": `<message xmlns='jabber:client' to='bob@localhost/x'>` + theirs + `</message>`,
	} {
		st, err := stanza.ParseBytes([]byte(xml), xmlwire.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		id := keptID(st)
		if other, ok := seen[id]; ok {
			t.Errorf("%s has the name of %s", name, other)
		}
		if seen[id] = name; (id == "") != (name == "only in somebody's archive") {
			t.Errorf("%s is named %q", name, id)
		}
	}
}
