package certificate

import (
	"crypto/x509"
	"net/netip"
	"strings"

	"golang.org/x/net/idna"

	"mcmt2xmpp/xmpp/jid"
)

// Match reports whether a certificate names a domain for a service, "xmpp-server"
// or "xmpp-client" (RFC 6120 §13.7.1.2 and §13.7.2): by a dNSName, an SRVName of the
// service, an xmppAddr that is the domain, or for an address the address. It does
// not say that the certificate may be believed.
func Match(leaf *x509.Certificate, domain, service string) bool {
	return match(leaf, domain, service, false)
}

// match is Match; dnsOnly leaves out what authorities are not bound in.
func match(leaf *x509.Certificate, domain, service string, dnsOnly bool) bool {
	want, err := jid.New("", domain, "")
	if err != nil {
		return false
	}
	domain = want.Domain()
	if addr, err := netip.ParseAddr(strings.Trim(domain, "[]")); err == nil {
		return names(leaf, addr)
	}
	// Both sides are compared in A-labels (RFC 6125 §6.4.2).
	host, err := ascii(domain)
	if err != nil {
		return false
	}
	id := Identities(leaf)
	for _, name := range id.DNS {
		if matchName(name, host) {
			return true
		}
	}
	if dnsOnly {
		return false
	}
	for _, name := range id.SRV {
		// RFC 6125 §6.5.1: the service must be the one asked for.
		if s, rest, ok := strings.Cut(name, "."); ok && strings.EqualFold(s, "_"+service) && matchName(rest, host) {
			return true
		}
	}
	for _, text := range id.XMPP {
		if j, err := jid.Parse(text); err == nil && j == want {
			return true
		}
	}
	return false
}

// names reports whether a certificate names an address.
func names(leaf *x509.Certificate, addr netip.Addr) bool {
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap() == addr.Unmap() {
			return true
		}
	}
	return false
}

// matchName compares a name of a certificate with a host in A-labels and lower case.
// A wildcard stands for one label, the left-most, and for all of it (RFC 6125
// §6.4.3); it must leave two labels, so that "*.org" is nobody's.
func matchName(name, host string) bool {
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	parent, wild := strings.CutPrefix(name, "*.")
	if !wild {
		return name == host
	}
	_, rest, _ := strings.Cut(host, ".")
	return parent == rest && strings.Contains(parent, ".")
}

// ascii returns a domain of a JID in A-labels.
func ascii(domain string) (string, error) {
	if isASCII([]byte(domain)) {
		return domain, nil // jid has checked it, and lets an underscore pass
	}
	return idna.Lookup.ToASCII(domain)
}
