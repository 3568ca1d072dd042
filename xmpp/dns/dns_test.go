package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mcmt2xmpp/xmpp/dnstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// asking returns a Resolver that asks a zone, and takes the smallest number for each
// random one.
func asking(t *testing.T, records ...string) *Resolver {
	t.Helper()
	r := New(Options{Servers: []string{dnstest.Serve(t, records...)}})
	r.intN = func(int) int { return 0 }
	return r
}

// written writes targets as "host:port", with "+" for TLS from the first byte.
func written(targets []Target) string {
	var all []string
	for _, t := range targets {
		s := net.JoinHostPort(t.Host, fmt.Sprint(t.Port))
		if t.Direct {
			s += "+"
		}
		all = append(all, s)
	}
	return strings.Join(all, " ")
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		records string
		domain  string
		service Service
		want    string
	}{
		// XEP-0368 §3 rule 1: priorities are mixed.
		"both services": {`
			_xmpp-server._tcp.p1.example SRV 10 0 5269 b.p1.example
			_xmpps-server._tcp.p1.example SRV 5 0 5270 A.p1.example
			_xmpps-server._tcp.p1.example SRV 15 0 5270 c.p1.example`,
			"p1.example", Server, "a.p1.example:5270+ b.p1.example:5269 c.p1.example:5270+"},
		"the clients' own records": {`
			_xmpp-client._tcp.p1.example SRV 0 0 5222 a.p1.example
			_xmpps-client._tcp.p1.example SRV 1 0 443 a.p1.example
			_xmpp-server._tcp.p1.example SRV 0 0 5269 b.p1.example`,
			"p1.example", Client, "a.p1.example:5222 a.p1.example:443+"},
		// XEP-0368 §5: no direct TLS, so the other service.
		"no direct TLS": {`
			_xmpps-server._tcp.p1.example SRV 0 0 0 .
			_xmpp-server._tcp.p1.example SRV 0 0 5269 a.p1.example`,
			"p1.example", Server, "a.p1.example:5269"},
		"direct TLS only": {`
			_xmpp-server._tcp.p1.example SRV 0 0 0 .
			_xmpps-server._tcp.p1.example SRV 0 0 443 a.p1.example`,
			"p1.example", Server, "a.p1.example:443+"},
		"one look-up fails": {`
			_xmpps-server._tcp.p1.example SERVFAIL
			_xmpp-server._tcp.p1.example SRV 0 0 5269 a.p1.example`,
			"p1.example", Server, "a.p1.example:5269"},
		// RFC 6120 §3.2.2.
		"no records":             {`p1.example A 127.0.0.1`, "p1.example", Server, "p1.example:5269"},
		"no records, for client": {`p1.example AAAA ::1`, "p1.example", Client, "p1.example:5222"},
		"a domain in U-labels": {`_xmpp-server._tcp.xn--bcher-kva.example SRV 0 0 5269 a.example`,
			"bücher.example", Server, "a.example:5269"},
		// RFC 6120 §3.2: nothing is asked for an address.
		"an IPv4 address":           {`broken SERVFAIL`, "192.0.2.1", Server, "192.0.2.1:5269"},
		"an IPv6 address":           {`broken SERVFAIL`, "[2001:db8::1]", Server, "[2001:db8::1]:5269"},
		"the machine, RFC 6761 6.3": {`localhost SERVFAIL`, "localhost", Server, "localhost:5269"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := asking(t, lines(tt.records)...)
			got, err := r.Targets(t.Context(), tt.domain, tt.service)
			if err != nil || written(got) != tt.want {
				t.Errorf("got %s, %v; want %s", written(got), err, tt.want)
			}
		})
	}
}

func lines(s string) (all []string) {
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

func TestTargetsFail(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		records   string
		kind      Kind
		temporary bool
		text      string
	}{
		"no such domain": {"p2.example A 127.0.0.1", NoDomain, false,
			"no such domain: p1.example has neither SRV records nor addresses"},
		"a domain without anything": {"www.p1.example A 127.0.0.1", NoDomain, false,
			"no such domain: p1.example has neither SRV records nor addresses"},
		// RFC 6120 §3.2.1 step 3: not even the addresses of the domain.
		"decidedly not there": {`
			_xmpp-server._tcp.p1.example SRV 0 0 0 .
			_xmpps-server._tcp.p1.example SRV 0 0 0 .
			p1.example A 127.0.0.1`, NoService, false, "p1.example: its SRV records say that there is no such service"},
		"one not there, of the other no records": {`
			_xmpps-server._tcp.p1.example SRV 0 0 0 .
			p1.example A 127.0.0.1`, NoService, false, "p1.example: its SRV records say that there is no such service"},
		// There may be records: the domain's own host is not asked in their place.
		"the server fails": {`
			_tcp.p1.example SERVFAIL
			p1.example A 127.0.0.1`, Failed, true, "p1.example: dns server ADDR: server misbehaving"},
		"one fails, of the other no records": {`
			_xmpps-server._tcp.p1.example SERVFAIL
			p1.example A 127.0.0.1`, Failed, true, "p1.example: dns server ADDR: server misbehaving"},
		"one fails, the other is not there": {`
			_xmpp-server._tcp.p1.example SERVFAIL
			_xmpps-server._tcp.p1.example SRV 0 0 0 .`, Failed, true, "p1.example: dns server ADDR: server misbehaving"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := dnstest.Serve(t, lines(tt.records)...)
			got, err := New(Options{Servers: []string{addr}}).Targets(t.Context(), "p1.example", Server)
			e, ok := errors.AsType[*Error](err)
			if !ok || len(got) > 0 {
				t.Fatalf("got %v, %v", got, err)
			}
			text := strings.ReplaceAll(e.Error(), addr, "ADDR")
			if e.Kind != tt.kind || e.Temporary() != tt.temporary || text != tt.text {
				t.Errorf("%v, temporary %v: %s", e.Kind, e.Temporary(), text)
			}
		})
	}
}

