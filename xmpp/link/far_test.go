package link

import (
	"context"
	"net"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// far is the server at the other end of a link, in memory.
type far struct {
	t     *testing.T
	conns chan net.Conn
}

func newFar(t *testing.T) *far { return &far{t, make(chan net.Conn)} }

// dial is Options.Dial.
func (f *far) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a, b := net.Pipe()
	select {
	case f.conns <- b:
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// server is one stream of a component, at its server.
type server struct {
	*stream.Stream
	t *testing.T
}

// accept takes the next connection, from a component that knows the secret.
func (f *far) accept(secret string) *server {
	f.t.Helper()
	s := stream.New(<-f.conns, stream.Options{Content: stanza.Component, Receiving: true, Serves: func(string) bool { return true }})
	err := s.AcceptComponent(f.t.Context(), func(string) string { return secret }, func(jid.JID) error { return nil })
	if err != nil {
		f.t.Logf("not accepted: %v", err)
		_ = s.End(f.t.Context(), err)
		return nil
	}
	return &server{s, f.t}
}

// next is the next stanza from the component.
func (s *server) next() *stanza.Stanza {
	s.t.Helper()
	e, err := s.Receive(s.t.Context(), time.Time{})
	if err != nil {
		s.t.Fatalf("component sends no stanza: %v", err)
	}
	st, err := stanza.Parse(e)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// ping takes a ping to the component itself and sends it back, as a server routes it.
func (s *server) ping() {
	s.t.Helper()
	st := s.next()
	if st.Kind != stanza.IQ || st.From != st.To || st.To != jid.MustParse("gw.example") {
		s.t.Fatalf("no ping: %s", st)
	}
	s.send(st)
}

func (s *server) send(st *stanza.Stanza) {
	s.t.Helper()
	if err := s.Writer().SendStanza(s.t.Context(), st); err != nil {
		s.t.Error(err)
	}
}

// near is a link that runs, and what comes out of it.
type near struct {
	*Link
	received chan *stanza.Stanza
	ups      chan struct{}
	stop     func()
}

func run(t *testing.T, f *far, change func(*Options)) *near {
	t.Helper()
	n := &near{received: make(chan *stanza.Stanza, 10), ups: make(chan struct{}, 10)}
	o := Options{
		Name: "test", Type: Component, JID: jid.MustParse("gw.example"), Password: "s3cret", Address: "p1.example:5347",
		Protection: stream.ProtectionNone, Dial: f.dial, Ours: func(d string) bool { return d == "gw.example" || d == "localhost" },
		Receive: func(_ context.Context, st *stanza.Stanza) { n.received <- st },
		OnUp:    func() { n.ups <- struct{}{} },
	}
	if change != nil {
		change(&o)
	}
	n.Link = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	n.stop = func() {
		cancel()
		<-done
	}
	return n
}

func message(to, from, body string) *stanza.Stanza {
	st := stanza.NewMessage(jid.MustParse(to), jid.MustParse(from), stanza.TypeChat, body)
	st.ID = "m-" + body
	return st
}
