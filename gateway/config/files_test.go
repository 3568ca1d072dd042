package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// testFiles are files that configurations in tests name. All paths are absolute.
type testFiles struct {
	dir      string
	cert     string // certificate alone
	key      string // its key alone
	both     string // certificate and key
	otherKey string // a key of another certificate
	expired  string // an expired certificate and its key
	passwd   string // user:password lines
	script   string // a Lua script

	webhookKeys string // two of them
	token       string // a file with the token of an operator
}

func newTestFiles(t testing.TB) testFiles {
	t.Helper()
	f := testFiles{dir: t.TempDir()}
	now := time.Now()
	cert, key := newCertificate(t, now.Add(time.Hour))
	_, other := newCertificate(t, now.Add(time.Hour))
	old, oldKey := newCertificate(t, now.Add(-time.Hour))
	f.cert = f.write(t, "cert.pem", cert)
	f.key = f.write(t, "key.pem", key)
	f.both = f.write(t, "both.pem", cert+key)
	f.otherKey = f.write(t, "other-key.pem", other)
	f.expired = f.write(t, "expired.pem", old+oldKey)
	f.passwd = f.write(t, "passwd", "alice:wonderland\n")
	f.script = f.write(t, "script.lua", "local x = 1\n")
	f.webhookKeys = f.write(t, "keys", "# old and new\n"+oneKey+"\n\n"+otherKey+"\n")
	f.token = f.write(t, "token", "fedcba9876543210\n")
	return f
}

func (f testFiles) write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newCertificate(t testing.TB, until time.Time) (cert, key string) {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gw.example"}, DNSNames: []string{"gw.example"},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}
