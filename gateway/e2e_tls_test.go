package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stream"
)

// authority is a certificate authority of the test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate for localhost with an RSA key, which all cipher
// suites with "RSA" in their names need, as PEM.
func (a *authority) issue(serial int64) (cert, key []byte) {
	a.t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		KeyUsage:  x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)})
}

// pair is issue as a client shows it.
func (a *authority) pair(serial int64) tls.Certificate {
	a.t.Helper()
	cert, err := tls.X509KeyPair(a.issue(serial))
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// pool trusts the authority.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// shown logs in and returns the serial number of the certificate that the
// gateway showed.
func shown(t *testing.T, addr, user string, cfg *tls.Config) (int64, *jabber, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	j, err := loginOver(t, conn, stream.ClientOptions{JID: jid.MustParse(user), TLS: cfg}, 0)
	if err != nil {
		return 0, nil, err
	}
	return j.c.Stream().TLS().PeerCertificates[0].SerialNumber.Int64(), j, nil
}

// TestCertificates: each scope shows its certificate (Table 10.1:
// tls_certificate, tls_key, tls_ciphers).
func TestCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	g := newGatewayOf(t, "")
	files := func(name string, serial int64) (cert, key string) {
		c, k := ca.issue(serial)
		return g.write(name+".crt", string(c)), g.write(name+".key", string(k))
	}
	cert11, key11 := files("eleven", 11)
	cert12, key12 := files("twelve", 12)
	cert13, key13 := ca.issue(13)
	both13 := g.write("both.pem", string(cert13)+string(key13))
	g.write("gateway.conf", xmppOnly+`
pathway "twelve" { tls_certificate = "`+cert12+`" tls_key = "`+key12+`" }
xmpp_listener {
  tls_certificate = "`+cert11+`"
  tls_key = "`+key11+`"
  listen "127.0.3.1:0" { peer "127.0.4.1" { pathway = "twelve" } peer "127.0.4.2" { tls_certificate = "none" } }
  listen "127.0.3.2:0" { tls_certificate = "`+both13+`" tls_key = "`+both13+`" }
  listen "127.0.3.3:0" { tls_certificate = "none" }
  listen "127.0.3.4:0" { tls_ciphers = "ECDHE-RSA-AES256-GCM-SHA384" }
  listen "127.0.3.5:0" { use_ssl = true }
}
xmpp_listener { listen "127.0.0.1:0" {} }
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	trusted := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	for host, want := range map[string]int64{"127.0.3.1": 11, "127.0.3.2": 13} {
		if got, _, err := shown(t, g.on(host), "alice@localhost", trusted); err != nil || got != want {
			t.Errorf("%s shows certificate %d, want %d (%v)", host, got, want, err)
		}
	}
	if _, _, err := shown(t, g.on("127.0.0.1"), "alice@localhost", trusted); err == nil {
		t.Error("the self-signed certificate passes for one of the authority's")
	}

	w := dialWire(t, g.on("127.0.3.1"), "127.0.4.1")
	w.open()
	w.startTLS(trusted)
	if got := w.conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != 12 {
		t.Errorf("the peer's pathway shows certificate %d, want 12", got)
	}
	for _, none := range [][2]string{{"127.0.3.3", ""}, {"127.0.3.1", "127.0.4.2"}} {
		w := dialWire(t, g.on(none[0]), none[1])
		if offersTLS(w.open()) {
			t.Errorf("%v offers STARTTLS with tls_certificate = none", none)
		}
	}

	cipher := trusted.Clone()
	cipher.MaxVersion = tls.VersionTLS12
	_, j, err := shown(t, g.on("127.0.3.4"), "alice@localhost", cipher)
	if err != nil {
		t.Fatal(err)
	}
	if got := j.c.Stream().TLS().CipherSuite; got != tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 {
		t.Errorf("cipher suite %s, want the one of tls_ciphers", tls.CipherSuiteName(got))
	}
	cipher.CipherSuites = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	if _, _, err := shown(t, g.on("127.0.3.4"), "alice@localhost", cipher); err == nil {
		t.Error("a suite that tls_ciphers does not name is taken")
	}
	if _, _, err := shown(t, g.on("127.0.3.1"), "alice@localhost", cipher); err != nil {
		t.Errorf("the same suite without tls_ciphers: %v", err)
	}

	// TLS from the first byte (XEP-0368).
	conn, err := net.Dial("tcp", g.on("127.0.3.5"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loginOver(t, conn, stream.ClientOptions{JID: jid.MustParse("alice@localhost"), TLS: trusted, Direct: true}, 0); err != nil {
		t.Errorf("direct TLS: %v", err)
	}
}

// TestClientCertificates: tls_verify_mode and tls_client_ca.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "clients"), newAuthority(t, "others")
	g := newGatewayOf(t, "")
	caFile := g.write("ca.pem", string(ca.pem))
	otherFile := g.write("other.pem", string(other.pem))
	g.write("gateway.conf", xmppOnly+`
xmpp_listener {
  tls_client_ca = "`+caFile+`"
  listen "127.0.3.1:0" { tls_verify_mode = "none" }
  listen "127.0.3.2:0" { tls_verify_mode = "require" }
  listen "127.0.3.3:0" {}
  listen "127.0.3.4:0" { tls_verify_mode = "require" tls_client_ca = "`+otherFile+`" }
}
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	good, bad := ca.pair(1), other.pair(2)
	for _, c := range []struct {
		name, listen string
		show         *tls.Certificate
		in, asked    bool
	}{
		{"none, and no certificate", "127.0.3.1", nil, true, false},
		{"none, and a good one: not asked for", "127.0.3.1", &good, true, false},
		{"require, and no certificate", "127.0.3.2", nil, false, true},
		{"require, and a good one", "127.0.3.2", &good, true, true},
		{"require, and another authority's", "127.0.3.2", &bad, false, true},
		{"unset, and no certificate", "127.0.3.3", nil, true, true},
		{"unset, and a good one", "127.0.3.3", &good, true, true},
		{"unset, and another authority's", "127.0.3.3", &bad, true, true},
		{"require with an authority of its own", "127.0.3.4", &bad, true, true},
		{"require with an authority of its own, and another", "127.0.3.4", &good, false, true},
	} {
		var asked atomic.Bool
		cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12,
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				asked.Store(true)
				if c.show == nil {
					return new(tls.Certificate), nil
				}
				return c.show, nil
			}}
		_, _, err := shown(t, g.on(c.listen), "alice@localhost", cfg)
		if (err == nil) != c.in {
			t.Errorf("%s: in %v, want %v (%v)", c.name, err == nil, c.in, err)
		}
		if asked.Load() != c.asked {
			t.Errorf("%s: asked for a certificate: %v, want %v", c.name, asked.Load(), c.asked)
		}
	}
	// The result is recorded; who comes without where one is required fails in the
	// handshake, before there is a result.
	m := metricsOf(t, g)
	for result, want := range map[string]float64{"verified": 3, "refused": 3, "absent": 1} {
		if got := m.value(t, `mcmt2xmpp_client_certificates_total{result="`+result+`"}`); got != want {
			t.Errorf("%v certificates %s, want %v", got, result, want)
		}
	}
}

