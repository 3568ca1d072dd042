package component

import (
	"context"
	"net"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmpptest"
)

// fixture is a server of components, on loopback, that sends back what it gets from one.
type fixture struct {
	*Server
	domains *Domains
	address string
	joined  chan string
}

func serve(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{joined: make(chan string, 10)}
	f.domains = NewDomains(map[string]string{"irc.example": "s3cret", "open.example": "s3cret"}, func(d string) { f.joined <- d })
	f.Server = New(Options{
		Connection: func(net.Addr) ConnOptions { return ConnOptions{} },
		Domains:    f.domains, Host: jid.MustParse("localhost"),
		Receive: func(ctx context.Context, st *stanza.Stanza) {
			out := *st
			out.From, out.To = st.To, st.From
			if err := f.domains.Route(ctx, &out); err != nil {
				t.Error(err)
			}
		},
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if st := f.Stats(); st.Open != 0 || st.Components != 0 || len(f.domains.Joined()) != 0 {
			t.Errorf("left over: %+v", st)
		}
	})
	return f
}

func TestTranscripts(t *testing.T) {
	t.Parallel()
	xmpptest.Run(t, "testdata/*.txt", func(t *testing.T, _ []string) string { return serve(t).address })
}

// join joins as a component.
func (f *fixture) join(t *testing.T, domain string) *stream.Stream {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	s := stream.New(conn, stream.Options{Content: stanza.Component})
	if err := s.InitiateComponent(t.Context(), jid.MustParse(domain), "s3cret"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	<-f.joined
	return s
}

// next is the next stanza that the component gets.
func next(t *testing.T, s *stream.Stream) *stanza.Stanza {
	t.Helper()
	e, err := s.Receive(t.Context(), time.Now().Add(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	st, err := stanza.Parse(e)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestProof: what the component was sent is proven by its answer to a later ping.
func TestProof(t *testing.T) {
	t.Parallel()
	f := serve(t)
	var remote router.Remote = f.domains
	if _, err := remote.Session(t.Context(), "localhost", "irc.example"); err == nil || remote.Reachable("irc.example") {
		t.Error("a session of a component that is away")
	}
	s := f.join(t, "irc.example")
	first := next(t, s)
	c, err := f.domains.Session(t.Context(), "localhost", "irc.example")
	if err != nil || !remote.Reachable("irc.example") {
		t.Fatal(err)
	}
	st := stanza.NewMessage(jid.MustParse("a@irc.example"), jid.MustParse("bob@localhost"), stanza.TypeChat, "hi")
	if had, err := c.SendKept(t.Context(), st); had || err != nil {
		t.Fatal(had, err)
	}
	proof := make(chan router.Proof, 1)
	go func() {
		p, err := c.Prove(t.Context())
		if err != nil {
			t.Error(err)
		}
		proof <- p
	}()
	answer := func(st *stanza.Stanza) {
		if err := s.Writer().SendStanza(t.Context(), st.Reply(stanza.TypeResult)); err != nil {
			t.Error(err)
		}
	}
	if got := next(t, s); got.String() != st.String() {
		t.Errorf("the component got %s", got)
	}
	answer(first) // sent before the message: it proves nothing of it
	second := next(t, s)
	if len(proof) != 0 {
		t.Error("proven by an earlier ping")
	}
	answer(second)
	if p := <-proof; p != router.ProofAnswer {
		t.Errorf("proof %q", p)
	}
}

// TestSecretChanges: a component that would not be let in now is not kept either.
func TestSecretChanges(t *testing.T) {
	t.Parallel()
	f := serve(t)
	gone, stays := f.join(t, "irc.example"), f.join(t, "open.example")
	next(t, gone)
	next(t, stays)
	f.domains.Set(map[string]string{"irc.example": "other", "open.example": "s3cret"})
	_, err := gone.Receive(t.Context(), time.Now().Add(10*time.Second))
	theirs, ok := err.(*stream.PeerError)
	if !ok || theirs.Err.Condition != stream.NotAuthorized {
		t.Errorf("the component whose secret is another one now got %v", err)
	}
	if err := f.domains.Route(t.Context(), stanza.NewMessage(jid.MustParse("a@open.example"), jid.MustParse("b@localhost"), "", "hi")); err != nil {
		t.Errorf("the other component: %v", err)
	}
}
