package main

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/xmpptest"
)

// TestExternal: a client logs in by its certificate (XEP-0178 §2, options
// allow_external and tls_client_ca).
func TestExternal(t *testing.T) {
	t.Parallel()
	ca, other := xmpptest.NewAuthority(t), xmpptest.NewAuthority(t)
	g := newGatewayOf(t, "")
	caFile := g.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate.Raw})))
	passwords := g.write("passwords", "dora:secret\n")
	g.write("gateway.conf", xmppOnly+`
xmpp_listener {
  tls_client_ca = "`+caFile+`"
  listen "127.0.3.1:0" { peer "127.0.4.1" { allow_external = false } }
  listen "127.0.3.2:0" { tls_verify_mode = "none" }
  listen "127.0.3.3:0" { authplainparameters = [ uri = "file://`+passwords+`" ] }
}
xmpp_listener { listen "127.0.3.4:0" {} }
http_listener { listen "127.0.0.1:0" {} }
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	named := func(by *xmpptest.Authority, l xmpptest.Leaf) *tls.Certificate {
		cert := by.Issue(t, l)
		return &cert
	}
	alice := xmpptest.Leaf{XMPP: []string{"alice@localhost"}}
	expired := alice
	expired.NotBefore, expired.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	self := alice
	self.SelfSigned = true
	appended := named(ca, xmpptest.Leaf{XMPP: []string{"mallory@localhost"}})
	appended.Certificate = append(appended.Certificate, named(ca, alice).Certificate...)
	for _, c := range []struct {
		name, source, listen string
		show                 *tls.Certificate
		offered              bool
	}{
		{"verified", "", "127.0.3.1", named(ca, alice), true},
		{"none", "", "127.0.3.1", nil, false},
		{"allow_external = false for the peer", "127.0.4.1", "127.0.3.1", named(ca, alice), false},
		{"of another authority", "", "127.0.3.1", named(other, alice), false},
		{"signed by itself", "", "127.0.3.1", named(ca, self), false},
		{"run out", "", "127.0.3.1", named(ca, expired), false},
		{"appended to that of another", "", "127.0.3.1", appended, false},
		{"without an account", "", "127.0.3.1", named(ca, xmpptest.Leaf{XMPP: []string{"nobody@localhost"}}), false},
		{"by an authority for some domains", "", "127.0.3.1", named(ca.Below(t, "localhost"), alice), false},
		{"not asked for", "", "127.0.3.2", named(ca, alice), false},
		{"an account of a file", "", "127.0.3.3", named(ca, xmpptest.Leaf{XMPP: []string{"dora@localhost"}}), true},
		{"an account of another store", "", "127.0.3.3", named(ca, alice), false},
		{"without tls_client_ca", "", "127.0.3.4", named(ca, alice), false},
	} {
		w := dialWire(t, g.on(c.listen), c.source)
		w.open()
		if got := mechanisms(w.startTLS(showing(c.show))); slices.Contains(got, "EXTERNAL") != c.offered {
			t.Errorf("%s: offered %v", c.name, got)
		}
	}

	w := dialWire(t, g.on("127.0.3.1"), "")
	w.open()
	w.startTLS(showing(named(ca, alice)))
	w.external("")
	w.bind("desk")
	if err := inject(t.Context(), g, false, "alice@localhost", "hello by certificate"); err != nil {
		t.Fatal(err)
	}
	if m := w.message(); !strings.Contains(m.String(), "hello by certificate") {
		t.Errorf("got %s", m)
	}
}

// TestExternalOpenSSL: the same with a certificate that another program has made.
func TestExternalOpenSSL(t *testing.T) {
	t.Parallel()
	openssl := peer(t, "openssl", "openssl")
	g := newGatewayOf(t, "")
	file := func(name string) string { return filepath.Join(g.dir, name) }
	ext := g.write("ext", "subjectAltName=otherName:1.3.6.1.5.5.7.8.5;UTF8:Alice@LOCALHOST,otherName:1.3.6.1.5.5.7.8.5;UTF8:bob@localhost\n")
	for _, args := range []string{
		"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout " + file("ca.key") + " -out " + file("ca.pem"),
		"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=alice -keyout " + file("alice.key") + " -out " + file("alice.csr"),
		"x509 -req -days 2 -in " + file("alice.csr") + " -CA " + file("ca.pem") + " -CAkey " + file("ca.key") + " -extfile " + ext + " -out " + file("alice.pem"),
	} {
		if out, err := exec.CommandContext(t.Context(), openssl, strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v\n%s", args, err, out)
		}
	}
	g.write("gateway.conf", xmppOnly+`xmpp_listener { tls_client_ca = "`+file("ca.pem")+`" listen "127.0.0.1:0" {} }`)
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	pair, err := tls.LoadX509KeyPair(file("alice.pem"), file("alice.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"alice@localhost", "bob@localhost"} {
		w := dialWire(t, g.xmpp(), "")
		w.open()
		w.startTLS(showing(&pair))
		w.external(user)
		w.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
		if got := w.next().String(); !strings.Contains(got, "<jid>"+user+"/") {
			t.Errorf("%s is bound as %s", user, got)
		}
	}
}

// showing is a client that shows a certificate, whatever authorities the server names.
func showing(cert *tls.Certificate) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert == nil {
				return new(tls.Certificate), nil
			}
			return cert, nil
		}}
}

// external logs in by EXTERNAL and opens the stream above it.
func (w *wire) external(authzid string) {
	w.t.Helper()
	text := "="
	if authzid != "" {
		text = base64.StdEncoding.EncodeToString([]byte(authzid))
	}
	w.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>" + text + "</auth>")
	if e := w.next(); e.Name.Local != "success" {
		w.t.Fatalf("EXTERNAL answered %s", e)
	}
	w.open()
}
