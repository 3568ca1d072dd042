package smtpd

import (
	"context"
	"crypto/tls"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/mcmt"
)

// Options is what a Server needs. Only Sink must be set; every zero field takes
// the default named beside it.
type Options struct {
	// Hostname is our name in the greeting, the EHLO reply and Received
	// fields. Default "localhost".
	Hostname string
	// PostmasterDomain completes "RCPT TO:<postmaster>", which RFC 5321
	// §4.5.1 requires without a domain: our first domain. Default Hostname.
	PostmasterDomain string
	// Sink takes custody of messages. Its methods are called from many
	// goroutines at once, one call at a time per connection. They must return
	// when their context ends.
	Sink mcmt.Sink
	// Listener is the kind and address of the listener, for the Envelope and
	// the log: "esmtp_listener 127.0.0.1:2525".
	Listener string
	// Config returns the options of one peer. It is called once per
	// connection, so a changed configuration holds for the next connection. A
	// peer on a Unix socket is 127.0.0.1:0: who may open the socket file is a
	// local user. nil: the zero PeerOptions for everybody.
	Config func(peer netip.AddrPort) PeerOptions

	// CommandTimeout bounds the wait for one complete command line; bytes that
	// trickle in do not extend it. Default 5 min (RFC 5321 §4.5.3.2.7).
	CommandTimeout time.Duration
	// ReadTimeout bounds each single read inside a message. Default 3 min
	// (RFC 5321 §4.5.3.2.5).
	ReadTimeout time.Duration
	// DataTimeout bounds the transfer of one message as a whole, however
	// steadily it trickles. Default 10 min.
	DataTimeout time.Duration
	// WriteTimeout bounds each write to the peer. Default 1 min.
	WriteTimeout time.Duration
	// HandshakeTimeout bounds a TLS handshake. Default 30 s.
	HandshakeTimeout time.Duration
	// SinkTimeout bounds each call of the Sink. Default 1 min; a client waits
	// 10 min for the answer to its final dot (RFC 5321 §4.5.3.2.6).
	SinkTimeout time.Duration
	// Grace is how long messages being received when Serve's context ends may
	// take to finish. Default 10 s.
	Grace time.Duration

	// MaxConnections is the number of open connections, in all. Default 1000.
	MaxConnections int
	// MaxConnectionsPerAddress is the same for one IPv4 address or one IPv6
	// /64. Unix sockets are not counted here. Default 100.
	MaxConnectionsPerAddress int
	// MaxErrors is how many 4yz and 5yz replies a connection may collect
	// between two accepted messages before it is closed with 421. Default 100.
	MaxErrors int
	// MaxJunk is how many NOOP, RSET, VRFY, HELP and repeated EHLO commands
	// pass between two accepted messages before each counts as an error.
	// Default 100.
	MaxJunk int
	// MaxAuthFailures is how many failed AUTH exchanges a connection may have;
	// the last is answered 535 and then 421. Default 3.
	MaxAuthFailures int

	// Memory bounds the bytes of all message bodies being received. Default
	// 256 MiB. A body that finds no room waits up to MemoryWait and is then
	// refused with 452 4.3.1. It should be several times MaxMessageSize: a
	// growing body holds its old and new buffer for a moment.
	Memory int64
	// MemoryWait is how long a body waits for memory. Default 30 s.
	MemoryWait time.Duration

	Log zerolog.Logger
}

// PeerOptions is what holds for one peer. The zero value is the safe one: an
// untrusted peer, no TLS, no AUTH, MCMT untouched.
type PeerOptions struct {
	Deny                bool           // answered 554 5.7.1 and closed
	Reception           mcmt.Reception // what happens to an MCMT message
	Trusted             bool           // in relay_hosts
	TLS                 *tls.Config    // offers STARTTLS; nil: not offered. TLS 1.2 is the least even where it says less
	MaxMessageSize      int64          // bytes as sent, without dot-stuffing; 0: 10 MiB
	MaxRecipients       int            // per message; 0: 1000
	AuthRequired        bool           // MAIL is answered 530 before AUTH
	AllowAuthWithoutTLS bool           // offers AUTH in clear text too
	Authenticator       Authenticator  // nil: no AUTH
}

