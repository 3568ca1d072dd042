package main

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/peertest"
)

// TestServerRestarts: while messages flow to their users peers are stopped and
// started again. Everything that was answered 250 or 202 arrives, in order, and a
// copy bears the same stanza id.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Prosody:  []peertest.Domain{{Name: "p1.example"}},
		Ejabberd: []peertest.Domain{{Name: "e1.example"}},
		Others:   [][]string{others(ours)},
	})
	g := newServer(t, n, ours, certified(n, peertest.SelfSigned, ours)+clients("p1.example", "e1.example"))
	total := int64(0)
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for _, c := range []struct {
		server *peertest.Server
		domain string
		online int // of the recipients
	}{{n.Prosody, "p1.example", 2}, {n.Ejabberd, "e1.example", 0}} {
		t.Run(c.domain, func(t *testing.T) {
			g.within(t)
			users := []string{"alice@" + c.domain, "bob@" + c.domain, "carol@" + c.domain, "dave@" + c.domain}
			inboxes := make(map[string]*inbox)
			for _, u := range users {
				inboxes[u] = newInbox()
			}
			ctx, cancel := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			defer clients.Wait()
			defer cancel()
			at := func() string { return c.server.C2S }
			for _, u := range users[:c.online] {
				clients.Go(func() { inboxes[u].stay(ctx, at, u) })
			}
			senders := startSenders(t, func(int) *gateway { return g }, users, func(text string) string { return text }, 20*time.Millisecond)
			for range rounds {
				senders.flow("before")
				c.server.Stop()
				senders.flow("meanwhile")
				c.server.Start()
			}
			senders.flow("after")
			accepted := senders.stop()
			total += senders.accepted.Load()
			// COMPAT ejabberd 23: what comes while somebody logs in comes before what was
			// stored, or stays there until the next login.
			g.eventually("all are delivered", func() bool { return metric(t, g, `delivery_total{outcome="delivered"}`) == float64(total) })
			for _, u := range users[c.online:] {
				clients.Go(func() { inboxes[u].stay(ctx, at, u) })
			}
			copies := 0
			for _, u := range users {
				copies += inboxes[u].await(t, accepted[u])
			}
			t.Logf("%d restarts, %d messages accepted, none lost, %d copies", rounds, senders.accepted.Load(), copies)
		})
	}
}

// TestServerDown: what is for a peer that is down waits, with the reason, and arrives
// when the peer is there again, or at once when it shows itself.
func TestServerDown(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{Prosody: []peertest.Domain{{Name: "p1.example"}}, Others: [][]string{others(ours), others("slow.example")}})
	soon := newServer(t, n, ours, certified(n, peertest.SelfSigned, ours)+clients("p1.example"))
	slow := newGatewayOf(t, strings.NewReplacer("retry_interval = 1\n", "retry_interval = 1800\n", "max_retry_interval = 2\n", "max_retry_interval = 1800\n").
		Replace(serverText(n, "slow.example", "s3cr3t"))+certified(n, peertest.SelfSigned, "slow.example")+clients("p1.example"))
	slow.start()
	slow.addUser("ann@slow.example", "secret")

	n.Prosody.Stop()
	for _, g := range []*gateway{soon, slow} {
		for _, text := range []string{"1", "2", "3"} {
			g.injects(false, "news@corp.example", "alice@p1.example", text)
		}
		g.fails("p1.example", "tcp", "refused")
		g.remains("p1.example", admin.Deferred, 3, "tcp", "refused")
	}
	n.Prosody.Start()
	alice := meet(t, n.Prosody.C2S, "alice@p1.example/a")
	for _, text := range []string{"1", "2", "3"} {
		alice.message(text)
	}
	soon.eventually("an empty queue", func() bool { return len(soon.routes()) == 0 })
	slow.remains("p1.example", admin.Deferred, 3)

	// An inbound stream wakes what waits for the domain.
	ann := meet(t, slow.xmpp(), "ann@slow.example/a")
	alice.says(ann, "here I am")
	for _, text := range []string{"1", "2", "3"} {
		alice.message(text)
	}
	slow.eventually("an empty queue", func() bool { return len(slow.routes()) == 0 })
}
