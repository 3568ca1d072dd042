package s2s

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// BenchmarkDeadDomains sends messages, one after the other, to a domain that is there: once
// alone, and once beside 1,000 domains that are not and that somebody else writes to all
// the while: half of them without an answer of the DNS, half with a server that accepts
// no connection. It reports the time of a message in both, and their ratio.
func BenchmarkDeadDomains(b *testing.B) {
	n := new(names)
	dead := deadDomains(b, n, 1000)
	quiet := siteOptions{domains: []string{"a.example"}, level: zerolog.Disabled}
	a := newSite(b, n, quiet)
	quiet.domains = []string{"b.example"}
	far := newSite(b, n, quiet)
	alice, bob := a.bind(b, "alice@a.example/x"), far.bind(b, "bob@b.example/y")
	messages := func() time.Duration {
		start := time.Now()
		for i := range b.N {
			a.send(b, alice, bob.full.String(), fmt.Sprint(i))
			bob.next(b)
		}
		return time.Since(start) / time.Duration(b.N)
	}
	a.send(b, alice, bob.full.String(), "opens the stream")
	bob.next(b)
	alone := messages()
	other := deaf{&client{full: jid.MustParse("other@a.example/x")}}
	if err := a.router.Bind(other); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	var writing sync.WaitGroup
	busy := make(chan struct{})
	writing.Go(func() { writeTo(ctx, a, other, dead, busy) })
	<-busy // each has been written to
	beside := messages()
	cancel()
	writing.Wait()
	b.ReportMetric(float64(alone.Nanoseconds()), "ns/alone")
	b.ReportMetric(float64(beside.Nanoseconds()), "ns/beside")
	b.ReportMetric(float64(beside)/float64(alone), "ratio")
}

// deaf is a client that takes whatever comes.
type deaf struct{ *client }

func (deaf) Send(context.Context, *stanza.Stanza) error { return nil }

// deadDomains are so many whose servers cannot be reached, and say nothing of it.
func deadDomains(b *testing.B, n *names, count int) []string {
	b.Helper()
	all := make([]string, count)
	silent := far(b, n)["silent.example"].Addr().String()
	for i := range all {
		all[i] = fmt.Sprintf("d%d.hang.example", i)
		if i%2 == 0 {
			all[i] = fmt.Sprintf("d%d.example", i)
			n.set(all[i], silent)
		}
	}
	return all
}

// writeTo has somebody write to domains, one after the other, a thousand times a second,
// until ctx ends. busy is closed when each has got something.
func writeTo(ctx context.Context, s *site, from deaf, domains []string, busy chan struct{}) {
	every := time.NewTicker(time.Millisecond)
	defer every.Stop()
	for round := 0; ; round++ {
		for i, domain := range domains {
			_ = s.router.Route(ctx, from, message(from.full.String(), "nobody@"+domain, fmt.Sprint(round, i))) // what becomes of it is not the matter
			if round == 0 {
				continue
			}
			select {
			case <-every.C:
			case <-ctx.Done():
				return
			}
		}
		if round == 0 {
			close(busy)
		}
	}
}
