// Package s2s is the streams between our domains and others: it opens them, accepts
// them, proves who is at the other end, and carries stanzas (RFC 6120, XEP-0220).
//
//	s2s.go       Options, Server
//	policy.go    what holds towards a domain; failure.go why there is no stream to it
//	peer.go      another domain; lane.go the way to it from one of ours
//	route.go     stanzas on their way out, as router.Remote
//	open.go      a stream that we open: DNS, TCP, TLS, SASL EXTERNAL (XEP-0178)
//	accept.go    a stream that comes in
//	conn.go      a stream of either kind after its negotiation: read.go its reader,
//	             inbound.go stanzas that come, session.go those that go
//	dialback.go  claims, and keys that others ask about (XEP-0220)
//	verify.go    keys that we ask about
//	manage.go    stream management (XEP-0198), prove.go that something has arrived
//	state.go     what an operator sees; check.go an active test
//
// What is authorised is always a pair of domains, never a stream: a stanza passes if
// the domain that it is from was proven to speak to the domain that it is to.
package s2s

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// Router is what a Server needs of the router.
type Router interface {
	// Receive takes a stanza from a domain that is proven.
	Receive(ctx context.Context, st *stanza.Stanza)
	// Return takes back a stanza that is not known to have arrived.
	Return(ctx context.Context, st *stanza.Stanza, sent time.Time) error
	// Forward sends a stanza on its way, such as an error to its sender.
	Forward(ctx context.Context, st *stanza.Stanza) error
}

// Resolver finds servers; *dns.Resolver is one.
type Resolver interface {
	Targets(ctx context.Context, domain string, s dns.Service) ([]dns.Target, error)
	Addresses(ctx context.Context, host string) ([]netip.Addr, error)
	Dial(ctx context.Context, t dns.Target, prohibited []netip.Prefix) (net.Conn, error)
}

// Options are what a server is made of. Router, Resolver, Serves and Secret are needed.
type Options struct {
	Router   Router
	Resolver func() Resolver
	// Policy says what holds towards another domain. Nil: the zero Policy for all.
	Policy func(domain string) Policy
	// Serves says whether a domain is ours, with accounts or without.
	Serves func(domain string) bool
	// Secret is what the dialback keys of one of our domains are made of (XEP-0185).
	Secret func(domain string) string
	// Certificate is what we show for one of our domains where we are asked. Nil, or
	// a nil one: none.
	Certificate func(domain string) *tls.Certificate
	// Up is called when stanzas can be sent to a domain, or it has sent some after it
	// was unreachable. It must not block. Nil: nobody is told.
	Up func(domain string)
	// Limits are those of streams that we open.
	Limits stream.Limits
	// ProofTime is how long a peer may take to acknowledge stanzas (XEP-0198), or to
	// answer a ping, before its stream counts as dead. Zero: 30 s.
	ProofTime time.Duration
	Log       zerolog.Logger
	// Observer sees the stanzas of all streams. Nil: nobody looks.
	Observer stream.Observer
}

// Server has all streams to and from other servers. Its methods may be called from any
// goroutine.
type Server struct {
	o     Options
	stats counters

	mu     sync.Mutex
	peers  map[string]*peer
	conns  map[*conn]struct{} // open ones
	closed bool

	// life is the context of everything that the server does by itself.
	life    context.Context
	end     context.CancelCauseFunc
	running sync.WaitGroup
}

// New returns a server. Close ends it.
func New(o Options) *Server {
	if o.Policy == nil {
		o.Policy = func(string) Policy { return Policy{} }
	}
	if o.ProofTime <= 0 {
		o.ProofTime = 30 * time.Second
	}
	v := &Server{o: o, peers: make(map[string]*peer), conns: make(map[*conn]struct{})}
	v.life, v.end = context.WithCancelCause(context.Background())
	return v
}

// Close ends every stream with system-shutdown and waits until all have ended.
func (v *Server) Close() {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.end(stream.Shutdown)
	v.running.Wait()
}

// spawn runs f in a goroutine that Close waits for, and says whether it does.
func (v *Server) spawn(f func()) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.running.Go(f)
	return true
}

// certificate is what is shown for a domain of ours, nil for nothing.
func (v *Server) certificate(domain string) *tls.Certificate {
	if v.o.Certificate == nil {
		return nil
	}
	return v.o.Certificate(domain)
}

// add registers an open stream; it fails when the server is closed.
func (v *Server) add(c *conn) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.conns[c] = struct{}{}
	return true
}

func (v *Server) remove(c *conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.conns, c)
}

// Pair is two domains, one of which is ours.
type Pair struct{ Ours, Theirs string }
