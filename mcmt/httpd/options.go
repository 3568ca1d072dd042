// Package httpd receives messages over HTTP: POST /v1/messages takes one as
// multipart/vnd.msys.mcmt, message/rfc822 or application/json, POST
// /v1/messages:batch one JSON message per line. A message is answered 202 only
// after the mcmt.Sink has stored it; everything else is a problem document that
// says what is wrong and where.
//
// Files: server.go serving; handler.go one request; access.go who may post;
// limit.go how much; body.go reading without waiting for ever; message.go,
// envelope.go, bcc.go and jsonmessage.go from a request to a message; submit.go
// to the sink; batch.go and batchread.go many at once; problem.go what a refusal
// looks like.
//
// Specifications: RFC 9110 and 9112 (HTTP), 7617 (Basic), 6750 (bearer), 9457
// (problem details), 5322 (message format), NDJSON.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/mcmt"
)

// Mounts are handlers by the paths that they answer below.
type Mounts map[string]http.Handler

// Options is what a Server needs. Only Sink must be set; every zero field takes
// the default named beside it.
type Options struct {
	// Hostname goes into the Message-ID of messages that come as JSON. Default
	// "localhost".
	Hostname string
	// Sink takes custody of messages. Its methods are called from many
	// goroutines at once.
	Sink mcmt.Sink
	// Listener is the kind and address of the listener, for the Envelope and
	// the log: "http_listener 127.0.0.1:8025".
	Listener string
	// Config returns the options of one peer. It is called once per request, so
	// a changed configuration holds for the next one. A peer on a Unix socket is
	// 127.0.0.1:0: who may open the socket file is a local user. nil: the zero
	// PeerOptions for everybody.
	Config func(peer netip.AddrPort) PeerOptions
	// Mounted answer requests below their paths, which end in a slash, whoever sends
	// them and however they authorise them; the deadlines of a request are theirs to
	// move. Nil: nothing else is answered.
	Mounted Mounts
	// TLS is TLS from the first byte; nil: clear text.
	TLS *tls.Config

	// HeaderTimeout bounds the header of a request, and the TLS handshake.
	// Default 10 s.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection may wait between requests. Default
	// 2 min.
	IdleTimeout time.Duration
	// ReadTimeout bounds each single read of a body. Default 30 s.
	ReadTimeout time.Duration
	// BodyTimeout bounds a body as a whole, however steadily it trickles.
	// Default 10 min.
	BodyTimeout time.Duration
	// WriteTimeout bounds each write to the peer. Default 1 min.
	WriteTimeout time.Duration
	// SinkTimeout bounds what the Sink may take for one message. Default 1 min.
	SinkTimeout time.Duration
	// Grace is how long requests may take to finish when Serve's context ends.
	// Default 10 s.
	Grace time.Duration
	// RetryAfter is what 429 and 503 tell the client to wait, in whole seconds.
	// Default 10 s.
	RetryAfter time.Duration

	// MaxHeaderBytes bounds the header of a request. Default 32 KiB.
	MaxHeaderBytes int
	// MaxConnections is the number of open connections, in all; further ones
	// are closed at once. Default 1000.
	MaxConnections int
	// MaxConnectionsPerAddress is the same for one IPv4 address or one IPv6
	// /64. Unix sockets are not counted here. Default 100.
	MaxConnectionsPerAddress int
	// MaxRequests is the number of requests being worked on, in all; further
	// ones are answered 503. Default 512.
	MaxRequests int
	// MaxFailedLogins is how many wrong credentials one address may show within
	// a minute; then they are answered 429 unseen. Those that an Authenticator bounds
	// itself do not count. Default 10.
	MaxFailedLogins int
	// MaxBatchLines is the number of messages in one batch. Default 10,000.
	MaxBatchLines int
	// BatchWindow is how many messages of one batch may be on their way into
	// custody at once. Default 32.
	BatchWindow int
	// Memory bounds the bytes of all bodies being received. Default 256 MiB. A
	// body that finds no room waits up to ReadTimeout and is then refused with
	// 503.
	Memory int64

	Log zerolog.Logger
}

