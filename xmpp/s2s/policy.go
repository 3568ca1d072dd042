package s2s

import (
	"crypto/x509"
	"net/netip"
	"time"

	"mcmt2xmpp/xmpp/dns"
)

// TLSPolicy says whether streams with a domain are protected.
type TLSPolicy uint8

// TLS is used where the other side has it, always, or never.
const (
	TLSIfAvailable TLSPolicy = iota
	TLSRequired
	TLSNever
)

// VerifyPolicy says what a certificate must be, beside being shown.
type VerifyPolicy uint8

// Any certificate will do, as dialback proves the domain; one that a known authority
// has signed; one that names the domain too.
const (
	VerifyNone VerifyPolicy = iota
	VerifyCA
	VerifyHost
)

// Policy is what holds towards another domain. The zero value allows streams both ways,
// with TLS where the other side has it.
type Policy struct {
	// Deny refuses streams to and from the domain.
	Deny   bool
	TLS    TLSPolicy
	Verify VerifyPolicy
	// Roots are the authorities. Nil: the system's.
	Roots *x509.CertPool
	// Routes are the domain's servers, instead of those that the DNS names.
	Routes []dns.Target
	// Prohibited are addresses that are never connected to.
	Prohibited []netip.Prefix
	// Connections is how many we open to the domain at once. Zero: 20.
	Connections int
	// Idle is the silence after which we close a stream that we opened. Zero: 10 min.
	Idle time.Duration
	// Retry and MaxRetry are the first and the longest pause after a failure. Zero: 2 s,
	// 30 min.
	Retry, MaxRetry time.Duration
}

func (p Policy) orDefault() Policy {
	if p.Connections <= 0 {
		p.Connections = 20
	}
	if p.Idle <= 0 {
		p.Idle = 10 * time.Minute
	}
	if p.Retry <= 0 {
		p.Retry = 2 * time.Second
	}
	if p.MaxRetry <= 0 {
		p.MaxRetry = 30 * time.Minute
	}
	return p
}

// policy is that of a domain.
func (v *Server) policy(domain string) Policy { return v.o.Policy(domain).orDefault() }
