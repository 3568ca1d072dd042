package listener

import (
	"net/netip"
	"strings"
	"testing"
)

func TestForwarded(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48"), netip.MustParsePrefix("127.0.0.0/8")}
	for name, tt := range map[string]struct {
		conn   string // empty: a Unix socket
		fields []string
		want   string // empty: unknown
	}{
		"no proxy":                         {"192.0.2.1", nil, "192.0.2.1"},
		"no proxy, but it says so":         {"192.0.2.1", []string{"127.0.0.1"}, "192.0.2.1"},
		"a proxy for itself":               {"10.0.0.1", nil, "10.0.0.1"},
		"a client":                         {"10.0.0.1", []string{"192.0.2.1"}, "192.0.2.1"},
		"a client that lies":               {"10.0.0.1", []string{"127.0.0.1, 10.9.9.9, 192.0.2.1"}, "192.0.2.1"},
		"a client that lies in a field":    {"10.0.0.1", []string{"127.0.0.1", "192.0.2.1"}, "192.0.2.1"},
		"two proxies":                      {"10.0.0.1", []string{"198.51.100.1, 192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"two proxies, in two fields":       {"10.0.0.1", []string{"192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		"all of them trusted":              {"10.0.0.1", []string{"10.0.0.3,10.0.0.2"}, "10.0.0.3"},
		"IPv6":                             {"2001:db8:f::1", []string{"2001:db8::7"}, "2001:db8::7"},
		"IPv4 within IPv6":                 {"::ffff:10.0.0.1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		"a port":                           {"10.0.0.1", []string{"192.0.2.1:4711"}, "192.0.2.1"},
		"brackets":                         {"10.0.0.1", []string{"[2001:db8::7]"}, "2001:db8::7"},
		"brackets and a port":              {"10.0.0.1", []string{"[2001:db8::7]:4711"}, "2001:db8::7"},
		"a Unix socket":                    {"", []string{"192.0.2.1"}, "192.0.2.1"},
		"loopback by a proxy on loopback":  {"127.0.0.1", []string{"127.0.0.1"}, "127.0.0.1"},
		"loopback by another machine":      {"10.0.0.1", []string{"127.0.0.1"}, ""},
		"loopback, IPv6":                   {"10.0.0.1", []string{"::1"}, ""},
		"no address":                       {"10.0.0.1", []string{"unknown"}, ""},
		"no address, right of one":         {"127.0.0.1", []string{"192.0.2.1, unix:"}, ""},
		"no address, left of the client":   {"10.0.0.1", []string{"gar<bage, 192.0.2.1"}, "192.0.2.1"},
		"an empty field":                   {"10.0.0.1", []string{""}, "10.0.0.1"},
		"an empty entry":                   {"10.0.0.1", []string{"192.0.2.1,"}, ""},
		"brackets that do not close":       {"10.0.0.1", []string{"[2001:db8::7"}, ""},
		"an address that nobody has":       {"10.0.0.1", []string{"0.0.0.0"}, ""},
		"a group":                          {"10.0.0.1", []string{"224.0.0.1"}, ""},
		"a zone, which means nothing here": {"10.0.0.1", []string{"fe80::1%eth0"}, "fe80::1"},
		"a chain without end":              {"10.0.0.1", []string{strings.Repeat("10.0.0.2,", 1000) + "10.0.0.2"}, ""},
	} {
		var conn netip.Addr
		if tt.conn != "" {
			conn = netip.MustParseAddr(tt.conn)
		}
		got, err := Forwarded(conn, trusted, tt.fields)
		if want := tt.want; want == "" && (err == nil || got != netip.IPv4Unspecified()) || want != "" && (err != nil || got.String() != want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "10.0.0.1, [::1]:5", "unknown", ",", "::ffff:10.0.0.1"} {
		f.Add(s)
	}
	conn := netip.MustParseAddr("10.0.0.1")
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, field string) {
		got, err := Forwarded(conn, trusted, []string{field})
		if got.IsLoopback() || got.Is4In6() || (err != nil) != got.IsUnspecified() {
			t.Errorf("%q: %v, %v", field, got, err)
		}
		// Whatever a client writes before it, what the proxy appends counts.
		if got, err := Forwarded(conn, trusted, []string{field + ", 192.0.2.1"}); err != nil || got.String() != "192.0.2.1" {
			t.Errorf("%q and an address: %v, %v", field, got, err)
		}
	})
}