// PeerOptions is what holds for one peer. The zero value is the safe one: an
// untrusted peer that can post from loopback only.
type PeerOptions struct {
	Deny    bool // answered 403, whatever it asks
	Trusted bool // in relay_hosts: may post without authentication, and relay
	// Forwarded says that the peer is a proxy, and whom a request comes from by the
	// X-Forwarded-For fields of it: all that holds for that address holds then, in place
	// of this. A proxy's connections are not counted against its address. nil: the peer
	// is no proxy, or none that is believed.
	Forwarded func(fields []string) netip.Addr
	// Authenticator checks credentials; nil: none are good.
	Authenticator Authenticator
	// AllowPlainWithoutTLS takes credentials in clear text from peers that are
	// not on loopback.
	AllowPlainWithoutTLS bool
	// Origins are the origins (RFC 6454) of web pages that may post, such as
	// "https://desk.example"; none but this listener's own by default.
	Origins []string

	MaxMessageSize int64 // bytes, of the body and of the message made of it; 0: 10 MiB
	MaxRecipients  int   // per message; 0: 1000
	// MaxRequests is the number of requests of one address (IPv6: one /64) being
	// worked on; further ones are answered 429. 0: no bound.
	MaxRequests int
	// Rate is how many messages a second one address may send in the long run,
	// and Burst how many at once. A request over it is answered 429; a batch is
	// read more slowly instead. Rate 0: no bound. Burst 0: one second's worth.
	Rate  float64
	Burst int
}

// Authenticator checks credentials. Both methods return the name of the user,
// for Envelope.User, or an error: one with Temporary() false, such as ErrDenied,
// says that the credentials are wrong, any other that nobody can tell now. How
// long they take must not depend on how nearly right a secret is. One that bounds the
// guessing itself answers with an *AuthError; for others Options.MaxFailedLogins does.
type Authenticator interface {
	// Basic checks a name and password (RFC 7617), both in UTF-8.
	Basic(ctx context.Context, user, password string) (string, error)
	// Bearer checks a token (RFC 6750).
	Bearer(ctx context.Context, token string) (string, error)
}

// AuthError is an error by which an Authenticator bounds the guessing of passwords.
type AuthError struct {
	// Refused says that no credentials were tried, for the failures that came before;
	// RetryAfter is how long that holds.
	Refused    bool
	RetryAfter time.Duration
	// Delay is how long the answer waits.
	Delay time.Duration
	Err   error // why, for the log
}

// Error returns the text of Err.
func (e *AuthError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *AuthError) Unwrap() error { return e.Err }

// Temporary says whether the same credentials can be good later.
func (e *AuthError) Temporary() bool {
	var verdict interface{ Temporary() bool }
	return e.Refused || !errors.As(e.Err, &verdict) || verdict.Temporary()
}

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
	if o.Config == nil {
		o.Config = func(netip.AddrPort) PeerOptions { return PeerOptions{} }
	}
	o.HeaderTimeout = orDefault(o.HeaderTimeout, 10*time.Second)
	o.IdleTimeout = orDefault(o.IdleTimeout, 2*time.Minute)
	o.ReadTimeout = orDefault(o.ReadTimeout, 30*time.Second)
	o.BodyTimeout = orDefault(o.BodyTimeout, 10*time.Minute)
	o.WriteTimeout = orDefault(o.WriteTimeout, time.Minute)
	o.SinkTimeout = orDefault(o.SinkTimeout, time.Minute)
	o.Grace = orDefault(o.Grace, 10*time.Second)
	o.RetryAfter = max(orDefault(o.RetryAfter, 10*time.Second), time.Second)
	o.MaxHeaderBytes = orDefault(o.MaxHeaderBytes, 32<<10)
	o.MaxConnections = orDefault(o.MaxConnections, 1000)
	o.MaxConnectionsPerAddress = orDefault(o.MaxConnectionsPerAddress, 100)
	o.MaxRequests = orDefault(o.MaxRequests, 512)
	o.MaxFailedLogins = orDefault(o.MaxFailedLogins, 10)
	o.MaxBatchLines = orDefault(o.MaxBatchLines, 10_000)
	o.BatchWindow = orDefault(o.BatchWindow, 32)
	o.Memory = orDefault(o.Memory, 256<<20)
	return o
}

// withDefaults fills in what was left zero.
func (p PeerOptions) withDefaults() PeerOptions {
	p.MaxMessageSize = orDefault(p.MaxMessageSize, defaultMessageSize)
	p.MaxRecipients = orDefault(p.MaxRecipients, defaultRecipients)
	if p.Burst <= 0 {
		p.Burst = max(int(p.Rate), 1)
	}
	return p
}
