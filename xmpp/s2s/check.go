package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mcmt2xmpp/xmpp/certificate"
	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Check is what an active test of the way to a domain has found.
type Check struct {
	Domain string `json:"domain"`
	From   string `json:"from"` // domain of ours that it was made for
	// OK says that stanzas can be sent.
	OK    bool        `json:"ok"`
	Steps []CheckStep `json:"steps"`
}

// CheckStep is one step of it.
type CheckStep struct {
	Step   Step   `json:"step"`
	Target string `json:"target,omitempty"` // host:port, once there is one
	OK     bool   `json:"ok"`
	// Text is what was found, or what is wrong; Advice what to do about it.
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// advice is what to do where a step fails.
var advice = map[Step]string{
	StepPolicy:      "set xmpp_role = \"client\" for the domain, or s2s_default = \"allow\"; s2s unblock where an operator has blocked it",
	StepDNS:         "look for _xmpp-server._tcp and _xmpps-server._tcp of the domain with dig; set routes for a domain that has no records, resolvers for other dns servers",
	StepTCP:         "see whether the port is open from this machine, and that no firewall is between",
	StepTLS:         "the other side has to offer starttls with at least tls 1.2; tls = \"ifavailable\" goes on without",
	StepCertificate: "the other side has to renew its certificate or name the domain in it; set tls_ca for a private authority, or tls_verify = \"no\" to trust dialback alone",
	StepStream:      "the other side has to serve the domain on this address; its log says more",
	StepSASL:        "our certificate (tls_certificate of the listener for servers) has to name our domain and be signed by an authority that the other side knows",
	StepDialback:    "the other side asks our servers, as dns names them, about our key: see that they are reached on port 5269, and share xmpp_dialback_secret",
}

func (k *Check) add(step Step, target string, err error, text string) bool {
	st := CheckStep{Step: step, Target: target, OK: err == nil, Text: text}
	if err != nil {
		var f *Failure
		if errors.As(err, &f) {
			st.Step, err = f.Step, f.Err
		}
		st.Text, st.Advice = err.Error(), advice[st.Step]
	}
	k.Steps = append(k.Steps, st)
	return err == nil
}

// Check tests each step of the way from a domain of ours to another one, on streams of
// its own: DNS, TCP, TLS and the certificate of each server, what it offers, and whether
// it takes our stanzas. It sends none.
func (v *Server) Check(ctx context.Context, ours, domain string) (*Check, error) {
	address, err := jid.New("", domain, "")
	if err != nil {
		return nil, err
	}
	from, err := jid.New("", ours, "")
	if err != nil {
		return nil, err
	}
	k := &Check{Domain: address.Domain(), From: from.Domain()}
	// It is not among those that are known: what it finds is no failure of them.
	p := &peer{v: v, domain: k.Domain, address: address, dialing: make(chan struct{}, 1), lanes: make(map[string]*lane)}
	pol := v.policy(k.Domain)
	switch {
	case v.o.Serves(k.Domain):
		k.add(StepPolicy, "", errors.New("the domain is served here"), "")
		return k, nil
	case pol.Deny:
		k.add(StepPolicy, "", errDenied, "")
		return k, nil
	}
	targets, err := p.targets(ctx, pol)
	if !k.add(StepDNS, "", err, listed(targets)) {
		return k, nil
	}
	for _, t := range targets[:min(len(targets), maxTargets)] {
		k.OK = v.checkTarget(ctx, k, p, t, from, pol) || k.OK
		if ctx.Err() != nil {
			break
		}
	}
	return k, nil
}

func listed(targets []dns.Target) string {
	var all []string
	for _, t := range targets {
		text := name(t)
		if t.Direct {
			text += " (tls from the first byte)"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func name(t dns.Target) string {
	if addr, err := netip.ParseAddr(t.Host); err == nil {
		return netip.AddrPortFrom(addr, t.Port).String()
	}
	return fmt.Sprintf("%s:%d", t.Host, t.Port)
}

// checkTarget tests one server.
func (v *Server) checkTarget(ctx context.Context, k *Check, p *peer, t dns.Target, ours jid.JID, pol Policy) bool {
	target := name(t)
	nc, err := v.o.Resolver().Dial(ctx, t, pol.Prohibited)
	if err != nil {
		return k.add(StepTCP, target, err, "")
	}
	k.add(StepTCP, target, nil, "connected to "+nc.RemoteAddr().String())
	s := stream.New(nc, stream.Options{Content: stanza.Server, Limits: v.o.Limits, Wire: stream.WireLog(v.o.Log), Observer: v.o.Observer})
	s.Address(ours, p.address)
	c := newConn(v, s, v.o.Log)
	c.addr, c.pol = addrOf(nc.RemoteAddr()), pol
	loose := pol // what the certificate lacks is said for itself
	loose.Verify = VerifyNone
	list, err := p.negotiate(ctx, c, t, loose)
	k.addTLS(p, s, pol, target, err)
	if err != nil {
		_ = s.End(context.WithoutCancel(ctx), err)
		c.end(nil)
		return k.add(StepStream, target, err, "")
	}
	c.offered(list)
	fits := suits(s, pol, p.domain) == nil
	k.add(StepStream, target, nil, offers(c, list))
	pair := Pair{k.From, k.Domain}
	if s.Mechanism() != "" {
		c.granted(pair, s.Mechanism())
		k.add(StepSASL, target, nil, "they take our certificate")
	}
	if !v.add(c) || !v.spawn(func() { c.serve(c.life) }) {
		c.end(nil)
		v.remove(c)
		_ = s.Abort()
		return false
	}
	defer c.end(errIdle)
	if c.may(pair) {
		return fits
	}
	if !c.dialback {
		return k.add(StepSASL, target, c.errUnproven(), "")
	}
	return k.add(StepDialback, target, c.claim(ctx, pair), "they take our dialback key") && fits
}

// addTLS says what TLS there is, and what the certificate is worth.
func (k *Check) addTLS(p *peer, s *stream.Stream, pol Policy, target string, negotiated error) {
	state := s.TLS()
	if state == nil {
		if negotiated == nil {
			k.add(StepTLS, target, nil, "none: the stream is in clear text")
		}
		return
	}
	k.add(StepTLS, target, nil, fmt.Sprintf("%s, %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)))
	text := certificate.Describe(state.PeerCertificates)
	if err := proves(state, pol, p.domain); err != nil {
		if suits(s, pol, p.domain) != nil {
			k.add(StepCertificate, target, err, "")
			return
		}
		text += "; it proves nothing, and tls_verify does not ask for it: " + err.Error()
	}
	k.add(StepCertificate, target, nil, text)
}

// offers is what the features of a peer say.
func offers(c *conn, list *xmlwire.Element) string {
	var all []string
	if list != nil {
		if m := list.Child(xmlwire.Name{Space: "urn:ietf:params:xml:ns:xmpp-sasl", Local: "mechanisms"}); m != nil {
			for e := range m.Elements() {
				all = append(all, "sasl "+e.Text())
			}
		}
	}
	for what, there := range map[string]bool{"dialback": c.dialback, "dialback errors": c.multiplexes, "stream management": c.manages, "bidi": c.bidi} {
		if there {
			all = append(all, what)
		}
	}
	if len(all) == 0 {
		return "they offer nothing"
	}
	slices.Sort(all)
	return "they offer " + strings.Join(all, ", ")
}
