package c2s

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	identities "mcmt2xmpp/xmpp/certificate"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/xmlwire"
	"mcmt2xmpp/xmpp/xmpptest"
)

const nsSASL, nsSASL2 = "urn:ietf:params:xml:ns:xmpp-sasl", "urn:xmpp:sasl:2"

// shown is a stream of a client that has shown a certificate, up to its features.
type shown struct {
	t        *testing.T
	conn     *tls.Conn
	dec      *xmlwire.Decoder
	features *xmlwire.Element
}

// show connects with a certificate that names the addresses, or without one for none.
func show(t *testing.T, f *fixture, domain string, addresses ...string) *shown {
	t.Helper()
	cfg := f.tls.Clone()
	cfg.ServerName = "localhost"
	if len(addresses) > 0 {
		cfg.Certificates = []tls.Certificate{xmpptest.NewAuthority(t).Issue(t, xmpptest.Leaf{XMPP: addresses})}
	}
	s := &shown{t: t, conn: tls.Client(dialTCP(t, f.addr), cfg)}
	_ = s.conn.SetDeadline(time.Now().Add(10 * time.Second))
	s.dec = xmlwire.NewDecoder(s.conn, xmlwire.Limits{})
	s.open(domain)
	return s
}

func (s *shown) open(domain string) {
	s.t.Helper()
	s.say("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='" + xmlwire.Streams + "' to='" + domain + "' version='1.0'>")
	if _, err := s.dec.Header(); err != nil {
		s.t.Fatal(err)
	}
	s.features = s.next()
}

func (s *shown) say(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, text); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shown) next() *xmlwire.Element {
	s.t.Helper()
	e, err := s.dec.Next()
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// offers says whether both profiles of SASL offer EXTERNAL; one alone is an error.
func (s *shown) offers() bool {
	s.t.Helper()
	var by [2]bool
	for i, list := range []xmlwire.Name{{Space: nsSASL, Local: "mechanisms"}, {Space: nsSASL2, Local: "authentication"}} {
		for m := range s.features.Child(list).Elements() {
			by[i] = by[i] || m.Name.Local == "mechanism" && m.Text() == "EXTERNAL"
		}
	}
	if by[0] != by[1] {
		s.t.Errorf("EXTERNAL is offered by one profile only: %s", s.features)
	}
	return by[0]
}

// externalServer takes what a certificate says for proven: verifying it is the
// listener's work.
func externalServer(t *testing.T) *fixture {
	t.Helper()
	server, client := certificate(t)
	server.ClientAuth = tls.RequestClientCert
	domains := func(d string) bool { return d == "localhost" || d == "other.example" }
	f := serve(t, router.Options{Domains: domains}, Options{}, ConnOptions{
		Direct: true, TLS: server,
		External: func(_ context.Context, domain string, state *tls.ConnectionState) []jid.JID {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			return slices.DeleteFunc(identities.JIDs(state.PeerCertificates[0]), func(j jid.JID) bool {
				return j.Domain() != domain || users[j.Local()] == ""
			})
		},
	})
	f.tls = client
	return f
}

// XEP-0178 §2: EXTERNAL is offered where the certificate names an account.
func TestExternalOffered(t *testing.T) {
	t.Parallel()
	f := externalServer(t)
	for name, tt := range map[string]struct {
		domain    string
		addresses []string
		want      bool
	}{
		"no certificate":       {"localhost", nil, false},
		"an account":           {"localhost", []string{"alice@localhost"}, true},
		"one of several":       {"localhost", []string{"alice@elsewhere.example", "nobody@localhost", "bob@localhost"}, true},
		"no account":           {"localhost", []string{"nobody@localhost"}, false},
		"an account elsewhere": {"other.example", []string{"alice@localhost"}, false},
		"a domain":             {"localhost", []string{"localhost"}, false},
		"of that domain":       {"other.example", []string{"alice@localhost", "alice@other.example"}, true},
	} {
		if s := show(t, f, tt.domain, tt.addresses...); s.offers() != tt.want {
			t.Errorf("%s: %s", name, s.features)
		}
	}
}

// XEP-0178 §2, RFC 6120 §6.3.8: the rules for the authorization identity, with both
// profiles of SASL.
func TestExternalAuthzid(t *testing.T) {
	t.Parallel()
	f := externalServer(t)
	one, two := []string{"alice@localhost"}, []string{"alice@localhost", "bob@localhost", "nobody@localhost"}
	for name, tt := range map[string]struct {
		addresses []string
		authzid   string
		want      string // who logs in, or the condition of the failure
	}{
		"one address":                  {one, "", "alice@localhost"},
		"one address, named":           {one, "alice@localhost", "alice@localhost"},
		"one address, in other words":  {one, "Alice@LOCALHOST", "alice@localhost"},
		"one address, another named":   {one, "bob@localhost", "invalid-authzid"},
		"several, none named":          {two, "", "invalid-authzid"},
		"several, one named":           {two, "bob@localhost", "bob@localhost"},
		"several, one without account": {two, "nobody@localhost", "invalid-authzid"},
		"a full JID":                   {one, "alice@localhost/x", "invalid-authzid"},
		"no JID":                       {one, "@", "invalid-authzid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b64 := base64.StdEncoding.EncodeToString([]byte(tt.authzid))
			s := show(t, f, "localhost", tt.addresses...)
			s.say("<authenticate xmlns='" + nsSASL2 + "' mechanism='EXTERNAL'><initial-response>" + b64 + "</initial-response></authenticate>")
			success := s.next()
			s.check(success, tt.want)
			if id := success.Child(xmlwire.Name{Space: nsSASL2, Local: "authorization-identifier"}); id != nil && id.Text() != tt.want {
				t.Errorf("SASL2 logs in %s", id.Text())
			}

			s = show(t, f, "localhost", tt.addresses...)
			if b64 == "" {
				b64 = "=" // an empty initial response, RFC 6120 §6.4.2
			}
			s.say("<auth xmlns='" + nsSASL + "' mechanism='EXTERNAL'>" + b64 + "</auth>")
			if !s.check(s.next(), tt.want) {
				return
			}
			s.dec.Reset(s.conn)
			s.open("localhost")
			s.say("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
			bound := s.next().Child(xmlwire.Name{Space: "urn:ietf:params:xml:ns:xmpp-bind", Local: "bind"})
			if got := bound.String(); !strings.Contains(got, "<jid>"+tt.want+"/") {
				t.Errorf("bound: %s", got)
			}
		})
	}
}

// check holds an answer to what is wanted of it, and says whether that is success.
func (s *shown) check(answer *xmlwire.Element, want string) bool {
	s.t.Helper()
	ok := strings.Contains(want, "@")
	failed := answer.Child(xmlwire.Name{Space: nsSASL, Local: want}) != nil
	if ok && answer.Name.Local != "success" || !ok && (answer.Name.Local != "failure" || !failed) {
		s.t.Fatalf("want %s, got %s", want, answer)
	}
	return ok
}

// Without a certificate EXTERNAL is a mechanism that is not on offer (RFC 6120
// §6.5.7), and a password works as ever.
func TestExternalNotOffered(t *testing.T) {
	t.Parallel()
	f := externalServer(t)
	s := show(t, f, "localhost")
	s.say("<auth xmlns='" + nsSASL + "' mechanism='EXTERNAL'>YWxpY2VAbG9jYWxob3N0</auth>")
	s.check(s.next(), "invalid-mechanism")
	s.say("<auth xmlns='" + nsSASL + "' mechanism='PLAIN'>AGFsaWNlAHNlY3JldA==</auth>")
	s.check(s.next(), "alice@localhost")
}
