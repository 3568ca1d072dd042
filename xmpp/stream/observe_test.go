package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/xmlwire"
)

// onlooker writes down what an Observer is told.
type onlooker struct {
	blind bool
	mu    sync.Mutex
	seen  []string
}

func (o *onlooker) Observing() bool { return !o.blind }

func (o *onlooker) Observe(p Passage) {
	way, name, id := "in ", "", ""
	if p.Out {
		way = "out "
	}
	if st := p.Stanza; st != nil {
		name, id = st.Kind.String(), st.ID
	} else {
		name, id = p.Element.Name.Local, p.Element.Attr("id")
	}
	if name == "stream" {
		id = p.Element.Attr("to")
	}
	if !p.Sender.IsZero() {
		id += " of " + p.Sender.String()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = append(o.seen, strings.TrimSpace(way+name+" "+id))
}

func (o *onlooker) want(t *testing.T, want ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if !slices.Equal(o.seen, want) {
		t.Errorf("\ngot  %q\nwant %q", o.seen, want)
	}
	o.seen = nil
}

// TestObserver: stanzas, headers and errors are seen in both directions, what is between
// them is not, and who a client is that need not say it (RFC 6120 §8.1.2.1).
func TestObserver(t *testing.T) {
	t.Parallel()
	var o onlooker
	conn := &canned{r: io.MultiReader(strings.NewReader(openTag+auth(plain("alice", "secret"))), strings.NewReader(openTag+bindIQ+
		"<message id='1'/><r xmlns='urn:xmpp:sm:3'/><presence id='2' from='alice@localhost/other'/><message id='3'"))}
	s := New(conn, Options{Receiving: true, Serves: served, Observer: &o})
	if err := s.Accept(t.Context(), features(func(jid.JID) error { return nil })...); err != nil {
		t.Fatal(err)
	}
	o.want(t, "in stream localhost", "out stream", "in stream localhost", "out stream", "in iq b", "out iq b")
	for range 3 {
		if _, err := s.Receive(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	send(t, s.Writer(), "4")
	if err := s.Send(t.Context(), Ack(1)); err != nil {
		t.Fatal(err)
	}
	_ = s.End(t.Context(), Shutdown)
	_ = s.Writer().SendStanza(t.Context(), message("5")) // too late
	o.want(t, "in message 1 of alice@localhost/r", "in presence 2 of alice@localhost/r", "out message 4", "out error")
}

// TestObserverOfPeer: an error that the peer sends is seen, and where the peer is.
func TestObserverOfPeer(t *testing.T) {
	t.Parallel()
	where := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}
	var o remotes
	conn := &canned{r: strings.NewReader(openTag + "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")}
	s := New(conn, Options{Receiving: true, Serves: served, Observer: &o})
	s.SetRemote(where)
	err := s.Accept(t.Context(), features(nil)...)
	var theirs *PeerError
	if !errors.As(err, &theirs) {
		t.Errorf("got %v", err)
	}
	_ = s.End(t.Context(), err)
	if want := []net.Addr{where, where, where}; !slices.Equal(o, want) {
		t.Errorf("seen from %v, want %v", o, want)
	}
}

type remotes []net.Addr

func (r *remotes) Observing() bool   { return true }
func (r *remotes) Observe(p Passage) { *r = append(*r, p.Remote) }

// TestObserverAfterResumption: what a suspended stream holds is seen when it is queued on
// a connection, and what is sent again is seen again.
func TestObserverAfterResumption(t *testing.T) {
	t.Parallel()
	for _, blind := range []bool{false, true} {
		o := &onlooker{blind: blind}
		w := manage(t, pipes(t, false), Managing{Resumable: true})
		w.observer = o
		send(t, w, "1", "2")
		sendKept(t, w, "3")
		w.kill()
		w.join()
		old := w.Suspend()
		send(t, w, "4")
		o.want(t, "out message 1", "out message 2", "out message 3")
		next := newWriter(pipes(t, false), NSClient, 1<<20, time.Minute)
		next.observer = o
		t.Cleanup(func() { next.kill(); next.join() })
		if err := next.resume(old, 1, nil, Managing{}); err != nil {
			t.Fatal(err)
		}
		if blind {
			o.want(t) // nobody asked
			continue
		}
		o.want(t, "out message 2", "out message 4")
	}
}

// TestNoObserver: a stream without an onlooker is as it was.
func TestNoObserver(t *testing.T) {
	t.Parallel()
	p := pipes(t, false)
	w := newWriter(p, NSClient, 1<<20, time.Minute)
	t.Cleanup(func() { w.kill(); w.join() })
	if err := w.Send(context.Background(), xmlwire.New(NSClient, "message")); err != nil {
		t.Fatal(err)
	}
	p.want(t, w, "<message/>")
}