// Authenticator offers SASL mechanisms (RFC 4954). smtpd knows no mechanism
// itself, apart from LOGIN, which it plays on top of PLAIN.
type Authenticator interface {
	// Mechanisms names what may be offered, best first, on a connection with
	// that TLS state; nil is a connection without TLS.
	Mechanisms(state *tls.ConnectionState) []string
	// Start begins one exchange of a mechanism that Mechanisms named. ctx
	// holds for the whole exchange.
	Start(ctx context.Context, mechanism string, state *tls.ConnectionState) (Exchange, error)
}

// Exchange is the server side of one SASL exchange; github.com/emersion/go-sasl's
// Server with the name it proved.
type Exchange interface {
	// Next takes the client's response and returns the next challenge. The
	// first response is nil where the client sent no initial one. A challenge
	// returned with done is sent before success, as SMTP has no other way
	// (RFC 4954 §4). An error ends the exchange: with Temporary() true it is
	// answered 454 and not held against the peer, otherwise 535; an *AuthError says
	// more.
	Next(response []byte) (challenge []byte, done bool, err error)
	// Username is the authenticated name, once Next was done.
	Username() string
}

// AuthError is an error of an Exchange, or of its Start, by which an Authenticator
// bounds the guessing of passwords.
type AuthError struct {
	// Refused says that no password was tried, for the failures that came before.
	Refused bool
	// Delay is how long the answer waits.
	Delay time.Duration
	Err   error // why, for the log
}

// Error returns the text of Err.
func (e *AuthError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *AuthError) Unwrap() error { return e.Err }

// Temporary says whether the same attempt can succeed later.
func (e *AuthError) Temporary() bool { return e.Refused || temporary(e.Err) }

const (
	defaultMessageSize = 10 << 20
	defaultRecipients  = 1000
)

// orDefault returns v, or def where v was left zero (or makes no sense).
func orDefault[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// withDefaults fills in what was left zero.
func (o Options) withDefaults() Options {
	if o.Hostname == "" {
		o.Hostname = "localhost"
	}
	if o.PostmasterDomain == "" {
		o.PostmasterDomain = o.Hostname
	}
	if o.Config == nil {
		o.Config = func(netip.AddrPort) PeerOptions { return PeerOptions{} }
	}
	o.CommandTimeout = orDefault(o.CommandTimeout, 5*time.Minute)
	o.ReadTimeout = orDefault(o.ReadTimeout, 3*time.Minute)
	o.DataTimeout = orDefault(o.DataTimeout, 10*time.Minute)
	o.WriteTimeout = orDefault(o.WriteTimeout, time.Minute)
	o.HandshakeTimeout = orDefault(o.HandshakeTimeout, 30*time.Second)
	o.SinkTimeout = orDefault(o.SinkTimeout, time.Minute)
	o.Grace = orDefault(o.Grace, 10*time.Second)
	o.MaxConnections = orDefault(o.MaxConnections, 1000)
	o.MaxConnectionsPerAddress = orDefault(o.MaxConnectionsPerAddress, 100)
	o.MaxErrors = orDefault(o.MaxErrors, 100)
	o.MaxJunk = orDefault(o.MaxJunk, 100)
	o.MaxAuthFailures = orDefault(o.MaxAuthFailures, 3)
	o.Memory = orDefault(o.Memory, 256<<20)
	o.MemoryWait = orDefault(o.MemoryWait, 30*time.Second)
	return o
}

// withDefaults fills in what was left zero, and raises the least TLS version to 1.2
// (RFC 8996 §4, §5).
func (p PeerOptions) withDefaults() PeerOptions {
	p.MaxMessageSize = orDefault(p.MaxMessageSize, defaultMessageSize)
	p.MaxRecipients = orDefault(p.MaxRecipients, defaultRecipients)
	if p.TLS != nil && p.TLS.MinVersion < tls.VersionTLS12 {
		p.TLS = p.TLS.Clone()
		p.TLS.MinVersion = tls.VersionTLS12
	}
	return p
}
