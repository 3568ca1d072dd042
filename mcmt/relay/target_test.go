package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/dnstest"
)

// The whole way from a real DNS, of which the first server is broken.
func TestResolvers(t *testing.T) {
	t.Parallel()
	broken := dnstest.New(t, "example SERVFAIL")
	zone := dnstest.New(t,
		"p1.example MX 20 b.p1.example", "p1.example MX 10 a.p1.example", "a.p1.example A 192.0.2.1", "a.p1.example AAAA 2001:db8::1",
		"implicit.example A 192.0.2.3", "null.example MX 0 .", "other.example A 192.0.2.9",
	)
	r := NewResolver([]string{broken.Addr(), zone.Addr()})
	s := newSender(t, Options{Resolver: r})
	for domain, want := range map[string]string{
		"p1.example":       "[a.p1.example:25 b.p1.example:25] <nil>",
		"P1.example.":      "[a.p1.example:25 b.p1.example:25] <nil>",
		"implicit.example": "[implicit.example:25] <nil>",
		"null.example":     "[] 556 5.1.10 the domain takes no mail (null MX) (domain null.example)",
		"none.example":     "[] 550 5.1.2 no such domain: it has neither MX records nor addresses (domain none.example)",
		"[192.0.2.1]":      "[192.0.2.1:25] <nil>",
	} {
		targets, err := s.route(t.Context(), s.options.Load(), domain)
		if got := fmt.Sprint(targets, " ", err); got != want {
			t.Errorf("%s: got %s, want %s", domain, got, want)
		}
	}
	addrs, err := addresses(t.Context(), r, "a.p1.example")
	if fmt.Sprint(addrs, err) != "[2001:db8::1 192.0.2.1] <nil>" {
		t.Errorf("addresses: %v, %v", addrs, err)
	}
	_, err = NewResolver([]string{broken.Addr()}).LookupMX(t.Context(), "p1.example.")
	if err == nil || notFound(err) {
		t.Errorf("a server that fails: %v", err)
	}
}

// A DNS server that does not answer is left when the context ends.
func TestResolverSilence(t *testing.T) {
	t.Parallel()
	zone := dnstest.New(t, "slow.example SILENT")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := NewResolver([]string{zone.Addr()}).LookupMX(ctx, "slow.example.")
		done <- err
	}()
	<-zone.Silenced()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// RFC 5321 §5.1: by preference, at random within one; only those before us; each once.
func TestOrder(t *testing.T) {
	t.Parallel()
	all := []*net.MX{{Host: "c.", Pref: 20}, {Host: "B.", Pref: 10}, {Host: "a.", Pref: 10}, {Host: "b.", Pref: 30}, {Host: "us.", Pref: 40}, {Host: "e.", Pref: 40}, {Host: "d.", Pref: 50}}
	stay := func(int, func(i, j int)) {}
	turn := func(n int, swap func(i, j int)) {
		for i := range n / 2 {
			swap(i, n-1-i)
		}
	}
	for _, tt := range []struct {
		why, self string
		shuffle   func(int, func(i, j int))
		want      string
	}{
		{"as drawn", "elsewhere", stay, "b a c us e d"},
		{"drawn the other way round", "elsewhere", turn, "a b c e us d"},
		{"those before us", "US", stay, "b a c"},
		{"we are the best", "a", turn, ""},
	} {
		if got := strings.Join(order(all, tt.self, tt.shuffle), " "); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.why, got, tt.want)
		}
	}
}

// Forms of one address count as one.
func TestProhibited(t *testing.T) {
	t.Parallel()
	prefixes := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::ffff:10.0.0.0/104")}
	for addr, want := range map[string]bool{
		"127.1.2.3": true, "::ffff:127.0.0.1": true, "fe80::1%eth0": true, "10.1.2.3": true, "0.0.0.0": true, "::": true,
		"::1": false, "192.0.2.1": false, "2001:db8::1": false,
	} {
		if got := prohibited(netip.MustParseAddr(addr), prefixes); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
}

// What is kept of domains: an answer for a minute, a failure for ten seconds, and never
// of more than a bounded number.
func TestRoutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r routes
		asked := 0
		get := func(domain string, err error) {
			_, got := r.get(t.Context(), domain, func() ([]target, error) { asked++; return nil, err })
			if got != err {
				t.Errorf("%s: got %v", domain, got)
			}
		}
		gone := errors.New("gone")
		for _, step := range []struct {
			domain string
			err    error
			after  time.Duration
			asked  int
		}{
			{"a", nil, 0, 1}, {"a", nil, 59 * time.Second, 1}, {"a", nil, 2 * time.Second, 2},
			{"b", gone, 0, 3}, {"b", gone, 9 * time.Second, 3}, {"b", gone, 2 * time.Second, 4},
		} {
			time.Sleep(step.after)
			if get(step.domain, step.err); asked != step.asked {
				t.Errorf("%s after %v: asked %d times, want %d", step.domain, step.after, asked, step.asked)
			}
		}
		for i := range 2 * maxRoutes {
			get(fmt.Sprint(i), nil)
		}
		if len(r.all) > maxRoutes {
			t.Errorf("%d are kept", len(r.all))
		}
	})
}

// Thousands of dead hosts are forgotten again; those that are in use are not.
func TestPoolIsBounded(t *testing.T) {
	t.Parallel()
	var p pool
	o := new(Options)
	busy := target{"busy.example", 25}
	if c, err := p.get(t.Context(), busy, o); c != nil || err != nil {
		t.Fatal(c, err)
	}
	down := errors.New("down")
	for i := range 2 * maxDestinations {
		dead := target{fmt.Sprintf("%d.example", i), 25}
		if _, err := p.get(t.Context(), dead, o); err != nil {
			t.Fatal(err)
		}
		p.failed(dead, down, true, o)
		if _, err := p.get(t.Context(), dead, o); err != down {
			t.Fatalf("a host that is down: %v", err)
		}
	}
	if len(p.all) > maxDestinations || p.all[busy] == nil || p.all[busy].open != 1 {
		t.Errorf("%d hosts are remembered, the one in use: %v", len(p.all), p.all[busy])
	}
}

// A refusal of the DNS is one like any other: with code, for good.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSender(t, Options{Resolver: zone{}})
	_, err := s.Send(t.Context(), to("b@none.example", ""))
	refusal, ok := errors.AsType[*mcmt.Refusal](err)
	if !ok || refusal.Code != 550 || refusal.Enhanced != [3]int{5, 1, 2} || refusal.Temporary() {
		t.Errorf("got %v", err)
	}
	if kinds := s.Stats().Failures; len(kinds) != len(kindNames) || !slices.Contains(kindNames[:], KindProtocol.String()) {
		t.Errorf("kinds: %v", kinds)
	}
}
