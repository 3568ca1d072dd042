package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// open lets everybody in, with the password "secret".
type open struct{}

func (open) Holds() sasl.Holding { return sasl.HoldsPassword }

func (open) Credentials(context.Context, string, string) (sasl.Credentials, error) {
	return sasl.Credentials{Password: "secret"}, nil
}

// listen opens a client listener on the node.
func (n *node) listen() (address string) {
	n.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	srv := c2s.New(c2s.Options{Router: n.router, Connection: func(net.Addr) c2s.ConnOptions {
		return c2s.ConnOptions{Accounts: open{}, AllowPlainWithoutTLS: true, ResumeTime: time.Minute}
	}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	n.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	})
	return ln.Addr().String()
}

// person is a client that keeps what it receives.
type person struct {
	t testing.TB
	c *stream.Client

	mu  sync.Mutex
	got []*stanza.Stanza
	end error // of the stream; nil while it lasts
}

func enter(t testing.TB, address, full string) *person {
	t.Helper()
	c, err := stream.Dial(soon(t), stream.ClientOptions{JID: jid.MustParse(full), Password: "secret", Address: address, ClearText: true})
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, c: c}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			st, err := c.Receive(context.Background())
			p.mu.Lock()
			if err != nil {
				p.end = err
				p.mu.Unlock()
				return
			}
			p.got = append(p.got, st)
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		p.drop()
		<-done
	})
	return p
}

// drop loses the connection.
func (p *person) drop() { _ = p.c.Stream().Abort() }

func (p *person) send(st *stanza.Stanza) {
	p.t.Helper()
	if err := p.c.Send(soon(p.t), st); err != nil {
		p.t.Fatal(err)
	}
}

// show sends presence with a status.
func (p *person) show(typ, status string) {
	p.t.Helper()
	st := stanza.NewPresence(jid.JID{}, jid.JID{}, typ)
	if status != "" {
		st.Element.Add(xmlwire.New(stanza.Client, "status").AddText(status))
	}
	p.send(st)
}

// lines are what was received, in short.
func (p *person) lines() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, st := range p.got {
		words := []string{st.From.String(), st.Kind.String(), st.Type}
		for _, name := range []string{"status", "body"} {
			if e := st.Child(name); e != nil {
				words = append(words, e.Text())
			}
		}
		all = append(all, strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	}
	return all
}

// getsTimes waits for a stanza to have come some times.
func (p *person) getsTimes(n int, line string) {
	p.t.Helper()
	limit := soon(p.t)
	for {
		got := 0
		for _, l := range p.lines() {
			if l == line {
				got++
			}
		}
		if got >= n {
			return
		}
		select {
		case <-poll():
		case <-limit.Done():
			p.t.Fatalf("%s does not get %q %d times, but %q", p.c.JID(), line, n, p.lines())
		}
	}
}

// gets waits for one stanza; after is how many came before it.
func (p *person) gets(line string) {
	p.t.Helper()
	limit := soon(p.t)
	for !slices.Contains(p.lines(), line) {
		select {
		case <-poll():
		case <-limit.Done():
			p.t.Fatalf("%s does not get %q, but %q", p.c.JID(), line, p.lines())
		}
	}
}

func (p *person) got1(line string) int {
	n := 0
	for _, l := range p.lines() {
		if l == line {
			n++
		}
	}
	return n
}

// last is the last line from a resource.
func (p *person) last(from string) string {
	lines := p.lines()
	for _, l := range slices.Backward(lines) {
		if strings.HasPrefix(l, from+" ") {
			return l
		}
	}
	return ""
}

// TestClientsElsewhere: users on different nodes talk as if they were on one.
func TestClientsElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	na, nb := c.node(), c.node()
	alice, bob := enter(t, na.listen(), "alice@localhost/a"), enter(t, nb.listen(), "bob@localhost/b")
	alice.show("", "")
	bob.show("", "")
	na.sees("bob@localhost", "b 0")
	nb.sees("alice@localhost", "a 0")
	say := func(p *person, to, text string) {
		p.send(stanza.NewMessage(jid.MustParse(to), jid.JID{}, stanza.TypeChat, text))
	}
	say(alice, "bob@localhost", "hello")
	bob.gets("alice@localhost/a message chat hello")
	say(bob, "alice@localhost/a", "to you")
	alice.gets("bob@localhost/b message chat to you")
	// IQs between the two go there and back.
	alice.send(stanza.NewIQ(bob.c.JID(), jid.JID{}, stanza.TypeGet, "q1", xmlwire.New("urn:test", "query")))
	bob.gets("alice@localhost/a iq get")
	bob.send(stanza.NewIQ(alice.c.JID(), jid.JID{}, stanza.TypeResult, "q1", nil))
	alice.gets("bob@localhost/b iq result")
	alice.send(stanza.NewIQ(jid.MustParse("bob@localhost/nobody"), jid.JID{}, stanza.TypeGet, "q2", xmlwire.New("urn:test", "query")))
	alice.gets("bob@localhost/nobody iq error")
	// Directed presence, and its end (RFC 6121 §4.6.3).
	st := stanza.NewPresence(jid.MustParse("bob@localhost"), jid.JID{}, "")
	st.Element.Add(xmlwire.New(stanza.Client, "status").AddText("for you"))
	alice.send(st)
	bob.gets("alice@localhost/a presence for you")
	alice.drop()
	bob.gets("alice@localhost/a presence unavailable")
	nb.sees("alice@localhost")
}

