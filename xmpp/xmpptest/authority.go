package xmpptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net"
	"testing"
	"time"
)

// Authority issues certificates for tests, with the names of XMPP that the standard
// library cannot write.
type Authority struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	above       []*x509.Certificate // between this one and the root, the root left out
}

// Leaf is what a certificate says. The zero value is one without names, valid from
// an hour ago for a day.
type Leaf struct {
	CommonName          string
	DNS, SRV, XMPP      []string // dNSName, id-on-dnsSRV, id-on-xmppAddr
	IP                  []net.IP
	NotBefore, NotAfter time.Time
	Usage               []x509.ExtKeyUsage // none: no extended key usage
	SelfSigned          bool               // by itself, not by the authority
}

// NewAuthority makes one that signs itself.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{key: newKey(t)}
	a.Certificate = sign(t, authority("Test Authority"), nil, a.key, a.key)
	return a
}

// Below makes an authority that a signs, which may vouch for certain domains only,
// or for any if there are none.
func (a *Authority) Below(t testing.TB, domains ...string) *Authority {
	t.Helper()
	tmpl := authority("Test Authority below " + a.Certificate.Subject.CommonName)
	tmpl.PermittedDNSDomains, tmpl.PermittedDNSDomainsCritical = domains, len(domains) > 0
	key := newKey(t)
	cert := sign(t, tmpl, a.Certificate, key, a.key)
	return &Authority{Certificate: cert, key: key, above: append([]*x509.Certificate{cert}, a.above...)}
}

// Pool returns the authority as the one that is trusted.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Issue makes a certificate with its key and the authorities between it and the root.
func (a *Authority) Issue(t testing.TB, l Leaf) tls.Certificate {
	t.Helper()
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: l.CommonName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.Usage, BasicConstraintsValid: true,
	}
	if !l.NotBefore.IsZero() {
		tmpl.NotBefore = l.NotBefore
	}
	if !l.NotAfter.IsZero() {
		tmpl.NotAfter = l.NotAfter
	}
	if len(l.DNS)+len(l.SRV)+len(l.XMPP)+len(l.IP) > 0 {
		tmpl.ExtraExtensions = []pkix.Extension{altNames(t, l)}
	}
	key := newKey(t)
	parent, signer := a.Certificate, a.key
	if l.SelfSigned {
		parent, signer = nil, key
	}
	cert := sign(t, tmpl, parent, key, signer)
	issued := tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	for _, c := range a.above {
		issued.Certificate = append(issued.Certificate, c.Raw)
	}
	return issued
}

func authority(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate for key; parent nil: signed by itself.
func sign(t testing.TB, tmpl, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// altNames writes the subject alternative name (RFC 5280 §4.2.1.6).
func altNames(t testing.TB, l Leaf) pkix.Extension {
	t.Helper()
	var all []asn1.RawValue
	add := func(tag int, compound bool, content []byte) {
		all = append(all, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, IsCompound: compound, Bytes: content})
	}
	other := func(id asn1.ObjectIdentifier, tag int, text string) {
		inner := marshal(t, asn1.RawValue{Tag: tag, Bytes: []byte(text)})
		value := marshal(t, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: inner})
		add(0, true, append(marshal(t, id), value...))
	}
	for _, name := range l.DNS {
		add(2, false, []byte(name))
	}
	for _, ip := range l.IP {
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		add(7, false, ip)
	}
	for _, name := range l.SRV {
		other(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 7}, asn1.TagIA5String, name)
	}
	for _, name := range l.XMPP {
		other(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5}, asn1.TagUTF8String, name)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: marshal(t, all)}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
