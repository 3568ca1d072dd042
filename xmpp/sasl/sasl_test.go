package sasl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
)

const domain = "example.com"

// accounts is a Store with what a test puts into it.
type accounts struct {
	form  Holding
	users map[string]Credentials
	err   error
}

func (a accounts) Credentials(_ context.Context, user, domain string) (Credentials, error) {
	if a.err != nil {
		return Credentials{}, a.err
	}
	c, ok := a.users[user+"@"+domain]
	if !ok {
		return Credentials{}, fmt.Errorf("file of accounts: %w", ErrNoUser)
	}
	return c, nil
}

func (a accounts) Holds() Holding { return a.form }

func withPassword(password string) accounts {
	return accounts{form: HoldsPassword, users: map[string]Credentials{"alice@example.com": {Password: password}}}
}

func withKeys(t testing.TB, password string, iterations int) accounts {
	t.Helper()
	keys := map[string]StoredKey{}
	for hash := range keySizes {
		k, err := Derive(hash, password, []byte("0123456789abcdef"), iterations)
		if err != nil {
			t.Fatal(err)
		}
		keys[hash] = k
	}
	return accounts{form: HoldsSCRAM, users: map[string]Credentials{"alice@example.com": {SCRAM: keys}}}
}

func withHA1(password string) accounts {
	return accounts{form: HoldsHA1, users: map[string]Credentials{"alice@example.com": {HA1: ha1("alice", domain, password)}}}
}

// session is both ends of one TLS connection.
type session struct {
	server, client *tls.ConnectionState
	leaf           *x509.Certificate
}

var sessions = map[uint16]func() session{
	tls.VersionTLS12: sync.OnceValue(func() session { return handshake(tls.VersionTLS12) }),
	tls.VersionTLS13: sync.OnceValue(func() session { return handshake(tls.VersionTLS13) }),
}

func handshake(version uint16) session {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: domain}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MaxVersion: version})
	client := tls.Client(b, &tls.Config{InsecureSkipVerify: true, MaxVersion: version})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		panic(err)
	}
	// TLS 1.3: the server writes tickets when its handshake ends.
	go func() { _, _ = client.Read(make([]byte, 1)) }()
	if err := <-done; err != nil {
		panic(err)
	}
	s, c := server.ConnectionState(), client.ConnectionState()
	return session{server: &s, client: &c, leaf: leaf}
}

func tls13() session { return sessions[tls.VersionTLS13]() }

func condition(t *testing.T, err error) Condition {
	t.Helper()
	var f *Failure
	if !errors.As(err, &f) {
		t.Fatalf("error %v is no *Failure", err)
	}
	return f.Condition
}

// converse lets both sides talk until one of them fails or the login is complete.
func converse(c Client, s Server) error {
	ctx := context.Background()
	response, err := c.Start()
	if err != nil {
		return err
	}
	for range 4 {
		challenge, done, err := s.Step(ctx, response)
		if err != nil {
			return err
		}
		if done {
			return c.Finish(challenge)
		}
		if response, err = c.Step(challenge); err != nil {
			return err
		}
	}
	return errors.New("the exchange has no end")
}

func TestLogin(t *testing.T) {
	t.Parallel()
	plus := []string{ScramSHA256Plus, ScramSHA1Plus, ScramSHA256, ScramSHA1, Plain}
	tests := []struct {
		name    string
		store   accounts
		tls     uint16 // 0: clear text
		offered []string
		choose  []string // nil: all that is offered
		want    string
	}{
		{"best with exporter", withPassword("p\u00e4ss"), tls.VersionTLS13, plus, nil, ScramSHA256Plus},
		{"TLS 1.2 has an extended master secret", withPassword("pass"), tls.VersionTLS12, plus, nil, ScramSHA256Plus},
		{"stored keys", withKeys(t, "pass", 4096), tls.VersionTLS13, plus, nil, ScramSHA256Plus},
		{"SHA-1 with binding", withKeys(t, "pass", 4096), tls.VersionTLS13, plus, []string{ScramSHA1Plus}, ScramSHA1Plus},
		{"keys check PLAIN", withKeys(t, "pass", 4096), tls.VersionTLS13, plus, []string{Plain}, Plain},
		{"HA1 checks PLAIN", withHA1("pass"), tls.VersionTLS13, []string{Plain}, nil, Plain},
		{"clear text connection", withPassword("pass"), 0, []string{ScramSHA256, ScramSHA1}, nil, ScramSHA256},
		{"SHA-1 without binding", withPassword("pass"), 0, []string{ScramSHA256, ScramSHA1}, []string{ScramSHA1}, ScramSHA1},
		{"password younger than SASLprep", withPassword("\U0001F512pass"), tls.VersionTLS13, plus, nil, ScramSHA256Plus},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := Offer{Domain: domain, Store: test.store}
			password := test.store.users["alice@example.com"].Password
			if password == "" {
				password = "pass"
			}
			// The name is a case variant: names are prepared, and one account.
			l := Login{Username: "ALICE", Password: password, Authzid: "alice@example.com"}
			if test.tls != 0 {
				s := sessions[test.tls]()
				o.TLS, o.Certificate, l.TLS = s.server, s.leaf, s.client
			}
			if got := o.Mechanisms(); !slices.Equal(got, test.offered) {
				t.Fatalf("offered %q, want %q", got, test.offered)
			}
			choose := test.choose
			if choose == nil {
				choose = o.Mechanisms()
			}
			c, err := l.Choose(choose)
			if err != nil {
				t.Fatal(err)
			}
			if c.Mechanism() != test.want {
				t.Fatalf("chose %s, want %s", c.Mechanism(), test.want)
			}
			s, err := o.Start(c.Mechanism())
			if err != nil {
				t.Fatal(err)
			}
			if err := converse(c, s); err != nil {
				t.Fatal(err)
			}
			if want := jid.MustParse("alice@example.com"); s.JID() != want || s.Mechanism() != test.want {
				t.Fatalf("proved %s by %s", s.JID(), s.Mechanism())
			}
			if _, _, err := s.Step(context.Background(), nil); condition(t, err) != MalformedRequest {
				t.Fatalf("a step after the end: %v", err)
			}
		})
	}
}

