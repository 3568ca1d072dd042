package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a Resolver of a test: domains to the listeners of their servers.
type names struct {
	mu    sync.Mutex
	of    map[string]string // domain: address
	dials int
}

func (n *names) set(domain, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.of == nil {
		n.of = make(map[string]string)
	}
	n.of[domain] = address
}

// Targets knows the names; for those in hang.example no server of the DNS answers.
func (n *names) Targets(ctx context.Context, domain string, _ dns.Service) ([]dns.Target, error) {
	if strings.HasSuffix(domain, ".hang.example") {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	address, ok := n.of[domain]
	if !ok {
		return nil, &dns.Error{Kind: dns.NoDomain, Name: domain}
	}
	ap := netip.MustParseAddrPort(address)
	return []dns.Target{{Host: ap.Addr().String(), Port: ap.Port()}}, nil
}

func (n *names) Addresses(_ context.Context, host string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr(host)}, nil
}

func (n *names) Dial(ctx context.Context, t dns.Target, _ []netip.Prefix) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	n.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("%s:%d", t.Host, t.Port))
}

// site is a server of one or more domains, with a router and clients that are only
// sessions.
type site struct {
	*Server
	router  *router.Router
	domains map[string]bool
	up      chan string
	address string
}

type siteOptions struct {
	domains []string
	secret  string
	cert    *tls.Certificate
	noTLS   bool
	policy  func(domain string) Policy
	limits  ConnOptions
	streams stream.Limits // of those that it opens
	proof   time.Duration
	level   zerolog.Level       // of the log; zero: debug
	kept    chan *stanza.Stanza // where what is given back goes; nil: to the router
}