// TestCertificateReplaced: new handshakes get the new certificate, by themselves
// and on SIGHUP, and the session of the old one stays.
func TestCertificateReplaced(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "servers")
	g := newGatewayOf(t, "")
	cert, key := ca.issue(1)
	certFile, keyFile := g.write("gw.crt", string(cert)), g.write("gw.key", string(key))
	g.write("gateway.conf", xmppOnly+`
http_listener { listen "127.0.0.1:0" {} }
xmpp_listener { tls_certificate = "`+certFile+`" tls_key = "`+keyFile+`" listen "127.0.0.1:0" {} }
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	trusted := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
	serial := func() int64 {
		got, j, err := shown(t, g.xmpp(), "alice@localhost/new", trusted)
		if err != nil {
			t.Fatal(err)
		}
		j.close()
		return got
	}
	got, old, err := shown(t, g.xmpp(), "alice@localhost/old", trusted)
	if err != nil || got != 1 {
		t.Fatalf("certificate %d, want 1 (%v)", got, err)
	}
	replace := func(serial int64) {
		t.Helper()
		cert, key := ca.issue(serial)
		// As a client of ACME does it: beside, then over the old one.
		for file, text := range map[string][]byte{certFile: cert, keyFile: key} {
			fresh := filepath.Join(g.dir, "fresh")
			if err := os.WriteFile(fresh, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(fresh, file); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace(2)
	g.eventually("certificate 2", func() bool { return serial() == 2 })
	replace(3)
	from := g.reload(g.config())
	g.logged(from, "configuration reloaded")
	if got := serial(); got != 3 {
		t.Errorf("certificate %d after SIGHUP, want 3", got)
	}
	// One that cannot be used is refused, and the last good one stays.
	g.write("gw.crt", "not a certificate")
	from = g.logSize()
	g.eventually("the refusal of a bad certificate", func() bool {
		if got := serial(); got != 3 {
			t.Fatalf("certificate %d after a bad one, want 3", got)
		}
		return strings.Contains(g.logFrom(from), "the old one stays")
	})
	if err := inject(t.Context(), g, false, "alice@localhost", "still here"); err != nil {
		t.Fatal(err)
	}
	old.want("still here")
}
