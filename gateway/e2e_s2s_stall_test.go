package main

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// farInbox is an inbox as a far server's talk fills it.
func farInbox() (*inbox, func(st *stanza.Stanza) error) {
	b := newInbox()
	return b, func(st *stanza.Stanza) error { b.add(st); return nil }
}

// TestServerStallsReading: a server that no longer reads is given up, and all that it
// has not acknowledged (XEP-0198) arrives once it is there again, in order; what goes
// to others does not wait.
func TestServerStallsReading(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{Others: [][]string{others(ours), {"far.example"}, {"good.example"}}})
	inbox, take := farInbox()
	good, takeGood := farInbox()
	newFar(t, n.Addr("good.example"), takes(takeGood))
	stalled := make(chan struct{})
	released := make(chan struct{})
	var got atomic.Int64
	stalling := newFar(t, n.Addr("far.example"), takes(func(st *stanza.Stanza) error {
		if got.Add(1) == 3 {
			close(stalled)
			<-released // and is read from no more
			return io.ErrClosedPipe
		}
		return take(st)
	}))
	t.Cleanup(func() {
		select {
		case <-released:
		default:
			close(released)
		}
	})
	g := newServer(t, n, ours, clients("far.example", "good.example"))

	padding := strings.Repeat(" .", 10<<10) // together more than is sent unacknowledged
	var want, wantGood []string
	for _, text := range numbered(1, 100) {
		if err := inject(t.Context(), g, false, "bob@far.example", text+padding); err != nil {
			t.Fatal(err)
		}
		want = append(want, text+padding)
	}
	select {
	case <-stalled:
	case <-time.After(patience):
		t.Fatal("nothing arrives")
	}
	for _, text := range numbered(1, 20) {
		if err := inject(t.Context(), g, true, "bob@good.example", text); err != nil {
			t.Fatal(err)
		}
		wantGood = append(wantGood, text)
	}
	good.await(t, wantGood)
	g.fails("far.example", "use")
	close(released)
	stalling.close()
	newFar(t, n.Addr("far.example"), takes(take))
	inbox.await(t, want)
}

// TestServerStallsWriting: a server that begins a stanza and does not end it is
// given up with an error, before and after it has proven who it is.
func TestServerStallsWriting(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{Others: [][]string{others(ours), {"far.example"}}})
	newFar(t, n.Addr("far.example"), takes(func(*stanza.Stanza) error { return nil }))
	g := newGatewayOf(t, strings.Replace(serverText(n, ours, "s3cr3t"), `{ stream = "server" }`, `{ stream = "server" stanza_time = 1 auth_timeout = 2 }`, 1))
	g.start()
	g.addUser("ann@"+ours, "secret")
	ann := meet(t, g.xmpp(), "ann@"+ours+"/a")
	for _, c := range []struct {
		name  string
		begin string
	}{
		{"in a tag", "<message to='ann@gw.example' from='bob@far.example'"},
		{"in a text", "<message type='chat' to='ann@gw.example' from='bob@far.example'><body>half a"},
	} {
		s := reach(t, n.Addr(ours), "far.example", ours)
		if err := s.send("<message type='chat' to='%s' from='bob@far.example/b'><body>%s</body></message>%s", ann.full(), c.name, c.begin); err != nil {
			t.Fatal(err)
		}
		ann.message(c.name)
		wantError(t, s, stream.PolicyViolation, stream.ConnectionTimeout)
	}
	s := openFar(t, n.Addr(ours), "far.example", ours)
	if err := s.send("<db:result from='far.example' to='gw.example'>half a ke"); err != nil {
		t.Fatal(err)
	}
	wantError(t, s, stream.PolicyViolation, stream.ConnectionTimeout)
}

// wantError waits for a stream error, one of some, and the end of the stream.
func wantError(t *testing.T, c *farStream, conditions ...stream.Condition) {
	t.Helper()
	for {
		e, err := c.next()
		if err != nil {
			t.Fatalf("no stream error: %v", err)
		}
		if e.Name.Local != "error" {
			continue
		}
		got := stream.ParseError(e).Condition
		for _, want := range conditions {
			if got == want {
				return
			}
		}
		t.Fatalf("stream error %s, want one of %v", got, conditions)
	}
}
