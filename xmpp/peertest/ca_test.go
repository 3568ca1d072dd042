package peertest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"
)

// TestCertificates: each kind has the flaw that it is named after and no other
// (RFC 5280 §6.1, RFC 6125 §6).
func TestCertificates(t *testing.T) {
	t.Parallel()
	ca := NewCA(t)
	roots := x509.NewCertPool()
	text, err := os.ReadFile(ca.File)
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatalf("the authority's file: %v", err)
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for _, c := range []struct {
		name                     string
		kind                     Certificate
		signed, named, forClient bool
	}{
		{"valid", Valid, true, true, true},
		{"server only", ServerOnly, true, true, false},
		{"expired", Expired, false, true, true},
		{"wrong name", WrongName, true, false, true},
		{"self-signed", SelfSigned, false, true, true},
	} {
		file := ca.Issue(c.kind, "p1.example", "p2.example")
		pair, err := tls.LoadX509KeyPair(file, file)
		if err != nil {
			t.Fatal(err)
		}
		verify := func(usage x509.ExtKeyUsage) bool {
			_, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
			return err == nil
		}
		named := pair.Leaf.VerifyHostname("p1.example") == nil && pair.Leaf.VerifyHostname("p2.example") == nil
		if verify(server) != c.signed || verify(client) != (c.signed && c.forClient) || named != c.named {
			t.Errorf("%s: signed %v, for clients %v, named %v", c.name, verify(server), verify(client), named)
		}
	}
}

// TestReserve: a reserved port refuses until somebody listens, who may come back.
func TestReserve(t *testing.T) {
	t.Parallel()
	addr := Reserve(t)
	if other := Reserve(t); other == addr {
		t.Fatalf("%s twice", addr)
	}
	for range 2 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			t.Fatal("it accepts before anybody listens")
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close() // nothing was sent
		_ = ln.Close()   // likewise
	}
}
