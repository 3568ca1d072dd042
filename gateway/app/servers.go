package app

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/listener"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/s2s"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// servers are the streams with other servers, and what of the configuration they need
// in another form.
type servers struct {
	*s2s.Server
	app    *App
	barred *store.Barred

	mu          sync.Mutex
	resolver    *dns.Resolver
	asks        []string // the servers of resolver
	authorities map[string]*x509.CertPool
}

func (a *App) newServers(ctx context.Context) (_ *servers, err error) {
	log := a.xmppLog().With().Str("part", "s2s").Logger()
	v := &servers{app: a, authorities: make(map[string]*x509.CertPool)}
	if v.barred, err = store.OpenBarred(ctx, a.broker, func(err error) { log.Warn().Err(err).Msg("barred domains") }); err != nil {
		return nil, err
	}
	v.Server = s2s.New(s2s.Options{
		Router: a.router, Resolver: v.dns, Serves: a.serves, Policy: v.policy, Secret: v.secret, Certificate: v.certificate,
		Up:     func(domain string) { a.delivery.WakeAll(domain) },
		Limits: a.serverLimits(), Log: log, Observer: a.stanzaLog,
	})
	v.barred.OnChange(v.Recheck)
	return v, nil
}

// close ends the streams, and the watching of who is barred.
func (v *servers) close() error {
	v.Close()
	return v.barred.Close()
}

// Streams implements admin.Servers.
func (v *servers) Streams() []admin.ServerStream {
	var all []admin.ServerStream
	said := make(map[string]bool)
	for _, s := range v.States() {
		said[s.Domain] = true
		all = append(all, admin.ServerStream{State: s, Blocked: v.barred.Barred(s.Domain)})
	}
	for _, domain := range v.barred.Domains() {
		if !said[domain] {
			all = append(all, admin.ServerStream{State: s2s.State{Domain: domain, State: "closed"}, Blocked: true})
		}
	}
	all = append(all, v.app.links.streams()...)
	slices.SortStableFunc(all, func(a, b admin.ServerStream) int { return cmp.Compare(a.Domain, b.Domain) })
	return all
}

