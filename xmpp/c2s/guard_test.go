package c2s

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stream"
)

var (
	here  = netip.MustParsePrefix("192.0.2.1/32")
	there = netip.MustParsePrefix("2001:db8::/64")
	alice = jid.MustParse("alice@localhost")
	bob   = jid.MustParse("bob@localhost")
)

// TestGuardWindow: failures count for a time, from the first of a row on.
func TestGuardWindow(t *testing.T) {
	t.Parallel()
	g, l, at := NewGuard(), GuessLimits{Window: time.Minute, PerAddress: 2, PerAccount: 2}, time.Now()
	g.failed(here, alice, l, at)
	if g.refusesAddress(here, l, at)+g.refuses(there, alice, l, at) > 0 {
		t.Error("refused after one")
	}
	g.failed(here, alice, l, at.Add(50*time.Second))
	for _, c := range []struct{ after, want time.Duration }{
		{50 * time.Second, 10 * time.Second}, {time.Minute, time.Nanosecond}, {61 * time.Second, 0},
	} {
		now := at.Add(c.after)
		if a, b := g.refusesAddress(here, l, now), g.refuses(there, alice, l, now); a != c.want || b != c.want {
			t.Errorf("after %v: refused for %v and %v, want %v", c.after, a, b, c.want)
		}
	}
	if g.refusesAddress(there, l, at)+g.refuses(here, bob, l, at) > 0 {
		t.Error("others are refused")
	}
	if n := g.failed(here, alice, l, at.Add(2*time.Minute)); n != 1 {
		t.Errorf("%d failures in a new row", n)
	}
}

// TestGuardKnown: an address that the account has logged in from goes on; others of
// that account do not, nor does the address for other accounts.
func TestGuardKnown(t *testing.T) {
	t.Parallel()
	g, l, at := NewGuard(), GuessLimits{Window: time.Minute, PerAccount: 1}, time.Now()
	g.succeeded(here, alice, at)
	g.failed(there, alice, l, at)
	g.failed(there, bob, l, at)
	if g.refuses(here, alice, l, at) > 0 || g.refuses(there, alice, l, at) == 0 || g.refuses(here, bob, l, at) == 0 {
		t.Error("the wrong ones are refused")
	}
}

// TestGuardBounded: whatever names are tried, the memory is bounded, and what goes
// first is what was not seen for longest.
func TestGuardBounded(t *testing.T) {
	t.Parallel()
	g, l, at := NewGuard(), GuessLimits{Window: time.Hour, PerAddress: 1, PerAccount: 1}, time.Now()
	g.failed(here, alice, l, at)
	for i := range maxGuard + 10 {
		from := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		g.failed(from, jid.MustParse(fmt.Sprintf("u%d@localhost", i)), l, at)
		g.succeeded(from, alice, at)
		if i%1000 == 0 {
			g.failed(there, bob, l, at) // stays
		}
	}
	for name, n := range map[string]int{"addresses": len(g.addresses.m), "accounts": len(g.accounts.m), "known": len(g.known.m),
		"order of addresses": g.addresses.order.Len(), "order of accounts": g.accounts.order.Len()} {
		if n > maxGuard {
			t.Errorf("%s: %d entries", name, n)
		}
	}
	if g.refusesAddress(here, l, at)+g.refuses(here, alice, l, at) > 0 {
		t.Error("the oldest are still there")
	}
	if g.refusesAddress(there, l, at) == 0 || g.refuses(there, bob, l, at) == 0 {
		t.Error("those that go on failing are forgotten")
	}
}

// TestGuardDelay: each wrong password costs more, up to a bound; what was not about
// the password costs nothing.
func TestGuardDelay(t *testing.T) {
	t.Parallel()
	w := Watch{guard: NewGuard(), from: here, o: GuessLimits{Delay: time.Second, Window: time.Minute}}
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 16, 16} {
		if got := w.Failed(&sasl.Failure{Condition: sasl.NotAuthorized}); got != want*time.Second {
			t.Errorf("failure %d waits %v, want %d s", i, got, want)
		}
	}
	for _, f := range []sasl.Failure{{Condition: sasl.MalformedRequest}, {Condition: sasl.NotAuthorized, Text: "no such binding"}} {
		if got := w.Failed(&f); got != 0 {
			t.Errorf("%v waits %v", f, got)
		}
	}
}

func TestPrefixOf(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]string{
		"192.0.2.7:1": "192.0.2.7/32", "[::ffff:192.0.2.7]:1": "192.0.2.7/32",
		"[2001:db8:1:2:3::4]:1": "2001:db8:1:2::/64", "[fe80::1%eth0]:1": "fe80::/64",
	} {
		tcp := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if got := stream.AddressOf(tcp).String(); got != want {
			t.Errorf("%s counts as %s, want %s", addr, got, want)
		}
	}
	if p := stream.AddressOf(&net.UnixAddr{Name: "/run/x"}); p.IsValid() {
		t.Errorf("a Unix socket counts as %s", p)
	}
}
