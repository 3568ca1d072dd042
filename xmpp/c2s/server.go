// Package c2s is the client listener: it accepts connections, negotiates the
// stream, binds the session to the router and carries its stanzas (RFC 6120,
// RFC 6121).
//
//	server.go        Server, its options, accepting
//	conn.go          one connection from accept to close
//	session.go       a bound session, as the router sees it
//	inbound.go       what a client may send (RFC 6120 §8.1, §10.3)
//	presence.go      presence and priority (RFC 6121 §4)
//	roster.go        the roster, its versions and pushes (RFC 6121 §2)
//	subscription.go  subscriptions, and who is shown the presence (RFC 6121 §3)
//	manage.go        stream management (XEP-0198), life.go sessions that are
//	                 suspended and resumed, hibernation.go what the servers share,
//	                 handover.go sessions that go to another process
//	account.go       IQs that an account answers for its owner
//	inactive.go      what waits while nobody looks (XEP-0352)
//	caps.go          the features of the server (XEP-0115)
//	prove.go         liveness (XEP-0199)
//	guard.go         failed logins
//	websocket.go     HTTP before a WebSocket (RFC 7395), host-meta (XEP-0156)
package c2s

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stream"
)

// ConnOptions are what holds for one connection. The zero value offers no way to
// log in.
type ConnOptions struct {
	// TLS is the configuration, certificate and verification of clients
	// included. Nil: no TLS is offered.
	TLS *tls.Config
	// Direct begins with TLS (XEP-0368); without it STARTTLS is offered.
	Direct bool
	// WebSocket begins with HTTP, and goes on with streams in frames (RFC 7395). Nil:
	// it does not.
	WebSocket *WebSocketOptions
	// Deny takes no connection. The listener has asked already; this is for a client
	// behind a proxy.
	Deny bool
	// TLSRequired offers no login before TLS (RFC 7590 §3.2). Without TLS nobody
	// could log in then.
	TLSRequired bool

	// Accounts are for SCRAM and PLAIN, Digest for DIGEST-MD5; nil: not offered.
	Accounts, Digest sasl.Store
	// External says which accounts of a domain the client's certificate proves, for
	// EXTERNAL: those that exist, by a certificate that has been verified (XEP-0178
	// §2). Nil: it is not offered.
	External func(ctx context.Context, domain string, state *tls.ConnectionState) []jid.JID
	// AllowPlainWithoutTLS offers PLAIN in clear text.
	AllowPlainWithoutTLS bool

	// Tries is how many failed logins end a stream. Zero: 3.
	Tries int
	// Guess bounds the guessing of passwords.
	Guess GuessLimits

	// IdleTime is the silence after which a client is pinged, to be disconnected
	// where it does not answer within Options.ProofTime. Zero: never.
	IdleTime time.Duration

	// Conflict is for a resource that is bound already.
	Conflict Conflict

	// ResumeTime is how long the session of a client with stream management waits
	// for it when its connection is lost (XEP-0198 §5). Under one second it does not.
	ResumeTime time.Duration

	// Location is where a client is told to come to resume its session (XEP-0198 §5):
	// host and port. Empty: it is not told.
	Location string

	// MaxHeld is how many stanzas are held back for a client that says that nobody is
	// looking (XEP-0352). Under one it is not asked.
	MaxHeld int

	// Limits of the stream; zero fields mean the defaults.
	Limits stream.Limits
}

// Options are what a server is made of. Router and Connection are needed.
type Options struct {
	Router *router.Router
	// Connection says what holds for a connection from addr. It is asked once
	// per connection.
	Connection func(addr net.Addr) ConnOptions
	// Slots bounds the connections that negotiate TLS and SASL at once; others
	// wait, and behind them the listener. Nil: no bound.
	Slots stream.Slots
	// PerAddress bounds the connections from one address (IPv6: one /64). Zero: 1000.
	PerAddress int
	// ProofTime is how long a client may take to answer a ping, or to acknowledge
	// stanzas (XEP-0198), before its connection counts as dead. Zero: 30 s.
	ProofTime time.Duration
	// Hibernation is shared by the servers of the process. Nil: the server has its
	// own.
	Hibernation *Hibernation
	// Guard is likewise shared, and remembers failed logins. Nil: the server has its
	// own.
	Guard *Guard
	// Secret and Iterations are what [sasl.Offer] calls so.
	Secret     []byte
	Iterations int
	Log        zerolog.Logger
	// Observer sees the stanzas of all connections. Nil: nobody looks.
	Observer stream.Observer
}

// Server serves clients, on any number of listeners.
type Server struct {
	o     Options
	stats counters
	door  stream.Door
}

// New returns a server; Serve makes it work.
func New(o Options) *Server {
	if o.ProofTime <= 0 {
		o.ProofTime = 30 * time.Second
	}
	if o.Hibernation == nil {
		o.Hibernation = NewHibernation(HibernationOptions{})
	}
	if o.Guard == nil {
		o.Guard = NewGuard()
	}
	return &Server{o: o, door: stream.Door{Slots: o.Slots, PerAddress: o.PerAddress}}
}

// Serve accepts connections from ln until ctx ends. Then it closes ln, ends
// every session with system-shutdown, and returns when the last is gone. The
// error is that of ln where it fails before.
func (v *Server) Serve(ctx context.Context, ln net.Listener) error {
	if err := v.door.Serve(ctx, ln, v.handle); err != nil {
		return fmt.Errorf("c2s: %w", err)
	}
	return nil
}
