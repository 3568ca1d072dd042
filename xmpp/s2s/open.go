package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"mcmt2xmpp/xmpp/certificate"
	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	nsDialbackFeature = "urn:xmpp:features:dialback"
	nsBidiFeature     = "urn:xmpp:features:bidi"
	nsBidi            = "urn:xmpp:bidi"
)

// maxTargets is how many servers of a domain are tried at once.
const maxTargets = 8

// dial finds the servers of the domain and opens a stream to the first that takes one.
// The error is a *Failure: that of the last server.
func (p *peer) dial(ctx context.Context, ours string, pol Policy) (*conn, error) {
	pair := Pair{ours, p.domain}
	targets, err := p.targets(ctx, pol)
	if err != nil {
		return nil, failed(StepDNS, err)
	}
	var last *Failure
	for _, t := range targets[:min(len(targets), maxTargets)] {
		c, err := p.connect(ctx, t, pair, pol)
		if err == nil {
			return c, nil
		}
		last = failed(StepTCP, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func (p *peer) targets(ctx context.Context, pol Policy) ([]dns.Target, error) {
	if len(pol.Routes) > 0 {
		return pol.Routes, nil
	}
	targets, err := p.v.o.Resolver().Targets(ctx, p.domain, dns.Server)
	if err == nil && len(targets) == 0 {
		err = errors.New("the domain has no server")
	}
	return targets, err
}

// shared is a stream to another domain of the same server that takes the pair too
// (XEP-0220 §2.6.2), where that says that it takes errors of dialback well, and the
// policy is met. The verdict is waited for, so p.dialing is not held: see open.
func (p *peer) shared(ctx context.Context, pair Pair, tried map[*conn]bool) *conn {
	var those []*conn
	p.v.mu.Lock()
	for c := range p.v.conns {
		if !c.incoming && c.multiplexes && !tried[c] && c.asks() {
			those = append(those, c)
		}
	}
	p.v.mu.Unlock()
	if len(those) == 0 {
		return nil
	}
	pol := p.v.policy(p.domain)
	targets, err := p.targets(ctx, pol)
	if err != nil || pol.Deny {
		return nil
	}
	t := targets[0]
	addrs, err := p.v.o.Resolver().Addresses(ctx, t.Host)
	if err != nil {
		return nil
	}
	for _, c := range those {
		if c.addr.Port() == t.Port && slices.Contains(addrs, c.addr.Addr()) && suits(c.s, pol, p.domain) == nil && c.claim(ctx, pair) == nil {
			return c
		}
	}
	return nil
}

// connect opens a stream to one server. It leaves it to SASL EXTERNAL to prove our
// domain; without that dialback is left.
func (p *peer) connect(ctx context.Context, t dns.Target, pair Pair, pol Policy) (*conn, error) {
	nc, err := p.v.o.Resolver().Dial(ctx, t, pol.Prohibited)
	if err != nil {
		return nil, failed(StepTCP, err)
	}
	ours, err := jid.New("", pair.Ours, "")
	if err != nil {
		_ = nc.Close()
		return nil, failed(StepPolicy, err)
	}
	log := p.v.o.Log.With().Stringer("peer", nc.RemoteAddr()).Logger()
	s := stream.New(nc, stream.Options{Content: stanza.Server, Limits: p.v.o.Limits, Wire: stream.WireLog(log), Observer: p.v.o.Observer})
	s.Address(ours, p.address)
	c := newConn(p.v, s, log)
	c.addr, c.pol = addrOf(nc.RemoteAddr()), pol
	list, err := p.negotiate(ctx, c, t, pol)
	if err != nil {
		c.end(nil)
		_ = s.End(context.WithoutCancel(ctx), err) // the first error is the one to tell
		return nil, err
	}
	c.offered(list)
	c.manages = c.manages && !p.unmanaged()
	if s.Mechanism() != "" {
		c.granted(pair, s.Mechanism())
	}
	if !c.begin(p) {
		c.end(nil)
		_ = s.Abort()
		return nil, failed(StepUse, stream.Shutdown)
	}
	return c, nil
}

// negotiate brings a stream to where pairs of domains are asked for.
func (p *peer) negotiate(ctx context.Context, c *conn, t dns.Target, pol Policy) (*xmlwire.Element, error) {
	s := c.s
	cfg := p.tlsConfig(c)
	if t.Direct {
		direct := cfg.Clone()
		direct.NextProtos = []string{"xmpp-server"} // XEP-0368 §2.1
		if err := s.UpgradeTLS(ctx, direct); err != nil {
			return nil, failed(StepTLS, err)
		}
	}
	external := &stream.LoginExternal{Refused: func(f *sasl.Failure) { c.refused = f }}
	features := []stream.Initiator{
		step{StepTLS, p.startTLS(cfg, pol)},
		step{StepCertificate, suited{p.domain, pol}},
		step{StepStream, &bidirectional{c: c}},
	}
	if p.v.certificate(c.s.Local().Domain()) != nil && !p.isDoubted() {
		features = append(features, step{StepSASL, external})
	}
	list, err := s.InitiateServer(ctx, features...)
	switch {
	case err != nil:
		return nil, failed(StepStream, err)
	case s.TLS() == nil && pol.TLS == TLSRequired: // a peer without features
		return nil, failed(StepTLS, stream.ErrNoTLS)
	}
	return list, nil
}

// startTLS asks for TLS as the policy says.
func (p *peer) startTLS(cfg *tls.Config, pol Policy) stream.Initiator {
	if pol.TLS == TLSNever {
		return nothing{}
	}
	return stream.RequestTLS{Config: cfg, Optional: pol.TLS != TLSRequired}
}

// tlsConfig shows our certificate where it is asked for, and takes any: which is good
// enough is decided with the policy at hand, and its words.
func (p *peer) tlsConfig(c *conn) *tls.Config {
	own := p.v.certificate(c.s.Local().Domain())
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         asciiName(p.domain),
		InsecureSkipVerify: true, //nolint:gosec // see suits
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if own == nil {
				return new(tls.Certificate), nil
			}
			return own, nil
		},
	}
}

// suits says whether a stream is as the policy of a domain wants it: what is wrong is the
// error, a *Failure.
func suits(s *stream.Stream, pol Policy, domain string) error {
	state := s.TLS()
	switch {
	case state == nil && pol.TLS == TLSRequired:
		return failed(StepTLS, stream.ErrNoTLS)
	case state == nil && pol.Verify != VerifyNone:
		return failed(StepTLS, errors.New("peer does not offer tls, and tls_verify needs a certificate"))
	case pol.Verify == VerifyCA:
		if err := certificate.Verify(state.PeerCertificates, pol.Roots, time.Now()); err != nil {
			return failed(StepCertificate, err)
		}
	case pol.Verify == VerifyHost:
		if err := proves(state, pol, domain); err != nil {
			return failed(StepCertificate, err)
		}
	}
	return nil
}

// proves says whether the certificate that was shown proves a domain; the error is why
// not.
func proves(state *tls.ConnectionState, pol Policy, domain string) error {
	if state == nil {
		return errors.New("there is no tls")
	}
	return certificate.Check(state.PeerCertificates, pol.Roots, time.Now(), domain, string(dns.Server))
}

// suited refuses, once TLS is there, a peer that does not suit.
type suited struct {
	domain string
	pol    Policy
}

func (f suited) Initiate(_ context.Context, s *stream.Stream, _ *xmlwire.Element) (stream.Next, error) {
	return stream.Continue, suits(s, f.pol, f.domain)
}

// nothing is a feature that is not asked for.
type nothing struct{}

func (nothing) Initiate(context.Context, *stream.Stream, *xmlwire.Element) (stream.Next, error) {
	return stream.Continue, nil
}

// step names what fails at a feature.
type step struct {
	of Step
	stream.Initiator
}

func (f step) Initiate(ctx context.Context, s *stream.Stream, list *xmlwire.Element) (stream.Next, error) {
	next, err := f.Initiator.Initiate(ctx, s, list)
	if err != nil {
		return next, failed(f.of, err)
	}
	return next, nil
}

// bidirectional asks for XEP-0288, after TLS and before the peer learns who we are (§2.2).
type bidirectional struct {
	c     *conn
	asked bool
}

func (f *bidirectional) Initiate(ctx context.Context, s *stream.Stream, list *xmlwire.Element) (stream.Next, error) {
	if f.asked || list.Child(xmlwire.Name{Space: nsBidiFeature, Local: "bidi"}) == nil {
		return stream.Continue, nil
	}
	f.asked, f.c.bidi = true, true
	return stream.Continue, s.Send(ctx, xmlwire.New(nsBidi, "bidi"))
}

// offered notes what the peer's last features say.
func (c *conn) offered(list *xmlwire.Element) {
	c.dialback = c.s.Dialback()
	if list == nil {
		return
	}
	if f := list.Child(xmlwire.Name{Space: nsDialbackFeature, Local: "dialback"}); f != nil {
		c.dialback = true
		c.multiplexes = f.Child(xmlwire.Name{Space: nsDialbackFeature, Local: "errors"}) != nil
	}
	c.manages = list.Child(xmlwire.Name{Space: stream.NSManagement, Local: "sm"}) != nil
}

// addrOf is the address of a peer; the zero one where it has none.
func addrOf(a net.Addr) netip.AddrPort {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// asciiName is a domain as TLS names it: in A-labels, without the brackets of an address.
func asciiName(domain string) string {
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil {
		return ascii
	}
	return strings.Trim(domain, "[]")
}

// errUnproven is for a peer that lets us prove ourselves in no way that we can.
func (c *conn) errUnproven() error {
	if c.refused != nil {
		return fmt.Errorf("peer refuses our certificate and offers no dialback: %w", c.refused)
	}
	return errors.New("peer offers neither dialback nor sasl external for our certificate")
}
