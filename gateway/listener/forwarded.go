package listener

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// ErrForwarded is why nothing is known of a client behind a proxy.
var ErrForwarded = errors.New("X-Forwarded-For of a trusted proxy cannot be read")

// maxHops bounds the chain of proxies that is followed.
const maxHops = 32

// Forwarded returns who is at the other end of a chain of proxies: conn is whom the
// connection comes from, and fields are the values of its X-Forwarded-For, to which
// each proxy appends whom it has got the request from. Read from the right, that is the
// first address that is none of the proxies' that we trust: what stands left of it
// anybody can have written. If all are trusted it is the left-most. From a connection
// that is not of a trusted proxy nothing is believed.
//
// Where a proxy does not say it in a way that can be read, the client is unknown: with
// ErrForwarded comes 0.0.0.0, which has no right of the proxy's, nor of ours. A loopback
// address is the proxy's own machine, so from another one it is no client either.
func Forwarded(conn netip.Addr, trusted []netip.Prefix, fields []string) (netip.Addr, error) {
	if !conn.IsValid() { // a Unix socket
		conn = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	conn = conn.Unmap().WithZone("")
	client := conn
	rest := strings.Join(fields, ",") // RFC 9110 §5.3: several fields are one list
	for hop := 0; within(trusted, client); hop++ {
		if rest == "" {
			return client, nil
		}
		at := strings.LastIndexByte(rest, ',')
		entry := rest[at+1:]
		rest = rest[:max(at, 0)]
		var ok bool
		client, ok = forwardedAddr(entry)
		if !ok || hop >= maxHops || client.IsLoopback() && !conn.IsLoopback() {
			return netip.IPv4Unspecified(), ErrForwarded
		}
	}
	return client, nil
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// forwardedAddr reads an entry: an address, with or without brackets and a port, which
// some proxies add.
func forwardedAddr(entry string) (netip.Addr, bool) {
	entry = strings.TrimSpace(entry)
	addr, err := netip.ParseAddr(entry)
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(entry)
		addr = withPort.Addr()
	}
	if inner, ok := strings.CutPrefix(entry, "["); err != nil && ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if addr, err = netip.ParseAddr(inner); !ok {
			return netip.Addr{}, false
		}
	}
	if err != nil {
		return netip.Addr{}, false
	}
	addr = addr.Unmap().WithZone("")
	return addr, !addr.IsUnspecified() && !addr.IsMulticast()
}