func TestSilence(t *testing.T) {
	t.Parallel()
	addr := dnstest.Serve(t, "slow.example SILENT")
	r := New(Options{Servers: []string{addr}, Timeout: 50 * time.Millisecond})
	_, err := r.Targets(t.Context(), "slow.example", Server)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != Silent || !e.Temporary() || e.Error() != "slow.example: dns server "+addr+" does not answer" {
		t.Errorf("Targets: %v", err)
	}
	if _, err := r.Addresses(t.Context(), "slow.example"); err == nil || err.Error() != e.Error() {
		t.Errorf("Addresses: %v", err)
	}
}

// A server that fails or is silent does not keep the next one from being asked.
func TestServersInTurn(t *testing.T) {
	t.Parallel()
	broken := dnstest.Serve(t, "example SERVFAIL")
	slow := dnstest.Serve(t, "example SILENT")
	good := dnstest.Serve(t, "p1.example A 127.0.0.1")
	const patience = time.Second // for the answers of the good one on a busy machine
	r := New(Options{Servers: []string{broken, slow, good}, Timeout: patience})
	if got, err := r.Addresses(t.Context(), "p1.example"); err != nil || fmt.Sprint(got) != "[127.0.0.1]" {
		t.Errorf("got %v, %v", got, err)
	}
	r = New(Options{Servers: []string{broken, slow}, Timeout: patience})
	want := "p1.example: dns server " + broken + ": server misbehaving, dns server " + slow + " does not answer"
	if _, err := r.Addresses(t.Context(), "p1.example"); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// That a name is not there is an answer: the next server would only repeat it.
func TestNotFoundIsAnswer(t *testing.T) {
	t.Parallel()
	second := dnstest.New(t, "p1.example A 127.0.0.1")
	r := New(Options{Servers: []string{dnstest.Serve(t), second.Addr()}})
	_, err := r.Addresses(t.Context(), "p1.example")
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != NoAddress || !e.Temporary() {
		t.Errorf("got %v", err)
	}
	if asked := second.Asked(); len(asked) > 0 {
		t.Errorf("the second server was asked %v", asked)
	}
}

func TestCallerEnds(t *testing.T) {
	t.Parallel()
	s := dnstest.New(t, "slow.example SILENT")
	ctx, cancel := contextOf(t)
	go func() {
		<-s.Silenced()
		cancel()
	}()
	_, err := New(Options{Servers: []string{s.Addr()}}).Targets(ctx, "slow.example", Server)
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Failed || !errors.Is(err, ctx.Err()) {
		t.Errorf("got %v", err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	r := asking(t, "a.example A 192.0.2.1", "a.example A 192.0.2.2", "a.example A 192.0.2.3", "a.example AAAA 2001:db8::1",
		"v4.example A 192.0.2.1", "www.example CNAME v4.example")
	for host, want := range map[string]string{
		// RFC 8305 §4: the families in turn, IPv6 first. The order within one is the system's.
		"a.example":       "6 4 4 4",
		"v4.example":      "4",
		"www.example":     "4",
		"localhost":       "6 4",
		"x.localhost":     "6 4",
		"[2001:db8::1]":   "6",
		"2001:db8::1":     "6",
		"::ffff:10.0.0.1": "6", // as it was given; Dial sees through it
		"192.0.2.1":       "4",
	} {
		addrs, err := r.Addresses(t.Context(), host)
		var got []string
		for _, a := range addrs {
			got = append(got, map[bool]string{true: "4", false: "6"}[a.Is4()])
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %v, %v", host, addrs, err)
		}
	}
}

func TestAddressesBounded(t *testing.T) {
	t.Parallel()
	var records []string
	for i := range 50 {
		records = append(records, fmt.Sprintf("a.example A 192.0.2.%d", i),
			fmt.Sprintf("_xmpp-server._tcp.a.example SRV 0 1 %d a.example", 1+i))
	}
	r := asking(t, records...)
	if got, err := r.Addresses(t.Context(), "a.example"); err != nil || len(got) != maxAddresses {
		t.Errorf("%d addresses, %v", len(got), err)
	}
	if got, err := r.Targets(t.Context(), "a.example", Server); err != nil || len(got) != maxTargets {
		t.Errorf("%d targets, %v", len(got), err)
	}
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	prohibited := []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("::1/128"),
	}
	for addr, want := range map[string]error{
		"127.0.0.1":        errProhibited,
		"::ffff:127.0.0.1": errProhibited, // connects to 127.0.0.1
		"fe80::1%eth0":     errProhibited, // a zone makes no other address
		"10.1.2.3":         errProhibited,
		"::ffff:10.1.2.3":  errProhibited,
		"::1":              errProhibited,
		"0.0.0.0":          errUnspecified, // connects to loopback on most systems
		"::":               errUnspecified,
		"::ffff:0.0.0.0":   errUnspecified,
		"192.0.2.1":        nil,
		"2001:db8::1":      nil,
	} {
		if got := refuse(netip.MustParseAddr(addr), prohibited); !errors.Is(got, want) {
			t.Errorf("%s: %v", addr, got)
		}
	}
}
