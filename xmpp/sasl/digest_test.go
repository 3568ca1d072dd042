package sasl

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
)

// RFC 2831 §4, the IMAP example.
func TestDigestVector(t *testing.T) {
	t.Parallel()
	r, err := parseDigestResponse([]byte(`charset=utf-8,username="chris",realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",nc=00000001,` +
		`cnonce="OA6MHXh6VqTrRk",digest-uri="imap/elwood.innosoft.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth`))
	if err != nil {
		t.Fatal(err)
	}
	for form, c := range map[string]Credentials{"password": {Password: "secret"}, "HA1": {HA1: ha1("chris", "elwood.innosoft.com", "secret")}} {
		secret, ok := r.match(c)
		if !ok || r.compute(secret, "") != "ea40f60335c427b5527b84dbabcdfffd" {
			t.Errorf("%s: %v, rspauth=%s", form, ok, r.compute(secret, ""))
		}
	}
	if _, ok := r.match(Credentials{Password: "Secret"}); ok {
		t.Error("another password fits")
	}
	if _, ok := r.match(Credentials{}); ok {
		t.Error("no password fits")
	}
}

// digestClient answers challenges, written from RFC 2831 and not from the server.
type digestClient struct {
	user, password string
	with           func(d map[string]string) // directives that are set before the hash is made
	change         func(d map[string]string) // and after
	latin1         bool                      // send and hash in ISO 8859-1
}

func (c digestClient) respond(t *testing.T, challenge []byte) []byte {
	t.Helper()
	ch, err := parseDirectives(string(challenge))
	if err != nil {
		t.Fatal(err)
	}
	d := map[string]string{
		"username": c.user, "realm": ch["realm"], "nonce": ch["nonce"], "cnonce": "cnonce", "nc": "00000001",
		"qop": "auth", "digest-uri": "xmpp/" + ch["realm"], "charset": "utf-8",
	}
	password := c.password
	if c.latin1 {
		d["username"], password = latin1(c.user), latin1(password)
		delete(d, "charset")
	}
	if c.with != nil {
		c.with(d)
	}
	r := digestResponse{nonce: d["nonce"], cnonce: d["cnonce"], nc: d["nc"], uri: d["digest-uri"], authzid: d["authzid"]}
	d["response"] = r.compute(ha1(d["username"], d["realm"], password), "AUTHENTICATE")
	if c.change != nil {
		c.change(d)
	}
	var b strings.Builder
	for name, value := range maps.All(d) {
		fmt.Fprintf(&b, "%s=%s,", name, quote(value))
	}
	return []byte(b.String())
}

func TestDigest(t *testing.T) {
	t.Parallel()
	set := func(name, value string) func(map[string]string) {
		return func(d map[string]string) { d[name] = value }
	}
	password, stored := withPassword("p\u00e4ss"), withHA1("pass")
	tests := []struct {
		name   string
		store  accounts
		client digestClient
		want   Condition // "": logged in
	}{
		{"clear text, UTF-8 hashed", password, digestClient{user: "alice", password: "p\u00e4ss"}, ""},
		{"clear text, ISO 8859-1", password, digestClient{user: "alice", password: "p\u00e4ss", latin1: true}, ""},
		{"clear text, name in another case", password, digestClient{user: "Alice", password: "p\u00e4ss"}, ""},
		{"HA1", stored, digestClient{user: "alice", password: "pass"}, ""},
		{"HA1, name in another case cannot be checked", stored, digestClient{user: "Alice", password: "pass"}, NotAuthorized},
		{"authzid is the bare JID", stored, digestClient{user: "alice", password: "pass", with: set("authzid", "alice@example.com")}, ""},
		{"digest-uri with a serv-name", stored, digestClient{user: "alice", password: "pass", with: set("digest-uri", "XMPP/node1.example.net/example.com")}, ""},
		{"wrong password", stored, digestClient{user: "alice", password: "Pass"}, NotAuthorized},
		{"unknown user", stored, digestClient{user: "bob", password: "pass"}, NotAuthorized},
		{"replayed nonce", stored, digestClient{user: "alice", password: "pass", with: set("nonce", "old")}, NotAuthorized},
		{"second use of the nonce", stored, digestClient{user: "alice", password: "pass", with: set("nc", "00000002")}, NotAuthorized},
		{"response for a mail server on this host", stored, digestClient{user: "alice", password: "pass", with: set("digest-uri", "imap/example.com")}, NotAuthorized},
		{"response for another server", stored, digestClient{user: "alice", password: "pass", with: set("digest-uri", "xmpp/example.net")}, NotAuthorized},
		{"authzid added on the way", stored, digestClient{user: "alice", password: "pass", change: set("authzid", "alice@example.com")}, NotAuthorized},
		{"authzid of another", stored, digestClient{user: "alice", password: "pass", with: set("authzid", "bob@example.com")}, InvalidAuthzid},
		{"another realm", password, digestClient{user: "alice", password: "p\u00e4ss", with: set("realm", "example.net")}, NotAuthorized},
		{"integrity was not offered", stored, digestClient{user: "alice", password: "pass", with: set("qop", "auth-int")}, MalformedRequest},
		{"another charset", stored, digestClient{user: "alice", password: "pass", change: set("charset", "koi8-r")}, MalformedRequest},
		{"no cnonce", stored, digestClient{user: "alice", password: "pass", change: set("cnonce", "")}, MalformedRequest},
		{"not UTF-8", stored, digestClient{user: "alice", password: "pass", change: set("username", "al\xff")}, MalformedRequest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			s, err := Offer{Domain: domain, Digest: test.store}.Start(DigestMD5)
			if err != nil {
				t.Fatal(err)
			}
			challenge, done, err := s.Step(ctx, nil)
			if done || err != nil {
				t.Fatal(done, err)
			}
			response := test.client.respond(t, challenge)
			rspauth, done, err := s.Step(ctx, response)
			if test.want != "" {
				if done || condition(t, err) != test.want || !s.JID().IsZero() {
					t.Fatalf("%v, want %s", err, test.want)
				}
				return
			}
			if err != nil || done || !strings.HasPrefix(string(rspauth), "rspauth=") || !s.JID().IsZero() {
				t.Fatalf("%q, %v, %v", rspauth, done, err)
			}
			if _, done, err = s.Step(ctx, []byte{}); !done || err != nil || s.JID() != jid.MustParse("alice@example.com") {
				t.Fatalf("%v, %v, %s", done, err, s.JID())
			}
			// The same response in another exchange meets another nonce.
			again, err := Offer{Domain: domain, Digest: test.store}.Start(DigestMD5)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := again.Step(ctx, nil); err != nil {
				t.Fatal(err)
			}
			if _, _, err := again.Step(ctx, response); condition(t, err) != NotAuthorized {
				t.Fatalf("replay: %v", err)
			}
		})
	}
}

