package sasl

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"mcmt2xmpp/xmpp/jid"
)

// vector is the example exchange of a SCRAM specification, user "user", password "pencil".
type vector struct {
	name, mechanism, hash, salt    string
	clientNonce, serverNonce       string
	first, challenge, final, proof string
}

var vectors = []vector{
	{
		name: "RFC 5802 §5", mechanism: ScramSHA1, hash: SHA1, salt: "QSXCR+Q6sek8bf92",
		clientNonce: "fyko+d2lbbFgONRv9qkxdawL", serverNonce: "3rfcNHYJY1ZVvWVs7j",
		first:     "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
		challenge: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
		final:     "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
		proof:     "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
	},
	{
		name: "RFC 7677 §3", mechanism: ScramSHA256, hash: SHA256, salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
		clientNonce: "rOprNGfwEbeRWgbNEkqO", serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
		first:     "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		challenge: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		final:     "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
		proof:     "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
	},
}

func (v vector) server(t *testing.T) Server {
	t.Helper()
	salt, err := base64.StdEncoding.DecodeString(v.salt)
	if err != nil {
		t.Fatal(err)
	}
	key, err := Derive(v.hash, "pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	store := accounts{form: HoldsSCRAM, users: map[string]Credentials{"user@example.com": {SCRAM: map[string]StoredKey{v.hash: key}}}}
	s := newScram(exchange{name: v.mechanism, offer: Offer{Domain: domain, Store: store}})
	s.nonce = func() string { return v.serverNonce }
	return guarded{s}
}

func TestScramVectors(t *testing.T) {
	t.Parallel()
	for _, v := range vectors {
		t.Run(v.name+" server", func(t *testing.T) {
			t.Parallel()
			s := v.server(t)
			got, done, err := s.Step(context.Background(), []byte(v.first))
			if string(got) != v.challenge || done || err != nil {
				t.Fatalf("first: %q, %v, %v", got, done, err)
			}
			got, done, err = s.Step(context.Background(), []byte(v.final))
			if string(got) != v.proof || !done || err != nil {
				t.Fatalf("final: %q, %v, %v", got, done, err)
			}
			if s.JID() != jid.MustParse("user@example.com") {
				t.Fatalf("proved %s", s.JID())
			}
		})
		t.Run(v.name+" client", func(t *testing.T) {
			t.Parallel()
			gen, err := generator(v.hash)
			if err != nil {
				t.Fatal(err)
			}
			library, err := gen.NewClientUnprepped("user", "pencil", "")
			if err != nil {
				t.Fatal(err)
			}
			library.WithNonceGenerator(func() string { return v.clientNonce })
			c := beginScramClient(library, v.mechanism, 4096, scram.ChannelBinding{}, false, false)
			if got, err := c.Start(); string(got) != v.first || err != nil {
				t.Fatalf("first: %q, %v", got, err)
			}
			if got, err := c.Step([]byte(v.challenge)); string(got) != v.final || err != nil {
				t.Fatalf("final: %q, %v", got, err)
			}
			if err := c.Finish([]byte(v.proof)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestScramRefuses(t *testing.T) {
	t.Parallel()
	s := tls13()
	bound := Offer{Domain: domain, Store: withPassword("pass"), TLS: s.server, Certificate: s.leaf}
	unbound := Offer{Domain: domain, Store: withPassword("pass")}
	tests := []struct {
		name      string
		offer     Offer
		mechanism string
		response  string
		want      Condition
		text      string
	}{
		{"y though -PLUS was on offer: somebody shortened the list", bound, ScramSHA256, "y,,n=alice,r=abc", NotAuthorized, "server-does-support-channel-binding"},
		{"n under a -PLUS name", bound, ScramSHA256Plus, "n,,n=alice,r=abc", NotAuthorized, "server-does-support-channel-binding"},
		{"a binding of nobody's", bound, ScramSHA256Plus, "p=tls-magic,,n=alice,r=abc", NotAuthorized, "channel binding type not supported"},
		{"tls-unique, which TLS 1.3 does not have", bound, ScramSHA256Plus, "p=tls-unique,,n=alice,r=abc", NotAuthorized, "channel binding type not supported"},
		{"empty binding type", bound, ScramSHA256Plus, "p=,,n=alice,r=abc", NotAuthorized, "channel binding type not supported"},
		{"p without TLS", unbound, ScramSHA256, "p=tls-exporter,,n=alice,r=abc", NotAuthorized, "channel binding type not supported"},
		{"authzid of another", unbound, ScramSHA256, "n,a=bob@example.com,n=alice,r=abc", InvalidAuthzid, "only your own bare JID can be asked for"},
		{"authzid with a resource", unbound, ScramSHA256, "n,a=alice@example.com/x,n=alice,r=abc", InvalidAuthzid, "only your own bare JID can be asked for"},
		{"mandatory extension", unbound, ScramSHA256, "n,,m=ext,n=alice,r=abc", MalformedRequest, ""},
		{"empty name", unbound, ScramSHA256, "n,,n=,r=abc", NotAuthorized, ""},
		{"name that is no localpart", unbound, ScramSHA256, "n,,n=a b,r=abc", NotAuthorized, ""},
		{"= in a name that is no escape", unbound, ScramSHA256, "n,,n=a=b,r=abc", MalformedRequest, ""},
		{"no nonce", unbound, ScramSHA256, "n,,n=alice", MalformedRequest, ""},
		{"not UTF-8", unbound, ScramSHA256, "n,,n=al\xffice,r=abc", MalformedRequest, "message is not text"},
		{"NUL", unbound, ScramSHA256, "n,,n=al\x00ice,r=abc", MalformedRequest, "message is not text"},
		{"empty", unbound, ScramSHA256, "", MalformedRequest, ""},
		{"too long", unbound, ScramSHA256, "n,,n=alice,r=" + strings.Repeat("a", maxMessage), MalformedRequest, "response is too long"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := test.offer.Start(test.mechanism)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = s.Step(context.Background(), []byte(test.response))
			var f *Failure
			if !errors.As(err, &f) || f.Condition != test.want || f.Text != test.text {
				t.Fatalf("%#v, want %s %q", f, test.want, test.text)
			}
			if _, _, err := s.Step(context.Background(), []byte("n,,n=alice,r=abc")); condition(t, err) != MalformedRequest {
				t.Fatalf("goes on after a failure: %v", err)
			}
		})
	}
}

// A client that asks for tls-server-end-point gets that, though tls-exporter is the better one.
func TestScramClientChoosesBinding(t *testing.T) {
	t.Parallel()
	tls := tls13()
	o := Offer{Domain: domain, Store: withPassword("pass"), TLS: tls.server, Certificate: tls.leaf}
	for _, types := range [][]string{{"tls-server-end-point"}, {"tls-server-end-point", "tls-exporter"}, nil} {
		l := Login{Username: "alice", Password: "pass", TLS: tls.client, ChannelBindings: types}
		c, err := l.Choose([]string{ScramSHA256Plus})
		if err != nil {
			t.Fatal(err)
		}
		s, err := o.Start(ScramSHA256Plus)
		if err != nil {
			t.Fatal(err)
		}
		if err := converse(c, s); err != nil {
			t.Errorf("%q: %v", types, err)
		}
	}
	if _, err := (Login{Username: "alice", Password: "pass", TLS: tls.client, ChannelBindings: []string{"tls-unique"}}).Choose([]string{ScramSHA256Plus}); !errors.Is(err, ErrNoMechanism) {
		t.Errorf("no common binding: %v", err)
	}
}

// A client that has tls-unique only binds where TLS does (RFC 5802 §6.1): to its own
// session, and to no other.
func TestScramUnique(t *testing.T) {
	t.Parallel()
	mine, theirs := handshake(tls.VersionTLS12), handshake(tls.VersionTLS12)
	o := Offer{Domain: domain, Store: withPassword("pass"), TLS: mine.server, Certificate: mine.leaf}
	for client, want := range map[*tls.ConnectionState]string{mine.client: "", theirs.client: "channel-bindings-dont-match"} {
		binding, ok := uniqueBinding(client)
		if !ok {
			t.Fatal("TLS 1.2 has no tls-unique")
		}
		c, err := newScramClient(Login{Username: "alice", Password: "pass"}, ScramSHA256Plus, binding, true, false)
		if err != nil {
			t.Fatal(err)
		}
		s, err := o.Start(ScramSHA256Plus)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := converse(c, s); err != nil {
			got = err.(*Failure).Text
		}
		if got != want {
			t.Errorf("the answer is %q, want %q", got, want)
		}
	}
}

// A man in the middle with a TLS session of his own on each side passes the messages on.
func TestScramPlusRefusesAnotherSession(t *testing.T) {
	t.Parallel()
	mine, theirs := tls13(), handshake(0)
	o := Offer{Domain: domain, Store: withPassword("pass"), TLS: mine.server, Certificate: mine.leaf}
	for _, binding := range []string{"tls-exporter", "tls-server-end-point"} {
		c, err := Login{Username: "alice", Password: "pass", TLS: theirs.client, ChannelBindings: []string{binding}}.Choose([]string{ScramSHA256Plus})
		if err != nil {
			t.Fatal(err)
		}
		s, err := o.Start(ScramSHA256Plus)
		if err != nil {
			t.Fatal(err)
		}
		err = converse(c, s)
		var f *Failure
		if !errors.As(err, &f) || f.Condition != NotAuthorized || f.Text != "channel-bindings-dont-match" || f.Err != nil {
			t.Errorf("%s: %v", binding, err)
		}
	}
}

// Somebody takes -PLUS out of the list: the client says "y", and the server finds out.
func TestScramDowngradeIsFound(t *testing.T) {
	t.Parallel()
	tls := tls13()
	o := Offer{Domain: domain, Store: withPassword("pass"), TLS: tls.server, Certificate: tls.leaf}
	c, err := Login{Username: "alice", Password: "pass", TLS: tls.client}.Choose([]string{ScramSHA256, ScramSHA1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := o.Start(c.Mechanism())
	if err != nil {
		t.Fatal(err)
	}
	if err := converse(c, s); condition(t, err) != NotAuthorized {
		t.Fatal(err)
	}
}

func TestScramClientGuards(t *testing.T) {
	t.Parallel()
	v := vectors[1]
	begin := func(t *testing.T) *scramClient {
		c, err := Login{Username: "user", Password: "pencil"}.Choose([]string{ScramSHA256})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c.(*scramClient)
	}
	steps := map[string]struct {
		challenge string
		want      error
	}{
		"an hour of iterations":       {"r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2000000000", errManyRounds},
		"more than a number holds":    {"r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=99999999999999999999", errManyRounds},
		"none":                        {"r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=0", errNoIteration},
		"no count":                    {"r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==", errNoIteration},
		"count where none belongs":    {"r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,x=1,i=4096", errNoIteration},
		"a message without an end":    {strings.Repeat("x", maxMessage+1), errTooLong},
		"a server that skips its own": {"", errNoIteration},
	}
	for name, test := range steps {
		if _, err := begin(t).Step([]byte(test.challenge)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A server that claims success without proof does not know the account.
	if err := begin(t).Finish(nil); !errors.Is(err, errNoProof) {
		t.Errorf("success at once: %v", err)
	}
	if err := begin(t).Finish([]byte(v.proof)); !errors.Is(err, errNoProof) {
		t.Errorf("proof of nothing: %v", err)
	}
}

// A client that sends no initial response is asked for it (RFC 4422 §5).
func TestWithoutInitialResponse(t *testing.T) {
	t.Parallel()
	o := Offer{Domain: domain, Store: withPassword("pass"), AllowPlainWithoutTLS: true, Proven: []jid.JID{jid.MustParse(domain)}}
	for name, first := range map[string]string{ScramSHA256: "n,,n=alice,r=abc", Plain: "\x00alice\x00pass", External: ""} {
		s, err := o.Start(name)
		if err != nil {
			t.Fatal(err)
		}
		if challenge, done, err := s.Step(context.Background(), nil); len(challenge) != 0 || done || err != nil {
			t.Errorf("%s: %q, %v, %v", name, challenge, done, err)
		}
		if _, _, err := s.Step(context.Background(), []byte(first)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzScram(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.first), []byte(v.final))
	}
	f.Add([]byte("p=tls-exporter,a=alice@example.com,n=ali=2Cce,r=x"), []byte("c=,r=,p="))
	tls := tls13()
	o := Offer{Domain: domain, Store: withKeys(f, "pass", 1), TLS: tls.server, Certificate: tls.leaf}
	f.Fuzz(func(t *testing.T, first, final []byte) {
		for _, name := range []string{ScramSHA256, ScramSHA256Plus} {
			s, err := o.Start(name)
			if err != nil {
				t.Fatal(err)
			}
			fuzzSteps(t, s, first, final)
		}
	})
}

// fuzzSteps checks what holds for any bytes: no panic, typed failures, bounded
// challenges, and nobody logged in who does not know a password.
func fuzzSteps(t *testing.T, s Server, responses ...[]byte) {
	for _, r := range responses {
		challenge, done, err := s.Step(context.Background(), r)
		if done || !s.JID().IsZero() {
			t.Fatalf("logged in as %s with %q", s.JID(), responses)
		}
		if len(challenge) > 2*maxMessage {
			t.Fatalf("challenge of %d bytes", len(challenge))
		}
		var failure *Failure
		if err != nil && (!errors.As(err, &failure) || failure.Condition == "" || failure.Condition == TemporaryAuthFailure) {
			t.Fatalf("error %v", err)
		}
	}
}

func BenchmarkScramSHA256Login(b *testing.B) {
	o := Offer{Domain: domain, Store: withKeys(b, "pass", DefaultIterations)}
	// The library's client keeps derived keys, so that both sides work with stored ones.
	library, err := scram.SHA256.NewClient("alice", "pass", "")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s, err := o.Start(ScramSHA256)
		if err != nil {
			b.Fatal(err)
		}
		c := beginScramClient(library, ScramSHA256, DefaultIterations, scram.ChannelBinding{}, false, false)
		if err := converse(c, s); err != nil {
			b.Fatal(err)
		}
	}
}
