package link

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// TestWaiting: what is sent while the stream is being made arrives in its order, before
// what is sent later.
func TestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFar(t)
		n := run(t, f, nil)
		synctest.Wait()
		for _, body := range []string{"1", "2", "3"} {
			if err := n.Route(t.Context(), message("a@p1.example", "b@gw.example", body)); err != nil {
				t.Fatal(err)
			}
		}
		s := f.accept("s3cret")
		<-n.ups
		if err := n.Route(t.Context(), message("a@p1.example", "b@gw.example", "4")); err != nil {
			t.Fatal(err)
		}
		var got string
		for len(got) < 4 {
			if st := s.next(); st.Kind == stanza.Message {
				got += st.ID[2:]
			}
		}
		if got != "1234" {
			t.Errorf("the server got %s", got)
		}
		go func() { _ = s.Close(t.Context()) }()
		n.stop()
	})
}

// TestWaitingInVain: who waits for a stream that is not made is told; more than some do
// not wait.
func TestWaitingInVain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refuse := make(chan error)
		n := run(t, nil, func(o *Options) {
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, <-refuse }
		})
		n.received = make(chan *stanza.Stanza, maxWaiting)
		synctest.Wait()
		for range maxWaiting {
			if err := n.Route(t.Context(), message("a@p1.example", "b@gw.example", "1")); err != nil {
				t.Fatal(err)
			}
		}
		var refused *stanza.Error
		if err := n.Route(t.Context(), message("a@p1.example", "b@gw.example", "2")); !errors.As(err, &refused) || refused.Condition != stanza.ResourceConstraint {
			t.Errorf("one more: %v", err)
		}
		refuse <- errors.New("nobody listens")
		for range maxWaiting {
			st := <-n.received
			if e := stanza.ParseError(st.Child("error")); st.Type != stanza.TypeError || e.Condition != stanza.RemoteServerTimeout {
				t.Fatalf("got %s", st)
			}
		}
		if st := n.State(); st.Failure.Step != StepTCP || st.Failure.Text != "nobody listens" {
			t.Errorf("state: %+v", st.Failure)
		}
		close(refuse)
		n.stop()
	})
}

// TestBackOff: the pauses double up to their bound, with up to half of each by chance.
func TestBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := make(chan time.Time, 20)
		n := run(t, nil, func(o *Options) {
			o.MaxRetry = 8 * time.Second
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				tries <- time.Now()
				return nil, errors.New("nobody listens")
			}
		})
		last := <-tries
		for _, pause := range []time.Duration{1, 2, 4, 8, 8, 8} {
			now := <-tries
			if d := now.Sub(last); d < pause*time.Second/2 || d > pause*time.Second {
				t.Errorf("pause of %v, not about %d s", d, pause)
			}
			last = now
		}
		n.stop()
	})
}

// TestFailover: the first link that is up takes what is sent; while none is, the first
// one to come up.
func TestFailover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f1, f2 := newFar(t), newFar(t)
		first := run(t, f1, func(o *Options) { o.Name = "first" })
		second := run(t, f2, func(o *Options) { o.Name, o.Domains = "second", []string{"p1.example"} })
		links := Links{first.Link, second.Link}
		synctest.Wait()
		var _ router.Remote = links
		if ready, err := links.Ready(t.Context(), "gw.example", "p1.example"); ready || err != nil {
			t.Errorf("ready without a stream: %v, %v", ready, err)
		}
		if _, err := links.Ready(t.Context(), "localhost", "p1.example"); !errors.Is(err, errNone) {
			t.Errorf("no link leads there: %v", err)
		}
		if _, err := links.Session(t.Context(), "gw.example", "p1.example"); err == nil {
			t.Error("a session of no link")
		}
		if !links.Reachable("p1.example") || !links.Any("other.example") || links[1:].Any("other.example") {
			t.Error("connecting, and yet not worth while to ask")
		}
		if len(links.For("localhost", "p1.example")) != 0 {
			t.Error("a component speaks for a domain that it is not (XEP-0114 §3)")
		}
		if got := links.For("gw.example", "other.example"); len(got) != 1 || got[0] != first.Link {
			t.Errorf("%d links lead to other.example", len(got))
		}
		if err := links.Route(t.Context(), message("a@p1.example", "b@localhost", "x")); !errors.Is(err, errNone) {
			t.Errorf("no link leads there: %v", err)
		}
		s2 := f2.accept("s3cret")
		<-second.ups
		if c, err := links.Session(t.Context(), "gw.example", "p1.example"); err != nil || c.(*session).l != second.Link {
			t.Errorf("the second is up: %v, %v", c, err)
		}
		s1 := f1.accept("s3cret")
		<-first.ups
		if c, err := links.Session(t.Context(), "gw.example", "p1.example"); err != nil || c.(*session).l != first.Link {
			t.Errorf("both are up: %v, %v", c, err)
		}
		for _, s := range []*server{s1, s2} {
			go func() {
				s.ping()
				_ = s.Close(t.Context())
			}()
		}
		first.stop()
		second.stop()
	})
}
