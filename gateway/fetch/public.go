package fetch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// special are the addresses that are not, or not always, those of a host anywhere in
// the Internet (RFC 6890, and the registries of IANA that continue it).
var special = prefixes(
	"0.0.0.0/8",         // this network (RFC 791); Linux takes it for loopback
	"10.0.0.0/8",        // private (RFC 1918)
	"100.64.0.0/10",     // behind a carrier's NAT (RFC 6598)
	"127.0.0.0/8",       // loopback (RFC 1122)
	"169.254.0.0/16",    // link-local (RFC 3927): where clouds tell secrets
	"172.16.0.0/12",     // private
	"192.0.0.0/24",      // protocol assignments (RFC 6890)
	"192.0.2.0/24",      // documentation (RFC 5737)
	"192.31.196.0/24",   // AS112 (RFC 7535)
	"192.52.193.0/24",   // AMT (RFC 7450)
	"192.88.99.0/24",    // 6to4 relays (RFC 7526)
	"192.168.0.0/16",    // private
	"192.175.48.0/24",   // AS112 (RFC 7534)
	"198.18.0.0/15",     // benchmarks (RFC 2544)
	"198.51.100.0/24",   // documentation
	"203.0.113.0/24",    // documentation
	"224.0.0.0/4",       // multicast (RFC 5771)
	"240.0.0.0/4",       // reserved (RFC 1112), and broadcast
	"2001::/23",         // protocol assignments (RFC 2928), Teredo among them, which holds an IPv4 address
	"2001:db8::/32",     // documentation (RFC 3849)
	"2002::/16",         // 6to4 (RFC 3056), which holds an IPv4 address
	"2620:4f:8000::/48", // AS112
	"3fff::/20",         // documentation (RFC 9637)
)

// unicast is the part of IPv6 that is given to hosts (RFC 4291 §2.4). Outside are
// loopback, mapped addresses, NAT64 (RFC 6052, RFC 8215), unique local (RFC 4193),
// link-local and multicast ones.
var unicast = netip.MustParsePrefix("2000::/3")

func prefixes(all ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(all))
	for i, s := range all {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// Public reports whether addr is that of a host which anybody in the Internet reaches.
// An IPv4 address in the form of IPv6 (RFC 4291 §2.5.5.2) is judged as IPv4.
func Public(addr netip.Addr) bool {
	if addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	if !addr.IsValid() || addr.Is6() && !unicast.Contains(addr) {
		return false
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// dialPublic connects to a public address. It judges once more, what the system is
// about to connect to.
func dialPublic(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	// One that does not answer leaves time for the next.
	d := net.Dialer{Timeout: 10 * time.Second, Control: func(network, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !Public(at.Addr()) {
			return refuse(ErrForbidden, "not a public address")
		}
		return nil
	}}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}