// An account that does not exist must look like one whose password is wrong, at every step.
func TestUnknownUserLooksLikeWrongPassword(t *testing.T) {
	t.Parallel()
	stores := map[string]accounts{"clear text": withPassword("pass"), "keys": withKeys(t, "pass", DefaultIterations), "HA1": withHA1("pass")}
	for name, store := range stores {
		o := Offer{Domain: domain, Store: store, Digest: store, AllowPlainWithoutTLS: true}
		for _, mechanism := range o.Mechanisms() {
			if mechanism == DigestMD5 {
				continue // digest_test.go
			}
			t.Run(name+" "+mechanism, func(t *testing.T) {
				t.Parallel()
				type trace struct {
					salt, iterations, failure string
				}
				login := func(user string) trace {
					var tr trace
					l := Login{Username: user, Password: "wrong", AllowPlainWithoutTLS: true}
					c, err := l.Choose([]string{mechanism})
					if err != nil {
						t.Fatal(err)
					}
					s, err := o.Start(mechanism)
					if err != nil {
						t.Fatal(err)
					}
					response, err := c.Start()
					if err != nil {
						t.Fatal(err)
					}
					if mechanism != Plain {
						challenge, _, err := s.Step(context.Background(), response)
						if err != nil {
							t.Fatal(err)
						}
						f := strings.Split(string(challenge), ",")
						tr.salt, tr.iterations = f[1], f[2]
						if response, err = c.Step(challenge); err != nil {
							t.Fatal(err)
						}
					}
					challenge, done, err := s.Step(context.Background(), response)
					if done || challenge != nil || !s.JID().IsZero() {
						t.Fatalf("%s got in", user)
					}
					var f *Failure
					if !errors.As(err, &f) {
						t.Fatalf("error %v is no *Failure", err)
					}
					tr.failure = string(f.Condition) + f.Text
					return tr
				}
				known, unknown, again, other := login("alice"), login("mallory"), login("mallory"), login("trudy")
				if known.failure != "not-authorized" || unknown.failure != known.failure {
					t.Errorf("failures differ: %q, %q", known.failure, unknown.failure)
				}
				if known.iterations != unknown.iterations || len(known.salt) != len(unknown.salt) {
					t.Errorf("challenges differ in form: %+v, %+v", known, unknown)
				}
				if unknown != again {
					t.Errorf("a second try differs: %+v, %+v", unknown, again)
				}
				if mechanism != Plain && unknown.salt == other.salt {
					t.Error("two unknown users have one salt")
				}
			})
		}
	}
}

