package c2s

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// BenchmarkSessionMemory tells what an idle session costs in bytes of heap and stack,
// with its client, which is in the same process: without stream management, with it,
// and with one stanza acknowledged; and what a session costs that waits for its client,
// which is gone. It has received one message, as a session that is used.
func BenchmarkSessionMemory(b *testing.B) {
	for _, c := range []struct {
		name                   string
		managed, sent, waiting bool
	}{{name: "plain"}, {"managed", true, false, false}, {"acknowledged", true, true, false}, {"suspended", true, true, true}} {
		b.Run(c.name, func(b *testing.B) {
			f := serve(b, router.Options{MaxSessions: 1 << 20}, Options{
				PerAddress: 1 << 20, ProofTime: time.Hour, Hibernation: NewHibernation(HibernationOptions{Sessions: 1 << 20, PerAccount: 1 << 20}),
			}, ConnOptions{AllowPlainWithoutTLS: true, ResumeTime: time.Hour})
			before := inUse()
			var clients []*stream.Client
			for i := range b.N {
				cl, err := stream.Dial(context.Background(), stream.ClientOptions{
					JID: jid.MustParse(fmt.Sprintf("bob@localhost/%d", i)), Password: "secret", Address: f.addr, ClearText: true, Manage: c.managed,
				})
				if err != nil {
					b.Fatal(err)
				}
				clients = append(clients, cl)
				if c.sent {
					receiveOne(b, f, cl)
				}
			}
			if c.waiting {
				for _, cl := range clients {
					_ = cl.Stream().Abort()
				}
				eventually(b, func() bool { return f.server.Stats().Suspended == int64(b.N) }, "all wait")
				clients = nil
			}
			b.ReportMetric(float64(inUse()-before)/float64(b.N), "bytes/session")
			runtime.KeepAlive(clients)
			for _, cl := range clients {
				_ = cl.Stream().Abort()
			}
		})
	}
}

// receiveOne sends a message to a client and has it acknowledged.
func receiveOne(b *testing.B, f *fixture, c *stream.Client) {
	b.Helper()
	s := f.session(b, c)
	if err := s.Send(context.Background(), stanza.NewMessage(c.JID(), jid.JID{}, "chat", "x")); err != nil {
		b.Fatal(err)
	}
	if _, err := c.Receive(context.Background()); err != nil {
		b.Fatal(err)
	}
	proven := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, err := s.Prove(ctx)
		proven <- err
		cancel()
	}()
	_, _ = c.Receive(ctx) // answers the request
	if err := <-proven; err != nil {
		b.Fatal(err)
	}
}

func inUse() int64 {
	for range 5 { // each halves stacks that were deep once
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
