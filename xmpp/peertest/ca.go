package peertest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Certificate is a kind of certificate.
type Certificate int

const (
	// Default is SelfSigned, or Valid in the mode Certs.
	Default Certificate = iota

	// Valid is signed by the CA for the domain, for servers and clients.
	Valid

	// ServerOnly is Valid, but its extended key usage has no clientAuth, like
	// those that public authorities issue.
	ServerOnly

	// Expired is Valid that has ended an hour ago.
	Expired

	// WrongName is Valid for another domain.
	WrongName

	// SelfSigned names the domain and is signed by itself.
	SelfSigned
)

// wrongName is what a certificate of the kind WrongName has.
const wrongName = "wrong.example"

// CA is a certificate authority that exists for one test alone.
type CA struct {
	// File has its certificate, as PEM.
	File string

	t      testing.TB
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	issued atomic.Int64
}

// NewCA makes an authority.
func NewCA(t testing.TB) *CA {
	t.Helper()
	dir := t.TempDir()
	c := &CA{t: t, dir: dir, File: filepath.Join(dir, "ca.pem")}
	template := c.template("peertest authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, key := c.sign(template, nil)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	c.cert, c.key = cert, key
	c.write(c.File, "CERTIFICATE", der)
	return c
}

// Issue makes a certificate for domains and returns the PEM file that holds it
// and its key.
func (c *CA) Issue(kind Certificate, domains ...string) (file string) {
	c.t.Helper()
	template := c.template(domains[0])
	template.DNSNames = domains
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	signer := c
	switch kind {
	case Valid:
	case ServerOnly:
		template.ExtKeyUsage = template.ExtKeyUsage[:1]
	case Expired:
		template.NotBefore, template.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour)
	case WrongName:
		template.Subject.CommonName, template.DNSNames = wrongName, []string{wrongName}
	case SelfSigned:
		signer = nil
	default:
		panic(fmt.Sprintf("certificate of kind %d", kind))
	}
	der, key := c.sign(template, signer)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	file = filepath.Join(c.dir, fmt.Sprintf("%s-%d.pem", domains[0], template.SerialNumber))
	c.write(file, "CERTIFICATE", der, "PRIVATE KEY", private)
	return file
}

func (c *CA) template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(c.issued.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// sign makes a key and has its certificate signed; by itself where signer is nil.
func (c *CA) sign(template *x509.Certificate, signer *CA) (der []byte, key *ecdsa.PrivateKey) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	parent, by := template, key
	if signer != nil {
		parent, by = signer.cert, signer.key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by); err != nil {
		c.t.Fatal(err)
	}
	return der, key
}

// write writes blocks, each a type and its *bytes*.
func (c *CA) write(file string, blocks ...any) {
	c.t.Helper()
	var text bytes.Buffer
	for i := 0; i < len(blocks); i += 2 {
		block := &pem.Block{Type: blocks[i].(string), Bytes: blocks[i+1].([]byte)}
		if err := pem.Encode(&text, block); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		c.t.Fatal(err)
	}
}