func TestOffer(t *testing.T) {
	t.Parallel()
	s := tls13()
	scrams := []string{ScramSHA256, ScramSHA1}
	tests := []struct {
		name     string
		offer    Offer
		names    []string
		bindings []string
	}{
		{"zero", Offer{}, nil, nil},
		{"a store that says nothing holds SCRAM keys", Offer{Domain: domain, Store: struct{ Store }{withHA1("x")}}, scrams, nil},
		{"PLAIN in clear text only on demand", Offer{Domain: domain, Store: withPassword("x"), AllowPlainWithoutTLS: true}, append(slices.Clone(scrams), Plain), nil},
		{"no certificate, no end-point", Offer{Domain: domain, Store: withPassword("x"), TLS: s.server}, []string{ScramSHA256Plus, ScramSHA1Plus, ScramSHA256, ScramSHA1, Plain}, []string{"tls-exporter"}},
		{"both bindings", Offer{Domain: domain, Store: withPassword("x"), TLS: s.server, Certificate: s.leaf}, []string{ScramSHA256Plus, ScramSHA1Plus, ScramSHA256, ScramSHA1, Plain}, []string{"tls-exporter", "tls-server-end-point"}},
		{"TLS 1.2 has tls-unique", Offer{Domain: domain, Store: withPassword("x"), TLS: sessions[tls.VersionTLS12]().server}, []string{ScramSHA256Plus, ScramSHA1Plus, ScramSHA256, ScramSHA1, Plain}, []string{"tls-exporter", "tls-unique"}},
		{"HA1 proves no SCRAM", Offer{Domain: domain, Store: withHA1("x"), Digest: withHA1("x"), TLS: s.server}, []string{DigestMD5, Plain}, nil},
		{"keys prove no DIGEST-MD5", Offer{Domain: domain, Digest: withKeys(t, "x", 1)}, nil, nil},
		{"DIGEST-MD5 needs a realm", Offer{Digest: withHA1("x")}, nil, nil},
		{"EXTERNAL comes first", Offer{Domain: domain, Store: withPassword("x"), Proven: []jid.JID{jid.MustParse(domain)}}, append([]string{External}, scrams...), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := test.offer.Mechanisms(); !slices.Equal(got, test.names) {
				t.Errorf("mechanisms %q, want %q", got, test.names)
			}
			if got := test.offer.ChannelBindings(); !slices.Equal(got, test.bindings) {
				t.Errorf("bindings %q, want %q", got, test.bindings)
			}
			for _, name := range []string{ScramSHA256Plus, DigestMD5, External, "GSSAPI", ""} {
				want := InvalidMechanism
				if name == DigestMD5 && test.offer.Store != nil && test.offer.Digest == nil {
					want = MechanismTooWeak // RFC 6120 §6.5.9: the policy does without it
				}
				if _, err := test.offer.Start(name); !slices.Contains(test.names, name) && condition(t, err) != want {
					t.Errorf("start %q: %v", name, err)
				}
			}
		})
	}
	if _, err := (Offer{Domain: domain, Store: withPassword("x")}).Start(Plain); condition(t, err) != EncryptionRequired {
		t.Errorf("PLAIN in clear text: %v", err)
	}
}

func TestStoreFailureIsTemporary(t *testing.T) {
	t.Parallel()
	broken := accounts{form: HoldsPassword, err: errors.New("disk on fire at /secret/path")}
	o := Offer{Domain: domain, Store: broken, Digest: broken, AllowPlainWithoutTLS: true}
	first := map[string]string{ScramSHA256: "n,,n=alice,r=abc", ScramSHA1: "n,,n=alice,r=abc", Plain: "\x00alice\x00pass"}
	for name, response := range first {
		s, err := o.Start(name)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = s.Step(context.Background(), []byte(response))
		var f *Failure
		if !errors.As(err, &f) || f.Condition != TemporaryAuthFailure || !f.Temporary() || !errors.Is(err, broken.err) || strings.Contains(f.Text, "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	damaged := withKeys(t, "pass", 1)
	k := damaged.users["alice@example.com"].SCRAM[SHA256]
	k.StoredKey = k.StoredKey[:5]
	damaged.users["alice@example.com"].SCRAM[SHA256] = k
	s, _ := Offer{Domain: domain, Store: damaged}.Start(ScramSHA256)
	if _, _, err := s.Step(context.Background(), []byte(first[ScramSHA256])); condition(t, err) != TemporaryAuthFailure {
		t.Errorf("damaged key: %v", err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, domain, given, want string
	}{
		{"localpart", domain, "alice", "alice@example.com"},
		{"case is folded", domain, "AliCE", "alice@example.com"},
		{"an address of the domain", domain, "alice@EXAMPLE.com", "alice@example.com"},
		{"an address of another domain", domain, "alice@example.net", ""},
		{"no domain on offer", "", "alice@example.net", "alice@example.net"},
		{"no domain at all", "", "alice", ""},
		{"empty", domain, "", ""},
		{"empty localpart", domain, "@example.com", ""},
		{"what no localpart holds", domain, "a<b", ""},
		{"a resource", domain, "alice@example.com/phone", ""},
	}
	for _, test := range tests {
		got, err := Offer{Domain: test.domain}.user(test.given)
		if (err != nil) != (test.want == "") || test.want != "" && got.String() != test.want {
			t.Errorf("%s: %q is %q, %v", test.name, test.given, got, err)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	c := Credentials{Password: "hunter2", HA1: "hunter2", SCRAM: map[string]StoredKey{SHA1: {StoredKey: []byte("hunter2")}}}
	l := Login{Username: "alice", Password: "hunter2"}
	for _, v := range []any{c, &c, c.SCRAM[SHA1], l, &l, []Credentials{c}} {
		out := fmt.Sprintf("%v %+v %#v %s %x", v, v, v, v, v)
		if strings.Contains(out, "hunter2") || strings.Contains(out, "68756e74657232") || strings.Contains(out, "104") {
			t.Errorf("%T prints %s", v, out)
		}
	}
	for _, v := range []any{c, c.SCRAM[SHA1], l} {
		b, err := json.Marshal(v)
		if err != nil || strings.Contains(string(b), "hunter2") || strings.Contains(string(b), "aHVudGVyM") {
			t.Errorf("%T marshals to %s, %v", v, b, err)
		}
	}
	if _, err := PreparePassword("hunter2\x00"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("password in the error: %v", err)
	}
}