func TestDigestEnds(t *testing.T) {
	t.Parallel()
	s, err := Offer{Domain: domain, Digest: withHA1("pass")}.Start(DigestMD5)
	if err != nil {
		t.Fatal(err)
	}
	// Subsequent authentication gets a fresh challenge.
	challenge, _, err := s.Step(context.Background(), []byte(`username="alice"`))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Step(context.Background(), digestClient{user: "alice", password: "pass"}.respond(t, challenge)); err != nil {
		t.Fatal(err)
	}
	if _, done, err := s.Step(context.Background(), []byte("x")); done || condition(t, err) != MalformedRequest {
		t.Fatalf("%v, %v", done, err)
	}
}

func TestDirectives(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		want     map[string]string // nil: error
	}{
		{"empty elements", `, ,a=b,,`, map[string]string{"a": "b"}},
		{"white space around", "a = b ,\r\n\tc = \"d e\"", map[string]string{"a": "b", "c": "d e"}},
		{"quoted pair", `a="x\"y\\z"`, map[string]string{"a": `x"y\z`}},
		{"names in any case", `ReALM="x"`, map[string]string{"realm": "x"}},
		{"empty value", `a=""`, map[string]string{"a": ""}},
		{"unquoted URI", `digest-uri=xmpp/example.com`, map[string]string{"digest-uri": "xmpp/example.com"}},
		{"twice", `a=b,A=c`, nil},
		{"no end of quote", `a="b`, nil},
		{"backslash at the end", `a="b\`, nil},
		{"no value", `a=,b=c`, nil},
		{"no equals", `a`, nil},
		{"no name", `="b"`, nil},
		{"no comma", `a="b"c=d`, nil},
	}
	for _, test := range tests {
		got, err := parseDirectives(test.in)
		if (err != nil) != (test.want == nil) || !maps.Equal(got, test.want) {
			t.Errorf("%s: %q gives %q, %v", test.name, test.in, got, err)
		}
	}
}

func FuzzDigest(f *testing.F) {
	f.Add([]byte(`charset=utf-8,username="chris",realm="example.com",nonce="x",nc=00000001,cnonce="y",digest-uri="xmpp/example.com",response=d388dad90d4bbd760a152321f2143af7,qop=auth`))
	f.Add([]byte(`username="\"`))
	o := Offer{Domain: domain, Digest: withPassword("pass")}
	f.Fuzz(func(t *testing.T, response []byte) {
		d, err := o.Start(DigestMD5)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Step(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		fuzzSteps(t, d, response)
		// What parses, parses again from what we would write.
		first, err := parseDirectives(string(response))
		if err != nil {
			return
		}
		var b strings.Builder
		for name, value := range first {
			fmt.Fprintf(&b, "%s=%s, ", name, quote(value))
		}
		second, err := parseDirectives(b.String())
		if err != nil || !maps.Equal(first, second) {
			t.Fatalf("%q became %q, %v", first, second, errors.Join(err))
		}
	})
}
