package listener

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/xmpptest"
)

// handshake connects a client with cfg to a server with the other and returns
// what each side's handshake said, and the server's view.
func handshake(t *testing.T, server, client *tls.Config) (cs tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	c, s := net.Pipe()
	deadline := time.Now().Add(patience)
	_, _ = c.SetDeadline(deadline), s.SetDeadline(deadline)
	done := make(chan error, 1)
	cc := tls.Client(c, client)
	go func() {
		err := cc.HandshakeContext(t.Context())
		if err == nil {
			_, err = cc.Read(make([]byte, 1)) // TLS 1.3: the server's refusal comes after
		}
		_ = cc.Close()
		done <- err
	}()
	sc := tls.Server(s, server)
	serverErr = sc.HandshakeContext(t.Context())
	if serverErr == nil {
		_, _ = sc.Write([]byte("."))
	}
	cs = sc.ConnectionState()
	_ = s.Close()
	return cs, serverErr, <-done
}

func TestServerConfigVersionsAndSuites(t *testing.T) {
	t.Parallel()
	certs, err := OpenCertificates(CertificateOptions{Dir: t.TempDir(), Names: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	const gcm, cbc = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA
	for name, tc := range map[string]struct {
		suites []uint16
		client *tls.Config
		ok     bool
	}{
		"TLS 1.3":                           {nil, &tls.Config{}, true},
		"TLS 1.2":                           {nil, &tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.1, RFC 9325 §3.1.1":          {nil, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"a suite that is given":             {[]uint16{gcm}, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{gcm}}, true},
		"a suite that is not given":         {[]uint16{gcm}, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{cbc}}, false},
		"TLS 1.3 whatever suites are given": {[]uint16{gcm}, &tls.Config{MinVersion: tls.VersionTLS13}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.client.InsecureSkipVerify = true
			_, serverErr, _ := handshake(t, ServerConfig(certs, tc.suites, nil), tc.client)
			if (serverErr == nil) != tc.ok {
				t.Errorf("got %v", serverErr)
			}
		})
	}
}

func TestVerifyModes(t *testing.T) {
	t.Parallel()
	certs, err := OpenCertificates(CertificateOptions{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := newAuthority(t), newAuthority(t)
	soon, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	client := func(a *authority, until time.Time, usage ...x509.ExtKeyUsage) []tls.Certificate {
		pair, err := tls.X509KeyPair(a.issue(t, "client.example", usage, until))
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{pair}
	}
	good := client(ours, soon, x509.ExtKeyUsageClientAuth)
	serverOnly := client(ours, soon, x509.ExtKeyUsageServerAuth)
	for name, tc := range map[string]struct {
		mode   VerifyMode
		show   []tls.Certificate
		passes bool            // the handshake
		stats  ClientAuthStats // the result recorded
	}{
		"none ignores a good one":                  {VerifyNone, good, true, ClientAuthStats{}},
		"unset records none":                       {VerifyOptional, nil, true, ClientAuthStats{Absent: 1}},
		"unset records a good one":                 {VerifyOptional, good, true, ClientAuthStats{Verified: 1}},
		"unset records a foreign one":              {VerifyOptional, client(theirs, soon), true, ClientAuthStats{Refused: 1}},
		"unset takes one for servers only":         {VerifyOptional, serverOnly, true, ClientAuthStats{Verified: 1}},
		"require takes a good one":                 {VerifyRequire, good, true, ClientAuthStats{Verified: 1}},
		"require takes one for servers only":       {VerifyRequire, serverOnly, true, ClientAuthStats{Verified: 1}},
		"require refuses none, before it verifies": {VerifyRequire, nil, false, ClientAuthStats{}},
		"require refuses a foreign one":            {VerifyRequire, client(theirs, soon), false, ClientAuthStats{Refused: 1}},
		"require refuses one that ran out":         {VerifyRequire, client(ours, past), false, ClientAuthStats{Refused: 1}},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+", "+tls.VersionName(version), func(t *testing.T) {
				t.Parallel()
				auth := &ClientAuth{Mode: tc.mode, Roots: ours.pool()}
				cs, serverErr, clientErr := handshake(t, ServerConfig(certs, nil, auth), &tls.Config{
					InsecureSkipVerify: true, MaxVersion: version,
					// The client shows it whatever authorities the server names.
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
						if tc.show == nil {
							return &tls.Certificate{}, nil
						}
						return &tc.show[0], nil
					},
				})
				if (serverErr == nil) != tc.passes || (clientErr == nil) != tc.passes {
					t.Errorf("server: %v, client: %v", serverErr, clientErr)
				}
				if got := auth.Stats(); got != tc.stats {
					t.Errorf("recorded %+v, want %+v", got, tc.stats)
				}
				if verified := auth.Verify(cs) == nil; serverErr == nil && verified != (tc.stats.Verified == 1) {
					t.Errorf("Verify says %v", verified)
				}
			})
		}
	}
}

// TestAccounts: only an authority that was named for it says whose a certificate is
// (XEP-0178 §2).
func TestAccounts(t *testing.T) {
	t.Parallel()
	ca := xmpptest.NewAuthority(t)
	issued := ca.Issue(t, xmpptest.Leaf{XMPP: []string{"alice@localhost"}})
	cs := tls.ConnectionState{PeerCertificates: []*x509.Certificate{issued.Leaf}}
	for name, tc := range map[string]struct {
		auth *ClientAuth
		cs   tls.ConnectionState
		want string
	}{
		"named":                   {&ClientAuth{Roots: ca.Pool()}, cs, "[alice@localhost]"},
		"the system's":            {&ClientAuth{}, cs, "[]"},
		"another":                 {&ClientAuth{Roots: xmpptest.NewAuthority(t).Pool()}, cs, "[]"},
		"none: it is ignored":     {&ClientAuth{Roots: ca.Pool(), Mode: VerifyNone}, cs, "[]"},
		"there is no certificate": {&ClientAuth{Roots: ca.Pool()}, tls.ConnectionState{}, "[]"},
	} {
		got, err := tc.auth.Accounts(tc.cs)
		if fmt.Sprint(got) != tc.want || (err == nil) != (len(got) > 0) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
