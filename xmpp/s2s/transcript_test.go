package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

// TestTranscripts plays testdata against a server of a.example and a2.example, with the
// secret "s" and a user alice@a.example/x. Others are actors: those of b.example,
// b2.example (on the server of b.example) and c.example listen; that of refused.example
// does not, silent.example says nothing, and no other domain exists.
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	ca := xmpptest.NewAuthority(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			script, err := xmpptest.Parse(f)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			_, stage := newStage(t, ca, script.Uses)
			if _, err := script.PlayOn(t.Context(), stage); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		})
	}
}

// recorder is a router that keeps what is given back where a transcript sees it.
type recorder struct {
	*router.Router
	kept chan *stanza.Stanza
}

func (r recorder) Return(_ context.Context, st *stanza.Stanza, _ time.Time) error {
	r.kept <- st
	return nil
}

// newStage starts the server that USE words ask for, and all others.
func newStage(t *testing.T, ca *xmpptest.Authority, uses []string) (*site, xmpptest.Stage) {
	t.Helper()
	n := new(names)
	o := siteOptions{domains: []string{"a.example", "a2.example"}, secret: "s", kept: make(chan *stanza.Stanza, 100), limits: ConnOptions{}}
	o.limits.Limits.Close, o.streams.Close = time.Second, time.Second
	pol := Policy{Roots: ca.Pool()}
	perDomain := make(map[string]func(*Policy))
	for _, use := range uses {
		switch use {
		case "tls":
			o.cert = issue(t, ca, "a.example")
		case "direct":
			o.cert, o.limits.Direct = issue(t, ca, "a.example"), true
		case "tls-required":
			pol.TLS = TLSRequired
		case "tls-never":
			pol.TLS = TLSNever
		case "verify-host":
			pol.Verify = VerifyHost
		case "deny-c":
			perDomain["c.example"] = func(p *Policy) { p.Deny = true }
		case "one-connection":
			pol.Connections = 1
		case "hurry":
			o.limits.Limits.Negotiation, o.streams.Negotiation = 300*time.Millisecond, 300*time.Millisecond
		case "impatient":
			o.proof = 200 * time.Millisecond
		case "idle":
			pol.Idle = 50 * time.Millisecond
		case "no-pause":
			pol.Retry, pol.MaxRetry = time.Nanosecond, time.Nanosecond
		default:
			t.Fatalf("no such use: %s", use)
		}
	}
	o.policy = func(domain string) Policy {
		p := pol
		if change := perDomain[domain]; change != nil {
			change(&p)
		}
		return p
	}
	listeners := far(t, n)
	s := newSite(t, n, o)
	alice := s.bind(t, "alice@a.example/x")
	s.bind(t, "alice@a2.example/x").got = alice.got
	certificates := make(map[string]tls.Certificate)
	for _, domain := range []string{"b.example", "c.example"} {
		certificates[domain] = *issue(t, ca, domain)
		certificates["unknown."+domain] = *own(t, domain)
	}
	wildcard := ca.Issue(t, xmpptest.Leaf{DNS: []string{"*.b.example", "b.example"}})
	certificates["wildcard"] = wildcard
	certificates["appended"] = appended(certificates["unknown.b.example"], certificates["b.example"])
	return s, xmpptest.Stage{
		Address: func(string) string { return s.address }, Content: stanza.Server,
		Certificate: func(name string) tls.Certificate { return certificates[name] },
		Accept: func(ctx context.Context, domain string) (net.Conn, error) {
			ln := listeners[domain]
			if ln == nil {
				return nil, errors.New("nobody listens there")
			}
			deadline, _ := ctx.Deadline()
			if err := ln.SetDeadline(deadline); err != nil {
				return nil, err
			}
			return ln.Accept()
		},
		Send: func(ctx context.Context, e *xmlwire.Element) error {
			st, err := stanza.Parse(e)
			if err != nil {
				return err
			}
			return s.router.Route(ctx, alice, st)
		},
		Got:  func(ctx context.Context) (*xmlwire.Element, error) { return next(ctx, alice.got) },
		Kept: func(ctx context.Context) (*xmlwire.Element, error) { return next(ctx, o.kept) },
	}
}

// appended is a certificate with that of somebody else in its chain.
func appended(own, other tls.Certificate) tls.Certificate {
	own.Certificate = append(own.Certificate[:1:1], other.Certificate...)
	return own
}

// next is the next stanza with its addresses, in the namespace of clients.
func next(ctx context.Context, from <-chan *stanza.Stanza) (*xmlwire.Element, error) {
	select {
	case st := <-from:
		return xmlwire.Parse(st.Append(nil, ""), xmlwire.Limits{})
	case <-ctx.Done():
		return nil, errors.New("there is nothing")
	}
}

// far has the servers of others listen.
func far(t testing.TB, n *names) map[string]*net.TCPListener {
	t.Helper()
	all := make(map[string]*net.TCPListener)
	for _, domain := range []string{"b.example", "c.example", "silent.example", "refused.example"} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n.set(domain, ln.Addr().String())
		all[domain] = ln.(*net.TCPListener)
		t.Cleanup(func() { _ = ln.Close() })
	}
	_ = all["refused.example"].Close()
	n.set("b2.example", all["b.example"].Addr().String())
	return all
}
