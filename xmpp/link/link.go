// Package link reaches domains through an existing server: as a component of it
// (XEP-0114), or logged in as one of its accounts.
//
//	link.go       a link, and what it is made of
//	remote.go     what the router asks: stanzas that wait for the stream, its session
//	links.go      which link leads where, failover
//	run.go        connecting, again and again; dial.go to where; state.go how that goes
//	session.go    the stream that is ready
//	component.go  as a component
//	account.go    as an account; rewrite.go its addresses, contacts.go who is answered,
//	              subscription.go requests to it
package link

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// Type is what a link is at the other server.
type Type string

// The types.
const (
	Account   Type = "client"
	Component Type = "component"
)

// Resolver finds the servers of a domain and connects to them: a *dns.Resolver.
type Resolver interface {
	Targets(ctx context.Context, domain string, service dns.Service) ([]dns.Target, error)
	Dial(ctx context.Context, t dns.Target, prohibited []netip.Prefix) (net.Conn, error)
}

// Options describe a link. Name, Type, JID, Password, Ours and Receive are needed, and
// the Address of a component.
type Options struct {
	// Name is for people.
	Name string
	Type Type
	// JID is the account, with a resourcepart where one is to be asked for, or the
	// domain of the component, which is one of ours.
	JID jid.JID
	// Password is that of the account, or the secret of the component.
	Password string

	// Address is host:port of the server. Empty, for an account: the servers of its
	// domain, which Resolver finds.
	Address string
	// Resolver is asked for at each try. Nil: one that asks the system's servers.
	Resolver func() Resolver
	// Protection says whether there has to be TLS: by STARTTLS for an account. A
	// component's stream has nothing like that: required is TLS from the first byte,
	// and all else none.
	Protection stream.Protection
	// TLS is how the server is verified. Nil: by the system's authorities, and the name
	// of the account's domain or the host of Address.
	TLS *tls.Config
	// Domains are those that are reached through the link. None: all.
	Domains []string

	// Subscriptions and ReplyTo are for an account: what becomes of those who want its
	// presence, and who gets messages from people to whom nobody has written. Zero:
	// such messages are refused.
	Subscriptions Subscriptions
	ReplyTo       jid.JID

	// Takes says whether the server may send a component what is for a domain. Nil: for
	// its own only. COMPAT ejabberd 23: what is for any of the components of one
	// listener comes by the stream of any of them.
	Takes func(domain string) bool
	// Stray finds the link whose ping came by another one, for the same reason, and says
	// whether it was one. Nil: there is none.
	Stray func(st *stanza.Stanza) bool

	// Ours says whether a domain is one of ours: nobody there speaks through the other
	// server.
	Ours func(domain string) bool
	// Receive takes what comes in. It may block for a while: the stream is not read
	// meanwhile.
	Receive func(ctx context.Context, st *stanza.Stanza)
	// Return takes back what the server has not acknowledged. Nil: it is dropped.
	Return func(ctx context.Context, st *stanza.Stanza, sent time.Time) error
	// OnUp is called when stanzas can be sent. It must not block. Nil: nobody is told.
	OnUp func()

	// Idle is the silence after which the server is pinged. Zero: 60 s.
	Idle time.Duration
	// ProofTime is how long it may take to answer, or to acknowledge stanzas. Zero: 30 s.
	ProofTime time.Duration
	// Retry is the first pause before the next try, which doubles up to MaxRetry; a
	// refusal, such as a wrong password, has that at once. Zero: 1 s and 5 min.
	Retry, MaxRetry time.Duration
	// Wait is how long Session waits for the stream. Zero: 5 s.
	Wait time.Duration

	Limits stream.Limits
	// Dial connects to Address. Nil: over TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	Log  zerolog.Logger
	// Observer sees the stanzas of the link. Nil: nobody looks.
	Observer stream.Observer
}

// Link is one link. Run makes it work; all other methods may be called from any
// goroutine.
type Link struct {
	o        Options
	log      zerolog.Logger
	contacts contacts
	stats    counters

	// Only Run touches these.
	old     *stream.Client // whose stream is to be resumed; nil: none
	oldFrom time.Time      // since when

	mu      sync.Mutex
	state   State
	up      *session         // nil: there is none
	waiting []*stanza.Stanza // for the stream that is being made
	changed chan struct{}    // closed, and replaced, when state changes
}

// New returns a link that does nothing yet.
func New(o Options) *Link {
	o.Idle = orDefault(o.Idle, time.Minute)
	o.ProofTime = orDefault(o.ProofTime, 30*time.Second)
	o.Retry = orDefault(o.Retry, time.Second)
	o.MaxRetry = orDefault(o.MaxRetry, 5*time.Minute)
	o.Wait = orDefault(o.Wait, 5*time.Second)
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Resolver == nil {
		r := dns.New(dns.Options{})
		o.Resolver = func() Resolver { return r }
	}
	l := &Link{o: o, log: o.Log.With().Str("link", o.Name).Logger(), changed: make(chan struct{})}
	l.state = State{Name: o.Name, Type: o.Type, JID: o.JID.Bare(), Domains: slices.Clone(o.Domains), Phase: Stopped, Since: time.Now()}
	return l
}

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// Leads says whether stanzas from one domain to another go through the link. A component
// speaks for its own domain alone (XEP-0114 §3), an account for whoever it may be.
func (l *Link) Leads(from, to string) bool {
	if l.o.Type == Component && from != l.o.JID.Domain() {
		return false
	}
	return l.leadsTo(to)
}

func (l *Link) leadsTo(domain string) bool {
	return len(l.o.Domains) == 0 || slices.Contains(l.o.Domains, domain)
}