// TestResourcesElsewhere: resources of an account see each other's presence
// whichever node they are on (RFC 6121 §4.2.2, §4.4.2, §4.5.2).
func TestResourcesElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	na, nb := c.node(), c.node()
	a, b := enter(t, na.listen(), "alice@localhost/a"), enter(t, nb.listen(), "alice@localhost/b")
	na.sees("alice@localhost", "a", "b")
	nb.sees("alice@localhost", "a", "b")
	a.show("", "first")
	a.gets("alice@localhost/a presence first")
	nb.sees("alice@localhost", "a 0", "b")
	b.show("", "second")
	b.gets("alice@localhost/b presence second")
	a.gets("alice@localhost/b presence second")
	b.gets("alice@localhost/a presence first")
	na.sees("alice@localhost", "a 0", "b 0")
	a.show("", "changed")
	b.gets("alice@localhost/a presence changed")
	b.show("unavailable", "bye")
	a.gets("alice@localhost/b presence unavailable bye")
	na.sees("alice@localhost", "a 0", "b")
	a.show("", "unseen")
	b.show("", "back")
	b.gets("alice@localhost/a presence unseen")
	a.gets("alice@localhost/b presence back")
	na.sees("alice@localhost", "a 0", "b 0")
	b.drop()
	a.gets("alice@localhost/b presence unavailable")
	for line, want := range map[string]int{
		"alice@localhost/b presence second": 1, "alice@localhost/b presence back": 1,
		"alice@localhost/b presence unavailable": 1, "alice@localhost/b presence unavailable bye": 1,
	} {
		n := a.got1(line)
		if n == 2 && line == "alice@localhost/b presence second" {
			continue // it changed while it was introduced, and is sent again: see Introduce
		}
		if n != want {
			t.Errorf("%q came %d times", line, n)
		}
	}
}

// TestResourceTakenOver logs in with the resource of a session on another node.
// Whoever sees both sees the old one go before the new one comes.
func TestResourceTakenOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	na, nb, nd := c.node(), c.node(), c.node()
	old, watcher := enter(t, na.listen(), "alice@localhost/x"), enter(t, nd.listen(), "alice@localhost/watcher")
	watcher.show("", "")
	na.sees("alice@localhost", "x", "watcher 0")
	old.show("", "old")
	watcher.gets("alice@localhost/x presence old")
	nb.sees("alice@localhost", "x 0", "watcher 0")
	next := enter(t, nb.listen(), "alice@localhost/x")
	next.show("", "new")
	watcher.gets("alice@localhost/x presence new")
	want := []string{"alice@localhost/x presence old", "alice@localhost/x presence unavailable", "alice@localhost/x presence new"}
	if got := slices.DeleteFunc(watcher.lines(), func(l string) bool { return !strings.HasPrefix(l, "alice@localhost/x ") }); !slices.Equal(got, want) {
		t.Errorf("the other resource sees %q, want %q", got, want)
	}
	become(t, "the old one is told", func() bool {
		old.mu.Lock()
		defer old.mu.Unlock()
		var told *stream.PeerError
		return errors.As(old.end, &told) && told.Err.Condition == stream.Conflict
	})
	nd.sees("alice@localhost", "watcher 0", "x 0")
}

// TestResourceTwice has one resource on two nodes that do not hear of each other.
// When they do, one stays, and nobody is told that the resource is gone.
func TestResourceTwice(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	na, nb := c.node(), c.node()
	watcher := enter(t, nb.listen(), "alice@localhost/watcher")
	watcher.show("", "")
	na.sees("alice@localhost", "watcher 0")
	aa := na.listen()
	release := nb.gate.hold()
	loser := enter(t, aa, "alice@localhost/x")
	loser.show("", "loser")
	na.sees("alice@localhost", "watcher 0", "x 0")
	winner := enter(t, nb.listen(), "alice@localhost/x")
	winner.show("", "winner")
	watcher.gets("alice@localhost/x presence winner")
	release()
	become(t, "one is closed", func() bool { loser.mu.Lock(); defer loser.mu.Unlock(); return loser.end != nil })
	become(t, "one is left", func() bool { return len(na.sessions.All()) == 0 && na.router.Session(winner.c.JID()) != nil })
	if last := watcher.last("alice@localhost/x"); strings.Contains(last, "unavailable") {
		t.Errorf("the last that is seen of it: %q of %q", last, watcher.lines())
	}
}

// TestPresenceRaces changes presence on one node while a resource comes on another:
// in the end each knows the last of the other.
func TestPresenceRaces(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	na, nb := c.node(), c.node()
	a, b := enter(t, na.listen(), "alice@localhost/a"), enter(t, nb.listen(), "alice@localhost/b")
	a.show("", "before")
	for round := range 30 {
		var both sync.WaitGroup
		both.Go(func() {
			for i := range 5 {
				a.show("", fmt.Sprint("a", round, " ", i))
			}
		})
		both.Go(func() { b.show("", fmt.Sprint("b", round)) })
		both.Wait()
		wantA, wantB := fmt.Sprintf("alice@localhost/a presence a%d 4", round), fmt.Sprintf("alice@localhost/b presence b%d", round)
		become(t, "each knows the other", func() bool {
			return b.last("alice@localhost/a") == wantA && a.last("alice@localhost/b") == wantB
		})
		b.show("unavailable", "")
		become(t, "and that it has left", func() bool { return strings.Contains(a.last("alice@localhost/b"), "unavailable") })
	}
}

// It can stand where the router wants one.
var _ router.Registry = (*Sessions)(nil)
