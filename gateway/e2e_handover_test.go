package main

import (
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// TestResumeElsewhere: three processes stand behind one name. A client loses its connection
// again and again, while messages flow from outside and from another user, and each time
// comes to another process: it resumes its session there. Each message arrives once, those
// from each side in their order, and who sees the client's presence sees nothing of it.
func TestResumeElsewhere(t *testing.T) {
	// Not in parallel: a process waits some seconds for another one, and a client may not
	// notice, whatever else the machine has to do.
	f := newFleet(t, "all", "all", "all")
	nodes := f.with("xmpp_listener")
	const user, n, least = "mobile@localhost", 120, 9
	for _, u := range []string{user, "friend@localhost", "watcher@localhost"} {
		nodes[0].addUser(u, "secret")
	}
	var lines []*cable
	for _, g := range nodes {
		g.eventually("the account is known", func() bool { return inject(t.Context(), g, false, "watcher@localhost", "sync") == nil })
		lines = append(lines, newCable(t, g.xmpp()))
	}
	phone := managed(t, lines[0].addr, user+"/phone", nil)
	friend := login(t, nodes[1].xmpp(), "friend@localhost/f", 0)
	watcher := managed(t, nodes[2].xmpp(), "watcher@localhost/w", nil)
	seen := make(chan string, 100)
	var others sync.WaitGroup
	others.Go(func() {
		defer close(seen)
		for {
			st, err := watcher.Receive(t.Context())
			if err != nil {
				return
			}
			if st.Kind == stanza.Presence && st.From == phone.JID() {
				seen <- st.Type
			}
		}
	})
	if err := phone.Send(t.Context(), stanza.NewPresence(watcher.JID(), jid.JID{}, "")); err != nil {
		t.Fatal(err)
	}
	if typ := <-seen; typ != "" {
		t.Fatalf("the watcher sees %q", typ)
	}
	senders := fromTwoSides(t, user, friend, n, func(i int) *gateway { return nodes[i%3] })
	var got []string
	lost := 0
	for until := time.Now().Add(patience); len(got) < 2*n || lost < least; lost++ {
		if time.Now().After(until) {
			t.Fatalf("after %d losses only %d messages are received", lost, len(got))
		}
		got = append(got, bodies(t, phone, 2*n-len(got), time.Duration(20+lost*37%130)*time.Millisecond)...)
		switch lost % 3 {
		case 0:
			lines[lost%3].cut()
		case 1:
			lines[lost%3].die() // and the gateway does not know
		}
		old := phone
		if phone = managed(t, lines[(lost+1)%3].addr, user+"/phone", old); !phone.Resumed() {
			t.Fatalf("the session was not resumed after %d losses", lost)
		}
		_ = old.Stream().Abort()
	}
	senders.Wait()
	eachOnce(t, got, friend, n)
	_ = watcher.Stream().Abort()
	others.Wait()
	for typ := range seen {
		t.Errorf("the watcher sees presence of type %q", typ)
	}
	in, out := 0.0, 0.0
	for _, g := range nodes {
		in += metric(t, g, `xmpp_remote_handovers_total{direction="in",outcome="succeeded"}`)
		out += metric(t, g, `xmpp_remote_handovers_total{direction="out",outcome="succeeded"}`)
	}
	if in != float64(lost) || out != float64(lost) {
		t.Errorf("%d losses, %v sessions taken over, %v handed over", lost, in, out)
	}
	t.Logf("%d losses", lost)
}
