package dnstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// resolver is the standard library's, which asks the server only. It waits for an
// answer until its own timeout whatever becomes of the context, so the end of that
// closes the connection.
func resolver(addr string) *net.Resolver {
	return &net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			context.AfterFunc(ctx, func() { _ = c.Close() })
		}
		return c, err
	}}
}

func TestServeRecords(t *testing.T) {
	t.Parallel()
	r := resolver(Serve(t,
		"_xmpp-server._tcp.P1.example SRV 10 5 5269 localhost",
		"_xmpps-server._tcp.p1.example SRV 0 0 0 .",
		"p1.example A 127.0.0.1",
		"p1.example AAAA ::1",
		"www.p1.example CNAME p1.example",
	))
	_, srv, err := r.LookupSRV(t.Context(), "xmpp-server", "tcp", "p1.example")
	if err != nil || len(srv) != 1 || *srv[0] != (net.SRV{Target: "localhost.", Port: 5269, Priority: 10, Weight: 5}) {
		t.Errorf("SRV: %v, %v", srv, err)
	}
	_, srv, err = r.LookupSRV(t.Context(), "xmpps-server", "tcp", "p1.example")
	if err != nil || len(srv) != 1 || srv[0].Target != "." {
		t.Errorf("SRV that says no: %v, %v", srv, err)
	}
	for _, name := range []string{"p1.example.", "www.p1.example."} {
		addrs, err := r.LookupNetIP(t.Context(), "ip", name)
		slices.SortFunc(addrs, netip.Addr.Compare)
		if err != nil || fmt.Sprint(addrs) != "[127.0.0.1 ::1]" {
			t.Errorf("addresses of %s: %v, %v", name, addrs, err)
		}
	}
}

// The client of the standard library does not tell a name that does not exist from
// one without data (RFC 2308 §2): TestFind does.
func TestServeFailures(t *testing.T) {
	t.Parallel()
	s := New(t, "_xmpp-server._tcp.p1.example SRV 0 0 5269 localhost", "broken.example SERVFAIL",
		"well.broken.example A 127.0.0.1")
	r := resolver(s.Addr())
	for name, want := range map[string]string{
		"p1.example.":          "none",
		"none.example.":        "none",
		"broken.example.":      "temporary",
		"a.b.broken.example.":  "temporary",
		"well.broken.example.": "",
	} {
		_, err := r.LookupNetIP(t.Context(), "ip4", name)
		var got *net.DNSError
		switch ok := errors.As(err, &got); {
		case want == "" && err != nil, want != "" && !ok:
			t.Errorf("%s: %v", name, err)
		case want == "temporary" && (!got.IsTemporary || got.IsNotFound), want == "none" && !got.IsNotFound:
			t.Errorf("%s: want %s, got %#v", name, want, got)
		}
	}
}

// RFC 2308 §2, RFC 8020 §2.
func TestFind(t *testing.T) {
	t.Parallel()
	z, err := parse([]string{"_xmpp-server._tcp.p1.example SRV 0 0 5269 localhost", "a.example CNAME b.example", "b.example CNAME a.example"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]dnsmessage.RCode{
		"_xmpp-server._tcp.p1.example.":  dnsmessage.RCodeSuccess, // no address, but records
		"p1.example.":                    dnsmessage.RCodeSuccess, // a name above
		"_xmpps-server._tcp.p1.example.": dnsmessage.RCodeNameError,
		"a.example.":                     dnsmessage.RCodeSuccess, // a loop ends
	} {
		got := z.find(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA})
		if got.code != want {
			t.Errorf("%s: %v, want %v", name, got.code, want)
		}
	}
}

func TestServeSilence(t *testing.T) {
	t.Parallel()
	s := New(t, "slow.example SILENT")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := resolver(s.Addr()).LookupNetIP(ctx, "ip4", "slow.example.")
		done <- err
	}()
	select {
	case <-s.Silenced():
	case err := <-done:
		t.Fatalf("before the question came: %v", err)
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("a silent name was answered")
	}
	if got := s.Asked()[0]; got != "slow.example A" {
		t.Errorf("asked: %q", got)
	}
}

// RFC 1035 §4.2.1: what does not fit a datagram is asked for again over TCP.
func TestServeTruncates(t *testing.T) {
	t.Parallel()
	var records []string
	for i := range 40 {
		records = append(records, fmt.Sprintf("_xmpp-server._tcp.p1.example SRV %d 0 5269 host%d.p1.example", i, i))
	}
	_, srv, err := resolver(Serve(t, records...)).LookupSRV(t.Context(), "xmpp-server", "tcp", "p1.example")
	if err != nil || len(srv) != 40 {
		t.Errorf("%d records, %v", len(srv), err)
	}
}

func TestSet(t *testing.T) {
	t.Parallel()
	s := New(t, "p1.example A 127.0.0.1")
	s.Set(t, "p1.example A 127.0.0.2")
	got, err := resolver(s.Addr()).LookupNetIP(t.Context(), "ip4", "p1.example.")
	if err != nil || fmt.Sprint(got) != "[127.0.0.2]" {
		t.Errorf("after a change: %v, %v", got, err)
	}
}

func TestBadRecords(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"p1.example", "p1.example TXT mail", "p1.example A ::1", "p1.example AAAA 127.0.0.1", "p1.example A",
		"x SRV 1 2 65536 localhost", "x SRV 1 2 3", "p1.example A one",
		strings.Repeat("a", 300) + " A 127.0.0.1",
	} {
		if _, err := parse([]string{line}); err == nil {
			t.Errorf("%q was taken", line)
		}
	}
}