// Check implements admin.Servers.
func (v *servers) Check(ctx context.Context, from, domain string) (*s2s.Check, error) {
	if from == "" {
		from = v.app.firstDomain()
	}
	if !v.app.serves(from) {
		return nil, fmt.Errorf("%s is no domain of this server", from)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	return v.Server.Check(ctx, from, domain)
}

// checkTime bounds a test of the way to a domain.
const checkTime = 90 * time.Second

// Block implements admin.Servers.
func (v *servers) Block(ctx context.Context, domain string, block bool) error {
	return v.barred.Bar(ctx, domain, block)
}

// firstRetry is the longest first pause after a failure to open a stream: it costs less
// than to try a message again.
const firstRetry = 2 * time.Second

// serves says whether a domain is ours, with accounts or without, or a component's.
func (a *App) serves(domain string) bool {
	rules := a.state.Load().rules
	return rules.Role(domain) == convert.Server || domain == rules.Converter.Gateway().Domain() || a.components.Serves(domain)
}

// The words of tls and tls_verify; others are the zero values.
var (
	tlsPolicies    = map[string]s2s.TLSPolicy{"no": s2s.TLSNever, "required": s2s.TLSRequired}
	verifyPolicies = map[string]s2s.VerifyPolicy{"ca": s2s.VerifyCA, "host": s2s.VerifyHost}
)

// policy is what the configuration says of a domain now.
func (v *servers) policy(domain string) s2s.Policy {
	cfg := v.app.state.Load().cfg
	d, out := cfg.Domain(domain), cfg.Outgoing(domain)
	p := s2s.Policy{
		Deny:       (d == nil || d.Role == config.RoleNone) && cfg.DenyUnknown || v.barred.Barred(domain),
		Prohibited: out.Streams.Prohibited, Connections: out.Streams.MaxConnections, Idle: out.Streams.IdleTimeout,
		Retry: min(out.RetryInterval, firstRetry), MaxRetry: out.MaxRetryInterval,
		TLS: tlsPolicies[out.Streams.TLS], Verify: verifyPolicies[out.Streams.Verify],
		Roots: v.roots(out.Streams.CA),
	}
	for _, r := range out.Streams.Routes {
		p.Routes = append(p.Routes, dns.Target{Host: r.Host, Port: r.Port, Direct: r.Direct, Given: true})
	}
	return p
}

// roots reads a file of authorities once. One that went bad since it was checked vouches
// for nobody.
func (v *servers) roots(path string) *x509.CertPool {
	if path == "" {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	pool, ok := v.authorities[path]
	if ok {
		return pool
	}
	pool, err := listener.LoadCA(path)
	if err != nil {
		v.app.log.Error().Err(err).Msg("tls_ca")
		pool = x509.NewCertPool()
	}
	v.authorities[path] = pool
	return pool
}

// reload has files read again and streams ended that are not allowed any more.
func (v *servers) reload() {
	v.mu.Lock()
	clear(v.authorities)
	v.mu.Unlock()
	v.Recheck()
}

// dns is the resolver of the configuration; another one when that has changed.
func (v *servers) dns() s2s.Resolver {
	want := v.app.state.Load().cfg.Resolvers
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.resolver == nil || !slices.Equal(v.asks, want) {
		v.resolver, v.asks = dns.New(dns.Options{Servers: want}), want
	}
	return v.resolver
}

// secret is what dialback keys of a domain are made of: the configuration's, for the mail
// gateway that of the first domain; or one that all processes have in common.
func (v *servers) secret(domain string) string {
	cfg := v.app.state.Load().cfg
	d := cfg.Domain(domain)
	if d == nil {
		d = cfg.Domain(v.app.firstDomain())
	}
	if d != nil && d.DialbackSecret.Reveal() != "" {
		return d.DialbackSecret.Reveal()
	}
	mac := hmac.New(sha256.New, v.app.accounts.secret)
	mac.Write([]byte("dialback\x00" + domain))
	return hex.EncodeToString(mac.Sum(nil))
}

// certificate is the one that is shown to servers: of the listener for them, or of the
// first one for streams.
func (v *servers) certificate(string) *tls.Certificate {
	var of *config.Listen
	for _, l := range v.app.state.Load().cfg.Listeners {
		if l.Kind != config.XMPPStreams || !l.Enable || of != nil && l.Stream != config.StreamServer {
			continue
		}
		if of = l; l.Stream == config.StreamServer {
			break
		}
	}
	if of == nil {
		return nil
	}
	cert, err := v.app.certs.shown(of.Options()[0])
	if err != nil {
		v.app.log.Error().Err(err).Msg("no certificate for streams with servers")
		return nil
	}
	return cert
}

// serverLimits are those of streams that we open: of the first listener for servers, or
// the defaults.
func (a *App) serverLimits() stream.Limits {
	for _, l := range a.o.Config.Listeners {
		if l.Kind == config.XMPPStreams && l.Stream == config.StreamServer {
			return streamLimits(l.Options()[0])
		}
	}
	return stream.Limits{}
}

// streamLimits are those that the options of a peer say.
func streamLimits(p *config.PeerOptions) stream.Limits {
	return stream.Limits{
		Before:      xmlwire.Limits{Bytes: p.MaxPreAuthSize, Depth: 8, Attrs: 32, Children: 256},
		After:       xmlwire.Limits{Bytes: p.MaxStanzaSize, Depth: p.MaxElementDepth, Attrs: p.MaxAttributes},
		BytesBefore: p.MaxPreAuthBytes,
		Stanzas:     stream.Rate(p.StanzaRate),
		Bytes:       stream.Rate(p.ByteRate),
		Element:     p.StanzaTime,
		Negotiation: p.AuthTimeout,
		Unacked:     p.MaxUnackedStanzas, UnackedBytes: p.MaxUnackedSize,
	}
}

// serverListener accepts streams from other servers on a socket.
func (a *App) serverListener(s *socket) *s2s.Listener {
	return a.servers.Listener(a.slotsOf(s.scope), s.scope.MaxConnectionsPerAddress, func(addr net.Addr) s2s.ConnOptions {
		p := a.peer(s, addrOf(addr))
		return s2s.ConnOptions{TLS: a.tls(p).conf, Direct: s.scope.UseSSL, Limits: streamLimits(p)}
	})
}

// serverStreams is the part that has the streams: it outlasts whatever sends on them.
func (a *App) serverStreams() part {
	return part{"server streams", func(ctx context.Context) error {
		<-ctx.Done()
		a.servers.Close()
		return nil
	}}
}
