package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/idna"
)

// maxAddresses is how many addresses of one host are tried.
const maxAddresses = 8

// server is one DNS server, or those of the system.
type server struct {
	name string // host:port; "" for the system's
	net  *net.Resolver
}

func newServer(addr string) server {
	return server{addr, &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, system string) (net.Conn, error) {
		if addr != "" {
			system = addr
		}
		c, err := new(net.Dialer).DialContext(ctx, network, system)
		if err == nil {
			// The standard library waits for its own timeout, not for the context. The
			// connection must not be wrapped: its type tells UDP from TCP there.
			context.AfterFunc(ctx, func() { _ = c.Close() }) // also after its use, to no effect
		}
		return c, err
	}}}
}

// srv returns the SRV records of a service, none if there are none.
func (r *Resolver) srv(ctx context.Context, service, domain string) ([]record, error) {
	name, err := ascii(domain)
	if err != nil || isLocalhost(name) {
		return nil, nil // a name that the DNS cannot hold has no records
	}
	return r.records.get(service+" "+name, func() ([]record, error) {
		return ask(ctx, r, domain, func(ctx context.Context, n *net.Resolver) ([]record, error) {
			_, srv, err := n.LookupSRV(ctx, service, "tcp", name+".")
			var all []record
			for _, s := range srv {
				t := Target{Host: strings.ToLower(strings.TrimSuffix(s.Target, ".")), Port: s.Port}
				all = append(all, record{t, s.Priority, s.Weight})
			}
			if len(all) > 0 {
				return all, nil // beside some that are malformed
			}
			return nil, err
		})
	})
}

// Addresses returns the addresses of a host in the order in which Dial tries them:
// the families in turn, IPv6 first (RFC 8305 §4), at most eight. The error is an
// *Error.
func (r *Resolver) Addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := r.addresses(ctx, host)
	if err == nil && len(addrs) == 0 {
		return nil, &Error{Kind: NoAddress, Name: host}
	}
	return addrs, err
}

// addresses is Addresses, without an error if there are none.
func (r *Resolver) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.Addr{a}, nil
	}
	name, err := ascii(host)
	if err != nil {
		return nil, nil // as in srv
	}
	if isLocalhost(name) {
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	}
	return r.addrs.get(name, func() ([]netip.Addr, error) { return r.families(ctx, host, name) })
}

// families asks for both families at once (RFC 8305 §3). One is enough: a server
// that fails for the other shall not keep a host away. It waits for both: what is
// connected here stays connected, so the beginning does not count.
func (r *Resolver) families(ctx context.Context, host, name string) ([]netip.Addr, error) {
	lookup := func(network string) ([]netip.Addr, error) {
		return ask(ctx, r, host, func(ctx context.Context, n *net.Resolver) ([]netip.Addr, error) {
			addrs, err := n.LookupNetIP(ctx, network, name+".")
			for i, a := range addrs {
				addrs[i] = a.Unmap() // those of the table of hosts may be of IPv4 within IPv6
			}
			return addrs, err
		})
	}
	var v6, v4 []netip.Addr
	var err6, err4 error
	var both sync.WaitGroup
	both.Go(func() { v6, err6 = lookup("ip6") })
	both.Go(func() { v4, err4 = lookup("ip4") })
	both.Wait()
	all := interleave(v6, v4)
	switch {
	case len(all) > 0:
		return all[:min(len(all), maxAddresses)], nil
	case err4 != nil:
		return nil, err4
	}
	return nil, err6
}

// interleave takes one of each in turn, as long as both have one (RFC 8305 §4).
func interleave(a, b []netip.Addr) (all []netip.Addr) {
	for len(a) > 0 && len(b) > 0 {
		all = append(all, a[0], b[0])
		a, b = a[1:], b[1:]
	}
	return append(append(all, a...), b...)
}

// ask puts a question to one server after the other until one answers. That there
// is nothing is an answer, and no error. The error is an *Error.
func ask[T any](ctx context.Context, r *Resolver, name string, question func(context.Context, *net.Resolver) ([]T, error)) ([]T, error) {
	var failed []string
	silent := 0
	for _, s := range r.servers {
		limited, cancel := context.WithTimeout(ctx, r.timeout)
		got, err := question(limited, s.net)
		late := limited.Err() != nil
		cancel()
		dnsErr, _ := errors.AsType[*net.DNSError](err)
		_, unfit := errors.AsType[*net.AddrError](err) // only addresses of IPv4 within IPv6
		switch {
		case err == nil:
			return got, nil
		case ctx.Err() != nil:
			return nil, &Error{Kind: Failed, Name: name, Err: ctx.Err()}
		case unfit, dnsErr != nil && dnsErr.IsNotFound:
			return nil, nil
		case late, dnsErr != nil && dnsErr.IsTimeout:
			silent++
			failed = append(failed, s.title(dnsErr)+" does not answer")
		case dnsErr != nil:
			failed = append(failed, s.title(dnsErr)+": "+dnsErr.Err)
		default:
			failed = append(failed, s.title(nil)+": "+err.Error())
		}
	}
	e := &Error{Kind: Failed, Name: name, Err: errors.New(strings.Join(failed, ", "))}
	if silent == len(failed) {
		e.Kind = Silent
	}
	return nil, e
}

// isLocalhost reports whether a name is the machine itself, which no DNS server is
// asked for (RFC 6761 §6.3 rule 3).
func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// title names the server in an error.
func (s server) title(err *net.DNSError) string {
	switch {
	case s.name != "":
		return "dns server " + s.name
	case err != nil && err.Server != "":
		return "dns server " + err.Server
	}
	return "the system's dns server"
}

// ascii returns a name as the DNS holds it: in A-labels, in lower case.
func ascii(name string) (string, error) {
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			return idna.Lookup.ToASCII(name)
		}
	}
	return strings.ToLower(name), nil
}
