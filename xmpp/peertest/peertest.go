// Package peertest runs real XMPP servers that nobody here wrote, Prosody and
// ejabberd, for tests: each with domains, accounts, certificates and ports of its
// own, and a DNS that leads them to one another and to whoever else takes part.
// Everything is on 127.0.0.1, in temporary folders, and ends with the test, also
// when that is killed.
//
// Where a server is not installed the test says which of Debian's packages has it
// and is skipped; where the environment has CI it fails.
package peertest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/dnstest"
)

// Patience bounds every wait. Only a failure waits so long.
const Patience = 60 * time.Second

// Password is that of every account.
const Password = "secret"

// Accounts are there on every virtual host.
var Accounts = []string{"alice", "bob", "carol", "dave"}

// Mode is how servers prove to each other who they are.
type Mode int

const (
	// Dialback is XEP-0220 within TLS whose certificates are self-signed, so that
	// nothing else can be a proof.
	Dialback Mode = iota

	// Plain is dialback in clear text: no server offers TLS to another.
	Plain

	// Certs is SASL EXTERNAL (XEP-0178) by certificates of the CA, and nothing
	// else: dialback is switched off.
	Certs
)

// String is the name of a subtest.
func (m Mode) String() string { return [...]string{"dialback", "plain", "certs"}[m] }

// Domain is one that a server answers for. Only Name is required.
type Domain struct {
	Name string

	// Secret makes it a domain of an external component (XEP-0114), which has to know it.
	Secret string

	// Certificate is what the domain shows to others in place of what the mode asks for.
	Certificate Certificate

	// DirectTLS has the DNS lead to a port where TLS is from the first byte, and to
	// no other (XEP-0368).
	DirectTLS bool
}

// Options of a network. A server without domains is not started.
type Options struct {
	Mode              Mode
	Prosody, Ejabberd []Domain

	// Others are domains for whom somebody else answers, such as the test: those of
	// each list at one address.
	Others [][]string

	// Records are more of the DNS, as for dnstest.New.
	Records []string

	// ChannelBinding has ejabberd offer its clients SCRAM-…-PLUS. COMPAT ejabberd 23:
	// it knows tls-unique only (RFC 9266 §3), and does not say so (XEP-0440).
	ChannelBinding bool

	// Bidi has Prosody offer streams in both directions (XEP-0288).
	Bidi bool
}

// Network is the servers and what they share.
type Network struct {
	// CA signs the certificates of the mode Certs.
	CA *CA

	// DNS leads from each domain to its server.
	DNS *dnstest.Server

	// Prosody and Ejabberd are nil where they have no domain.
	Prosody, Ejabberd *Server

	addrs   map[string]string // where others are, by domain
	records []string          // of the DNS
}

// Start starts the servers and waits until they listen. It skips short runs.
func Start(t testing.TB, o Options) *Network {
	t.Helper()
	if testing.Short() {
		t.Skip("real servers are asked in full runs only: under the race detector they take longer than all else")
	}
	n := &Network{addrs: make(map[string]string)}
	var servers []*Server
	if len(o.Prosody) > 0 {
		n.Prosody = newServer(t, findProsody(t), o, o.Prosody)
		servers = append(servers, n.Prosody)
	}
	if len(o.Ejabberd) > 0 {
		n.Ejabberd = newServer(t, findEjabberd(t), o, o.Ejabberd)
		servers = append(servers, n.Ejabberd)
	}
	records := append([]string{"localhost A 127.0.0.1"}, o.Records...)
	for _, domains := range o.Others {
		addr := Reserve(t)
		for _, d := range domains {
			n.addrs[d] = addr
			records = append(records, service(d, addr, false)...)
		}
	}
	for _, s := range servers {
		for _, d := range s.domains {
			records = append(records, service(d.Name, s.server(d), d.DirectTLS)...)
		}
	}
	n.CA, n.DNS, n.records = NewCA(t), dnstest.New(t, records...), records
	for _, s := range servers {
		s.install(n.CA, n.DNS.Addr())
		s.launch()
	}
	for _, s := range servers {
		s.await()
	}
	return n
}

// Addr is where a domain of Others is to be served, as host and port. The port is
// kept free for it.
func (n *Network) Addr(domain string) string {
	addr, ok := n.addrs[domain]
	if !ok {
		panic(domain + " is none of the others")
	}
	return addr
}

// Hide takes a domain, and all names below it, out of the DNS.
func (n *Network) Hide(t testing.TB, domain string) {
	t.Helper()
	n.records = slices.DeleteFunc(n.records, func(record string) bool {
		name, _, _ := strings.Cut(record, " ")
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
	n.DNS.Set(t, n.records...)
}

// service are the records that lead to a domain's server (RFC 6120 §3.2.1,
// XEP-0368). The target is localhost, since ejabberd asks only the system for
// addresses.
func service(domain, addr string, direct bool) []string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		panic(err) // an address of ours
	}
	name := "_xmpp-server"
	if direct {
		name = "_xmpps-server"
	}
	return []string{
		fmt.Sprintf("%s._tcp.%s SRV 10 5 %s localhost", name, domain, port),
		domain + " A 127.0.0.1",
	}
}