func newSite(t testing.TB, n *names, o siteOptions) *site {
	t.Helper()
	s := &site{domains: make(map[string]bool), up: make(chan string, 100)}
	for _, d := range o.domains {
		s.domains[d] = true
	}
	serves := func(d string) bool { return s.domains[d] }
	if o.secret == "" {
		o.secret = "secret of " + o.domains[0]
	}
	if o.proof == 0 {
		o.proof = 5 * time.Second
	}
	s.router = router.New(router.Options{Domains: serves, Remote: later{s}})
	var rt Router = s.router
	if o.kept != nil {
		rt = recorder{s.router, o.kept}
	}
	s.Server = New(Options{
		Router: rt, Limits: o.streams, Resolver: func() Resolver { return n }, Serves: serves, Policy: o.policy,
		Secret: func(d string) string { return o.secret + d }, Certificate: func(string) *tls.Certificate { return o.cert },
		Up: func(d string) {
			select {
			case s.up <- d:
			default: // nobody looks at so many
			}
		},
		Log: zerolog.New(zerolog.NewTestWriter(t)).Level(max(o.level, zerolog.InfoLevel)), ProofTime: o.proof,
	})
	conn := o.limits
	if o.cert != nil && !o.noTLS {
		conn.TLS = &tls.Config{Certificates: []tls.Certificate{*o.cert}}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Listener(nil, 0, func(net.Addr) ConnOptions { return conn }).Serve(ctx, ln) }()
	for _, d := range o.domains {
		n.set(d, ln.Addr().String())
	}
	t.Cleanup(func() {
		s.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// later is the Remote of a router that is made before its server.
type later struct{ s *site }

func (l later) Route(ctx context.Context, st *stanza.Stanza) error { return l.s.Route(ctx, st) }
func (l later) Session(ctx context.Context, from, to string) (router.Session, error) {
	return l.s.Session(ctx, from, to)
}
func (l later) Ready(ctx context.Context, from, to string) (bool, error) {
	return l.s.Ready(ctx, from, to)
}
func (l later) Reachable(domain string) bool { return l.s.Reachable(domain) }

// client is a bound session that collects what it gets.
type client struct {
	router.Session
	full jid.JID
	got  chan *stanza.Stanza
}

func (c *client) JID() jid.JID           { return c.full }
func (c *client) Priority() (int8, bool) { return 0, true }
func (c *client) Send(_ context.Context, st *stanza.Stanza) error {
	c.got <- st
	return nil
}

func (s *site) bind(t testing.TB, full string) *client {
	t.Helper()
	c := &client{full: jid.MustParse(full), got: make(chan *stanza.Stanza, 1000)}
	if err := s.router.Bind(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) next(t testing.TB) *stanza.Stanza {
	t.Helper()
	select {
	case st := <-c.got:
		return st
	case <-time.After(10 * time.Second):
		t.Fatalf("%s gets nothing", c.full)
		return nil
	}
}

func message(from, to, body string) *stanza.Stanza {
	e := xmlwire.New(stanza.Client, "message", "type", "chat", "id", body, "from", from, "to", to).
		Add(xmlwire.New(stanza.Client, "body").AddText(body))
	st, err := stanza.Parse(e)
	if err != nil {
		panic(err)
	}
	return st
}

// send sends as a client does.
func (s *site) send(t testing.TB, c *client, to, body string) {
	t.Helper()
	if err := s.router.Route(t.Context(), c, message(c.full.String(), to, body)); err != nil {
		t.Fatal(err)
	}
}

// open is the one stream with a domain.
func (s *site) open(t *testing.T, domain string) State {
	t.Helper()
	var found []State
	for _, st := range s.States() {
		if st.Domain == domain && st.State == "open" {
			found = append(found, st)
		}
	}
	if len(found) != 1 {
		t.Fatalf("streams with %s: %+v", domain, found)
	}
	return found[0]
}

// TestTwoServers: messages go both ways, by every way to prove who one is.
func TestTwoServers(t *testing.T) {
	t.Parallel()
	ca := xmpptest.NewAuthority(t)
	for name, c := range map[string]struct {
		a, b siteOptions
		by   string
		tls  bool
	}{
		"dialback in clear text":       {by: "dialback"},
		"dialback over TLS":            {a: siteOptions{cert: own(t, "a.example")}, b: siteOptions{cert: own(t, "b.example")}, by: "dialback", tls: true},
		"EXTERNAL":                     {a: siteOptions{cert: issue(t, ca, "a.example"), policy: trusting(ca.Pool())}, b: siteOptions{cert: issue(t, ca, "b.example"), policy: trusting(ca.Pool())}, by: "EXTERNAL", tls: true},
		"EXTERNAL one way, dialback's": {a: siteOptions{cert: issue(t, ca, "a.example"), policy: trusting(ca.Pool())}, b: siteOptions{cert: own(t, "b.example"), policy: trusting(ca.Pool())}, by: "EXTERNAL", tls: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := new(names)
			c.a.domains, c.b.domains = []string{"a.example"}, []string{"b.example"}
			a, b := newSite(t, n, c.a), newSite(t, n, c.b)
			alice, bob := a.bind(t, "alice@a.example/x"), b.bind(t, "bob@b.example/y")
			a.send(t, alice, "bob@b.example", "there")
			if got := bob.next(t); got.ID != "there" || got.From != alice.full {
				t.Errorf("got %s from %s", got.ID, got.From)
			}
			b.send(t, bob, "alice@a.example/x", "and back")
			if got := alice.next(t); got.ID != "and back" {
				t.Errorf("got %s: %s", got.ID, got.Element)
			}
			st := a.open(t, "b.example")
			if st.Authenticated != c.by || (st.TLS != "") != c.tls || !st.Bidi || st.Direction != "both" || !st.Managed {
				t.Errorf("state %+v", st)
			}
			s, err := a.Session(t.Context(), "a.example", "b.example")
			if err != nil {
				t.Fatal(err)
			}
			if proof, err := s.Prove(t.Context()); err != nil || proof != router.ProofAck {
				t.Errorf("proof %q, %v", proof, err)
			}
			if n.dials > 2 {
				t.Errorf("%d connections for two domains", n.dials)
			}
		})
	}
}

// issue makes a certificate for a domain, own one that nobody trusts.
func issue(t testing.TB, ca *xmpptest.Authority, domain string) *tls.Certificate {
	cert := ca.Issue(t, xmpptest.Leaf{DNS: []string{domain}})
	return &cert
}

func own(t testing.TB, domain string) *tls.Certificate {
	return issue(t, xmpptest.NewAuthority(t), domain)
}

func trusting(pool *x509.CertPool) func(string) Policy {
	return func(string) Policy { return Policy{Roots: pool} }
}

// TestUnreachable: who writes to a domain that does not exist is told so.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	n := new(names)
	a := newSite(t, n, siteOptions{domains: []string{"a.example"}})
	alice := a.bind(t, "alice@a.example/x")
	iq := stanza.NewIQ(jid.MustParse("nowhere.example"), alice.full, stanza.TypeGet, "1", xmlwire.New("urn:xmpp:ping", "ping"))
	if err := a.router.Route(t.Context(), alice, iq); err != nil {
		t.Fatal(err)
	}
	answer := alice.next(t)
	if e := stanza.ParseError(answer.Child("error")); answer.Type != stanza.TypeError || e.Condition != stanza.RemoteServerNotFound {
		t.Errorf("answer %s", answer.Element)
	}
	if a.Reachable("nowhere.example") {
		t.Error("it counts as reachable")
	}
	var refused *stanza.Error
	if _, err := a.Session(t.Context(), "a.example", "nowhere.example"); !errors.As(err, &refused) || refused.Temporary() {
		t.Errorf("session: %v", err)
	}
}
