package listener

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// authority issues certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	return a
}

// issue returns certificate and key in PEM form.
func (a *authority) issue(t testing.TB, name string, usage []x509.ExtKeyUsage, until time.Time) (certPEM, keyPEM []byte) {
	t.Helper()
	key := newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, ExtKeyUsage: usage, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func write(t testing.TB, name string, parts ...[]byte) string {
	t.Helper()
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	if err := os.WriteFile(name, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// shown returns the name in the certificate that c would show now, as though
// the last look at the files were long ago.
func shown(t *testing.T, c *Certificates) string {
	t.Helper()
	c.nextCheck.Store(0)
	cert, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.Subject.CommonName
}

func TestSelfSigned(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	o := CertificateOptions{Dir: dir, Names: []string{"localhost", "bücher.example", "127.0.0.1"}}
	c, err := OpenCertificates(o)
	if err != nil {
		t.Fatal(err)
	}
	leaf := c.current.Load().Leaf
	for _, name := range []string{"localhost", "xn--bcher-kva.example", "127.0.0.1"} {
		if err := leaf.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if left := time.Until(leaf.NotAfter); left < 9*365*24*time.Hour {
		t.Errorf("valid for %v only", left)
	}
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key is %T", leaf.PublicKey)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost"}); err != nil {
		t.Errorf("a client that trusts it: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "self-signed.key"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("key file: %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("folder: %v, %v", info.Mode(), err)
	}

	again, err := OpenCertificates(o)
	if err != nil || !again.current.Load().Leaf.Equal(leaf) {
		t.Errorf("a restart made another certificate (%v)", err)
	}
	o.Names = append(o.Names, "new.example")
	grown, err := OpenCertificates(o)
	if err != nil || grown.current.Load().Leaf.VerifyHostname("new.example") != nil {
		t.Fatalf("a new domain is not covered (%v)", err)
	}
	if !leaf.PublicKey.(*ecdsa.PublicKey).Equal(grown.current.Load().Leaf.PublicKey) {
		t.Error("the key changed: those who pinned it are cut off")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

// Near its end the certificate is made anew, and a file that is not our key is
// not overwritten.
func TestSelfSignedRenewal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	start := time.Now()
	for _, step := range []struct {
		when time.Time
		want bool
	}{
		{start, true}, {start.Add(time.Hour), false},
		{start.Add(selfSignedLife - selfSignedRenew - time.Hour), false},
		{start.Add(selfSignedLife - selfSignedRenew + time.Hour), true},
	} {
		if made, err := ensureSelfSigned(cert, key, nil, step.when); err != nil || made != step.want {
			t.Errorf("after %v: made %v, %v", step.when.Sub(start), made, err)
		}
	}
	write(t, key, []byte("precious"))
	if _, err := ensureSelfSigned(cert, key, nil, start); err == nil {
		t.Error("a foreign key file was taken")
	}
	if b, _ := os.ReadFile(key); string(b) != "precious" {
		t.Errorf("the key file holds %q", b)
	}
}

func TestLoadKeyPair(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.issue(t, "a.example", nil, time.Now().Add(time.Hour))
	_, otherKey := ca.issue(t, "b.example", nil, time.Now().Add(time.Hour))
	locked := []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
	for name, tc := range map[string]struct {
		cert, key []byte // key nil: the key is in the certificate file
		ok        bool
		says      string
	}{
		"two files":               {cert, key, true, ""},
		"one file":                {append(append([]byte{}, cert...), key...), nil, true, ""},
		"key first in one file":   {append(append([]byte{}, key...), cert...), nil, true, ""},
		"no key anywhere":         {cert, nil, false, "tls_key"},
		"the key of another":      {cert, otherKey, false, "does not match"},
		"an encrypted key":        {cert, locked, false, "encrypted"},
		"no certificate in PEM":   {[]byte("hello"), key, false, "tls_certificate"},
		"a certificate cut short": {cert[:len(cert)/2], key, false, "tls_certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			certFile, keyFile := write(t, filepath.Join(dir, "c"), tc.cert), ""
			if tc.key != nil {
				keyFile = write(t, filepath.Join(dir, "k"), tc.key)
			}
			_, err := OpenCertificates(CertificateOptions{Cert: certFile, Key: keyFile})
			if (err == nil) != tc.ok {
				t.Fatalf("got %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%q does not say %q", err, tc.says)
			}
		})
	}
	if _, err := OpenCertificates(CertificateOptions{Key: "k", Dir: t.TempDir()}); err == nil {
		t.Error("a key without a certificate was taken")
	}
}

// New files are taken up by a handshake, without a restart; broken ones are
// logged once and change nothing.
func TestCertificateFollowsFiles(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	dir, far := t.TempDir(), time.Now().Add(time.Hour)
	certA, keyA := ca.issue(t, "a.example", nil, far)
	certB, keyB := ca.issue(t, "b.example", nil, far)
	certFile, keyFile := write(t, filepath.Join(dir, "c"), certA), write(t, filepath.Join(dir, "k"), keyA)
	var log syncBuffer
	c, err := OpenCertificates(CertificateOptions{Cert: certFile, Key: keyFile, Log: zerolog.New(&log)})
	if err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c); got != "a.example" {
		t.Fatalf("shows %s", got)
	}

	write(t, certFile, certB) // the key comes later, as with two copies
	if got := shown(t, c); got != "a.example" {
		t.Errorf("half of a pair: shows %s", got)
	}
	shown(t, c)
	if n := strings.Count(log.String(), "refused"); n != 1 {
		t.Errorf("refused %d times in the log, want once: %s", n, log.String())
	}
	write(t, keyFile, keyB)
	if got := shown(t, c); got != "b.example" {
		t.Errorf("whole pair: shows %s", got)
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c); got != "b.example" {
		t.Errorf("file gone: shows %s", got)
	}

	write(t, certFile, certA)
	write(t, keyFile, keyA)
	if _, err := c.GetCertificate(nil); err != nil { // within the second: no look
		t.Fatal(err)
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := c.current.Load().Leaf.Subject.CommonName; got != "a.example" {
		t.Errorf("after Reload: shows %s", got)
	}
	write(t, certFile, []byte("broken"))
	if err := c.Reload(); err == nil {
		t.Error("Reload hides a broken file")
	}
}

// Handshakes look at the files at most once a second.
func TestCertificateLooksOnceASecond(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	certA, keyA := ca.issue(t, "a.example", nil, time.Now().Add(time.Hour))
	certB, keyB := ca.issue(t, "b.example", nil, time.Now().Add(time.Hour))
	file := write(t, filepath.Join(t.TempDir(), "c"), certA, keyA)
	c, err := OpenCertificates(CertificateOptions{Cert: file})
	if err != nil {
		t.Fatal(err)
	}
	c.nextCheck.Store(time.Now().Add(time.Hour).UnixNano())
	write(t, file, certB, keyB)
	if cert, _ := c.GetCertificate(nil); cert.Leaf.Subject.CommonName != "a.example" {
		t.Error("looked before its time")
	}
	if got := shown(t, c); got != "b.example" {
		t.Errorf("shows %s", got)
	}
	if next := time.Unix(0, c.nextCheck.Load()); time.Until(next) > checkInterval {
		t.Errorf("next look at %v", next)
	}
}

func TestLoadCA(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
	for name, tc := range map[string]struct {
		data []byte
		ok   bool
	}{
		"one":                   {one, true},
		"comments around":       {append(append([]byte("# ours\n"), one...), "# end\n"...), true},
		"nothing":               {nil, false},
		"no certificate in it":  {[]byte("hello"), false},
		"the second cut short":  {append(append([]byte{}, one...), one[:200]...), false},
		"something else in PEM": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), false},
	} {
		if _, err := LoadCA(write(t, filepath.Join(t.TempDir(), "ca"), tc.data)); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadCA(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file was taken")
	}
}

func BenchmarkGetCertificate(b *testing.B) {
	c, err := OpenCertificates(CertificateOptions{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.GetCertificate(&tls.ClientHelloInfo{}); err != nil {
			b.Fatal(err)
		}
	}
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder // guarded by mu
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
