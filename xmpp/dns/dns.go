// Package dns finds the servers of a domain (RFC 6120 §3.2, XEP-0368) and connects
// to them: SRV records of both services in one order, the domain itself where there
// are none, IPv6 and IPv4 raced (RFC 8305), and never an address that the operator
// forbids. It asks the system's DNS servers or given ones.
package dns

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// Service is what a domain is asked for, by the name of its SRV records (RFC 6120
// §14.7 and §14.8).
type Service string

// The services. Over TLS from the first byte their names are "xmpps-…" (XEP-0368 §3).
const (
	Server Service = "xmpp-server"
	Client Service = "xmpp-client"
)

// direct is the service with TLS from the first byte (XEP-0368 §3).
func (s Service) direct() string { return "xmpps" + string(s)[len("xmpp"):] }

// port is where the service is if no SRV record says otherwise (RFC 6120 §3.2.2).
func (s Service) port() uint16 {
	if s == Client {
		return 5222
	}
	return 5269
}

// Target is one server of a domain, not yet resolved.
type Target struct {
	Host   string // a name, or an address without brackets
	Port   uint16
	Direct bool // TLS from the first byte, and no STARTTLS (XEP-0368 §3)
	Given  bool // by a route of the configuration, not by the DNS
}

// Options are how a Resolver asks. The zero value asks the system's servers.
type Options struct {
	// Servers are the DNS servers, "host:port", asked one after the other until one
	// answers. None: those of the system. The system's table of hosts counts in
	// both cases.
	Servers []string
	// Timeout is the longest that one server is waited for; 0: 10 seconds, which is
	// two attempts of the system's usual 5.
	Timeout time.Duration
	// Attempt is the longest that one address is waited for; 0: 15 seconds.
	Attempt time.Duration
}

// Resolver finds servers and connects to them. It keeps what it was told for a
// minute: the standard library does not say for how long an answer holds, and a
// minute is short beside what the owners of domains allow for a change. That there
// are no records is kept too, failures are not. Its methods may be called at once.
type Resolver struct {
	servers []server
	timeout time.Duration
	delay   time.Duration // RFC 8305 §5: the Connection Attempt Delay
	intN    func(n int) int
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)

	records cache[[]record]
	addrs   cache[[]netip.Addr]
}

// New returns a Resolver.
func New(o Options) *Resolver {
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Attempt <= 0 {
		o.Attempt = 15 * time.Second
	}
	r := &Resolver{
		timeout: o.Timeout,
		delay:   250 * time.Millisecond, // as RFC 8305 §8 recommends
		intN:    rand.IntN,
		dial:    (&net.Dialer{Timeout: o.Attempt}).DialContext,
	}
	for _, addr := range o.Servers {
		r.servers = append(r.servers, newServer(addr))
	}
	if len(r.servers) == 0 {
		r.servers = []server{newServer("")}
	}
	return r
}
