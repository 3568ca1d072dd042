package link

import (
	"net"
	"testing"

	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/dnstest"
)

// TestDNS: the servers of an account's domain are those of its SRV records (RFC 6120
// §3.2.1); one that cannot be reached does not count.
func TestDNS(t *testing.T) {
	t.Parallel()
	p := serveAccounts(t, c2s.ConnOptions{})
	_, port, err := net.SplitHostPort(p.address)
	if err != nil {
		t.Fatal(err)
	}
	zone := dnstest.New(t, "_xmpp-client._tcp.p1.example SRV 0 5 1 localhost", "_xmpp-client._tcp.p1.example SRV 10 5 "+port+" localhost")
	n := p.link(func(o *Options) {
		o.Address = ""
		o.Resolver = func() Resolver { return dns.New(dns.Options{Servers: []string{zone.Addr()}}) }
	})
	<-n.ups
}

// TestNoDNS: the state says that no server could be found.
func TestNoDNS(t *testing.T) {
	t.Parallel()
	p := serveAccounts(t, c2s.ConnOptions{})
	zone := dnstest.New(t, "_xmpp-client._tcp.p1.example SRV 0 5 0 .")
	n := p.link(func(o *Options) {
		o.Address = ""
		o.Resolver = func() Resolver { return dns.New(dns.Options{Servers: []string{zone.Addr()}}) }
	})
	if st := n.fails(); st.Failure.Step != StepDNS {
		t.Errorf("%+v", st.Failure)
	}
}
