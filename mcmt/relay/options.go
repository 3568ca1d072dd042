package relay

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/mcmt"
)

// TLSMode says whether connections are protected.
type TLSMode uint8

// TLS where the host offers it, always, or never. A host whose handshake fails is
// spoken to in clear text for some minutes where TLS is not required, no certificate
// is asked for and no password is to be sent.
const (
	TLSIfAvailable TLSMode = iota
	TLSRequired
	TLSNever
)

// VerifyMode says what a host's certificate must be.
type VerifyMode uint8

// Any certificate will do; one that an authority has signed; one that names the
// host, as an MX record or SmartHost writes it, too.
const (
	VerifyNone VerifyMode = iota
	VerifyCA
	VerifyHost
)

// Resolver finds hosts. *net.Resolver is one, and NewResolver makes another.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options are how mail is sent. The zero value delivers to the MX hosts that the
// system's DNS servers name, over TLS where they have it.
type Options struct {
	// Hostname is what EHLO says (RFC 5321 §4.1.1.1). Empty: the system's.
	Hostname string
	// SmartHost, host:port, gets all mail; at port 465 over TLS from the first byte
	// (RFC 8314 §3.3). Empty: the MX hosts of each recipient's domain get it.
	SmartHost string
	// User logs in at SmartHost with Password. Both are ignored without SmartHost.
	// Empty: no login. Without TLS that is done on loopback only.
	User, Password string

	TLS    TLSMode
	Verify VerifyMode
	// Roots are the authorities. Nil: the system's.
	Roots *x509.CertPool

	// MaxConnections is how many connections are open to one host at once. Zero: 20.
	MaxConnections int
	// IdleTimeout is how long an unused connection is kept. Zero: 1 minute; negative:
	// none is kept.
	IdleTimeout time.Duration
	// Prohibited are addresses that are never connected to.
	Prohibited []netip.Prefix
	// Resolver finds hosts. Nil: the system's.
	Resolver Resolver
	// Log gets the wire at level debug, secrets blanked, and what an operator should
	// know of a host as a warning. What becomes of a message is the caller's to log.
	Log zerolog.Logger
}

// Message is one message for one recipient.
type Message struct {
	From       string // reverse-path without angle brackets; empty is the null path
	To         mcmt.Recipient
	EnvelopeID string // DSN ENVID, decoded; empty for none
	Return     string // DSN RET: "FULL", "HDRS" or empty
	UTF8       bool   // it came with SMTPUTF8 (RFC 6531): addresses or header may be UTF-8
	Raw        []byte // header and body; not kept, not changed
}

// Result is what came of a message that was taken.
type Result struct {
	Host  string // that took it, host:port
	Reply string // its last reply, on one line
	TLS   bool   // the connection was protected
	// DSN says that the host has the recipient's NOTIFY and ORCPT and the message's
	// RET and ENVID, and reports its delivery itself (RFC 3461 §5.2.1). Where it does
	// not, and success was asked for, that the message was relayed is ours to report
	// (§5.2.2).
	DSN  bool
	Took time.Duration
}

// The waits of RFC 5321 §4.5.3.2. All of them end with the context.
const (
	connectTimeout   = 30 * time.Second // for each address; the system's would be minutes
	greetingTimeout  = 5 * time.Minute
	handshakeTimeout = 1 * time.Minute
	commandTimeout   = 5 * time.Minute
	dataTimeout      = 2 * time.Minute // for the answer to DATA
	blockTimeout     = 3 * time.Minute // for each write of the message
	endTimeout       = 10 * time.Minute
	quitTimeout      = 5 * time.Second // nothing depends on the farewell
)

func (o *Options) maxConnections() int {
	if o.MaxConnections > 0 {
		return o.MaxConnections
	}
	return 20
}

func (o *Options) idleTimeout() time.Duration {
	if o.IdleTimeout != 0 {
		return o.IdleTimeout
	}
	return time.Minute
}

func (o *Options) hostname() string {
	if o.Hostname != "" {
		return o.Hostname
	}
	return helloName()
}

// login says whether a password is to be sent.
func (o *Options) login() bool { return o.SmartHost != "" && o.User != "" }
