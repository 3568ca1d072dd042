package link

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// TestComponent: stanzas go out and come in, and a ping that comes back proves what was
// sent before it.
func TestComponent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		n := run(t, f, nil)
		s := f.accept("s3cret")
		<-n.ups
		s.ping() // whether it answers is found out at once
		synctest.Wait()

		c, err := n.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if had, err := c.SendKept(t.Context(), message("alice@p1.example", "bob@gw.example", "hi")); had || err != nil {
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
		if st := s.next(); st.String() != message("alice@p1.example", "bob@gw.example", "hi").String() {
			t.Errorf("the server got %s", st)
		}
		if len(proof) != 0 {
			t.Error("proven before the ping came back")
		}
		s.ping()
		if p := <-proof; p != router.ProofAnswer {
			t.Errorf("proof is %q", p)
		}

		s.send(message("bob@gw.example", "alice@p1.example/phone", "hello"))
		if st := <-n.received; st.From != jid.MustParse("alice@p1.example/phone") || st.To != jid.MustParse("bob@gw.example") {
			t.Errorf("got %s", st)
		}
		go func() { _ = s.Close(t.Context()) }()
		n.stop()
		if st := n.State(); st.Phase != Stopped {
			t.Errorf("state after the end: %+v", st)
		}
	})
}

// TestComponentForeign: what is not for the component (XEP-0114 §3), or borrows the name
// of one of ours, goes no further.
func TestComponentForeign(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		n := run(t, f, nil)
		s := f.accept("s3cret")
		<-n.ups
		s.ping()
		s.send(message("bob@elsewhere.example", "alice@p1.example", "1"))
		s.send(message("bob@gw.example", "carol@localhost", "2"))
		s.send(message("bob@gw.example", "carol@gw.example", "3"))
		st := message("bob@gw.example", "carol@p1.example", "4")
		st.From = jid.JID{}
		s.send(st)
		s.send(message("bob@gw.example", "alice@p1.example", "5"))
		if st := <-n.received; st.ID != "m-5" {
			t.Errorf("let through: %s", st)
		}
		if got := n.Stats().Dropped; got != 4 {
			t.Errorf("%d dropped", got)
		}
		go func() { _ = s.Close(t.Context()) }()
		n.stop()
	})
}

// TestShared: a server may send what is for one of its components by the stream of
// another one, pings too (COMPAT ejabberd 23).
func TestShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, f2 := newFar(t), newFar(t)
		var links Links
		shared := func(o *Options) {
			o.Takes = func(d string) bool { return d == "gw.example" || d == "localhost" }
			o.Stray = func(st *stanza.Stanza) bool { return links.Answered(st) }
		}
		n := run(t, f, shared)
		other := run(t, f2, func(o *Options) { shared(o); o.JID = jid.MustParse("localhost") })
		links = Links{n.Link, other.Link}
		s, s2 := f.accept("s3cret"), f2.accept("s3cret")
		<-n.ups
		<-other.ups
		s.send(s2.next())
		s2.send(s.next())
		s2.send(message("bob@gw.example", "alice@p1.example", "1"))
		if st := <-other.received; st.ID != "m-1" {
			t.Errorf("got %s", st)
		}
		c, err := n.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		proof := make(chan router.Proof, 1)
		go func() {
			p, _ := c.Prove(t.Context())
			proof <- p
		}()
		s2.send(s.next())
		if p := <-proof; p != router.ProofAnswer {
			t.Errorf("proof %q", p)
		}
		for _, s := range []*server{s, s2} {
			go func() { _ = s.Close(t.Context()) }()
		}
		n.stop()
		other.stop()
	})
}

// TestMuteServer: a server that routes no ping back has been written to, and is not
// disconnected for it.
func TestMuteServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		n := run(t, f, nil)
		s := f.accept("s3cret")
		<-n.ups
		go func() {
			for {
				if _, err := s.Receive(t.Context(), time.Time{}); err != nil {
					_ = s.Close(t.Context())
					return
				}
			}
		}()
		c, err := n.Session(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if p, err := c.Prove(t.Context()); p != router.ProofWritten || err != nil {
			t.Errorf("%q, %v", p, err)
		}
		time.Sleep(5 * time.Minute) // of the bubble
		if st := n.State(); st.Phase != Up || st.Failure != nil {
			t.Errorf("after a while: %+v", st)
		}
		n.stop()
	})
}

// TestSilentServer: a server that has answered pings is asked when it is silent, and
// another stream is made when it does not answer any more.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		n := run(t, f, nil)
		s := f.accept("s3cret")
		<-n.ups
		s.ping()
		s.ping() // after the idle time
		s.next() // this one it does not answer
		_, err := s.Receive(t.Context(), time.Time{})
		var theirs *stream.PeerError
		if !errors.As(err, &theirs) || theirs.Err.Condition != stream.ConnectionTimeout {
			t.Errorf("the server got %v", err)
		}
		_ = s.Close(t.Context())
		s = f.accept("s3cret")
		<-n.ups
		if st := n.State(); st.Phase != Up || st.Failure == nil || st.Failure.Step != StepSession {
			t.Errorf("state: %+v", st)
		}
		go func() { _ = s.Close(t.Context()) }()
		n.stop()
	})
}

// TestWrongSecret: the state names the step and the reason, and the next try is far away:
// it would fail likewise.
func TestWrongSecret(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		n := run(t, f, nil)
		if s := f.accept("other"); s != nil {
			t.Fatal("a wrong secret was accepted")
		}
		synctest.Wait()
		st := n.State()
		if st.Phase != Waiting || st.Failure == nil || st.Failure.Step != StepHandshake {
			t.Fatalf("state: %+v", st)
		}
		if d := time.Until(st.NextTry); d < 2*time.Minute {
			t.Errorf("next try in %v", d)
		}
		if n.Ready() {
			t.Error("ready without a stream")
		}
		_, err := n.Session(t.Context())
		var down *Down
		if !errors.As(err, &down) || !down.Temporary() {
			t.Errorf("session: %v", err)
		}
		var refused *stanza.Error
		if err := n.Route(t.Context(), message("a@p1.example", "b@gw.example", "x")); !errors.As(err, &refused) || refused.Condition != stanza.RemoteServerTimeout {
			t.Errorf("route: %v", err)
		}
		n.stop()
	})
}
