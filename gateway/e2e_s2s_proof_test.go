package main

import (
	"testing"
	"time"

	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
)

// TestFar: what the tests say for a far server is what a server that nobody here
// wrote understands.
func TestFar(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{Mode: peertest.Plain, Prosody: []peertest.Domain{{Name: "p1.example"}}, Others: [][]string{{"far.example"}}})
	got := make(chan *stanza.Stanza, 16)
	newFar(t, n.Addr("far.example"), takes(func(st *stanza.Stanza) error { got <- st; return nil }))
	alice := meet(t, n.Prosody.C2S, "alice@p1.example/a")
	alice.send(`<message xmlns='jabber:client' type='chat' to='bob@far.example'><body>to far</body></message>`)
	select {
	case st := <-got:
		if bodyOf(st) != "to far" || st.From.String() != alice.full() {
			t.Errorf("far received %s", st.Element)
		}
	case <-time.After(patience):
		t.Fatal("far received nothing")
	}
	c := reach(t, n.Prosody.S2S, "far.example", "p1.example")
	if err := c.send("<message type='chat' from='bob@far.example/b' to='%s'><body>from far</body></message>", alice.full()); err != nil {
		t.Fatal(err)
	}
	alice.message("from far")
}

// TestBefriend: what the tests expect of two people is what servers do that nobody
// here wrote.
func TestBefriend(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{Prosody: []peertest.Domain{{Name: "p1.example"}}, Ejabberd: []peertest.Domain{{Name: "e1.example"}}})
	p := func() *contact { return meet(t, n.Prosody.C2S, "alice@p1.example/p") }
	e := func() *contact { return meet(t, n.Ejabberd.C2S, "bob@e1.example/e") }
	alice, bob := p(), e()
	alice.says(bob, "hello")
	bob.says(alice, "welcome")
	alice.pings("e1.example")
	bob.pings("p1.example")
	alice.refused("nobody@e1.example", stanza.ServiceUnavailable)
	bob.refused("nobody@p1.example", stanza.ServiceUnavailable)
	befriend(alice, bob, p)
	befriend(bob, p(), e)
}
