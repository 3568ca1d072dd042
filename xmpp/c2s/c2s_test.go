package c2s

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmpptest"
)

// accounts has clear-text passwords by localpart, all of them at localhost.
type accounts map[string]string

func (a accounts) Credentials(_ context.Context, user, domain string) (sasl.Credentials, error) {
	p, ok := a[user]
	if !ok || domain != "localhost" {
		return sasl.Credentials{}, sasl.ErrNoUser
	}
	return sasl.Credentials{Password: p}, nil
}

func (accounts) Holds() sasl.Holding { return sasl.HoldsPassword }

var users = accounts{"alice": "secret", "bob": "secret", "carol": "secret"}

// bench is a server on loopback.
type fixture struct {
	server *Server
	router *router.Router
	addr   string
	tls    *tls.Config // for clients
}

// serve starts a server that ends with the test.
func serve(t testing.TB, ro router.Options, o Options, co ConnOptions) *fixture {
	t.Helper()
	return serveOn(t, nil, ro, o, co)
}

// serveOn is serve with the listener wrapped by wrap where that is not nil.
func serveOn(t testing.TB, wrap func(net.Listener) net.Listener, ro router.Options, o Options, co ConnOptions) *fixture {
	t.Helper()
	if ro.Domains == nil {
		ro.Domains = func(d string) bool { return d == "localhost" }
	}
	if ro.Accounts == nil {
		ro.Accounts = func(_ context.Context, bare jid.JID) (bool, error) {
			_, ok := users[bare.Local()]
			return ok, nil
		}
	}
	serverTLS, clientTLS := certificate(t)
	if co.Accounts == nil {
		co.Accounts = users
	}
	if co.TLS == nil && !co.AllowPlainWithoutTLS {
		co.TLS = serverTLS
	}
	if o.Router == nil {
		o.Router = router.New(ro)
	}
	if rosters, ok := ro.Rosters.(*xmpptest.Rosters); ok {
		rosters.OnChange = o.Router.RosterChanged
	}
	o.Connection = func(net.Addr) ConnOptions { return co }
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	if wrap != nil {
		ln = wrap(ln)
	}
	v := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return &fixture{v, o.Router, addr, clientTLS}
}

func certificate(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}},
		&tls.Config{RootCAs: pool}
}

// anyTLS is certificate, once for all who need any.
var anyTLS = sync.OnceValues(func() (server, client *tls.Config) { return certificate(new(testing.T)) })

func (f *fixture) login(t testing.TB, address string) *stream.Client {
	t.Helper()
	j := jid.MustParse(address)
	c, err := stream.Dial(t.Context(), stream.ClientOptions{
		JID: j, Password: users[j.Local()], Address: f.addr, TLS: f.tls,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestMessageOverStartTLS(t *testing.T) {
	t.Parallel()
	f := serve(t, router.Options{}, Options{}, ConnOptions{})
	ctx := within(t)
	alice, bob := f.login(t, "alice@localhost/a"), f.login(t, "bob@localhost/b")
	if err := bob.Available(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.Receive(ctx); err != nil { // its own presence
		t.Fatal(err)
	}
	if err := alice.Send(ctx, stanza.NewMessage(jid.MustParse("bob@localhost"), jid.JID{}, "chat", "hello")); err != nil {
		t.Fatal(err)
	}
	st, err := bob.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.From.String() != "alice@localhost/a" || st.Child("body").Text() != "hello" {
		t.Fatalf("got %s", st)
	}
	if m := alice.Stream().Mechanism(); m != sasl.ScramSHA256Plus {
		t.Errorf("mechanism %s, want the strongest", m)
	}
}

// eventually waits for what another goroutine does after the event a test can see.
func eventually(t testing.TB, ok func() bool, what string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	late := time.After(5 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it does not come true that %s", what)
		}
	}
}
