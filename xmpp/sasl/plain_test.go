package sasl

import (
	"context"
	"errors"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
)

func TestPlain(t *testing.T) {
	t.Parallel()
	rfc := accounts{form: HoldsPassword, users: map[string]Credentials{
		"tim@example.com":   {Password: "tanstaaftanstaaf"},
		"ursel@example.com": {Password: "xipj3plmq"},
	}}
	tests := []struct {
		name     string
		response string
		want     Condition // "": logged in
	}{
		{"RFC 4616 §4, first example", "\x00tim\x00tanstaaftanstaaf", ""},
		{"RFC 4616 §4, second: no acting for others here", "Ursel\x00Kurt\x00xipj3plmq", InvalidAuthzid},
		{"authzid is the bare JID, in any case", "Tim@Example.com\x00TIM\x00tanstaaftanstaaf", ""},
		{"authzid is not a localpart", "tim\x00tim\x00tanstaaftanstaaf", InvalidAuthzid},
		{"an address for a name", "\x00tim@example.com\x00tanstaaftanstaaf", ""},
		{"wrong password", "\x00tim\x00tanstaaf", NotAuthorized},
		{"password in other case", "\x00tim\x00Tanstaaftanstaaf", NotAuthorized},
		{"unknown user", "\x00bob\x00tanstaaftanstaaf", NotAuthorized},
		{"password with a character that none has", "\x00tim\x00tan\x01staaf", NotAuthorized},
		{"empty password", "\x00tim\x00", MalformedRequest},
		{"empty name", "\x00\x00pass", MalformedRequest},
		{"one NUL", "tim\x00tanstaaftanstaaf", MalformedRequest},
		{"three NULs", "\x00tim\x00tanstaaf\x00tanstaaf", MalformedRequest},
		{"not UTF-8", "\x00tim\x00\xff\xfe", MalformedRequest},
		{"empty", "", MalformedRequest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := Offer{Domain: domain, Store: rfc, AllowPlainWithoutTLS: true}.Start(Plain)
			if err != nil {
				t.Fatal(err)
			}
			_, done, err := s.Step(context.Background(), []byte(test.response))
			if test.want == "" {
				if !done || err != nil || s.JID() != jid.MustParse("tim@example.com") {
					t.Fatalf("%v, %v, %s", done, err, s.JID())
				}
				return
			}
			if done || condition(t, err) != test.want || strings.Contains(err.Error(), "tanstaaf") {
				t.Fatalf("%v, want %s", err, test.want)
			}
		})
	}
}

// An htdigest file may spell a name otherwise than the address does.
func TestPlainWithSpelledHA1(t *testing.T) {
	t.Parallel()
	store := accounts{form: HoldsHA1, users: map[string]Credentials{
		"alice@example.com": {HA1: strings.ToUpper(ha1("Alice", domain, "pass")), HA1Name: "Alice"},
	}}
	s, err := Offer{Domain: domain, Store: store, AllowPlainWithoutTLS: true}.Start(Plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := s.Step(context.Background(), []byte("\x00alice\x00pass")); !done || err != nil {
		t.Fatal(err)
	}
}

func TestPlainClient(t *testing.T) {
	t.Parallel()
	offered := []string{"X-OTHER", Plain}
	if _, err := (Login{Username: "a", Password: "b"}).Choose(offered); !errors.Is(err, ErrNoMechanism) {
		t.Errorf("PLAIN in clear text: %v", err)
	}
	for _, l := range []Login{{Username: "a\x00b", Password: "c"}, {Password: "c"}, {Username: "a"}} {
		l.AllowPlainWithoutTLS = true
		c, err := l.Choose(offered)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Start(); err == nil {
			t.Errorf("%q goes out", l.Username)
		}
	}
}

func TestExternal(t *testing.T) {
	t.Parallel()
	one := []jid.JID{jid.MustParse("example.net")}
	two := append(one, jid.MustParse("chat.example.net"))
	tests := []struct {
		name   string
		proven []jid.JID
		given  string
		want   Condition
		jid    string
	}{
		{"the only identity", one, "", "", "example.net"},
		{"named", two, "chat.example.net", "", "chat.example.net"},
		{"in another case", one, "Example.NET", "", "example.net"},
		{"several and none named", two, "", InvalidAuthzid, ""},
		{"not proven", one, "example.org", InvalidAuthzid, ""},
		{"a user of a proven domain", one, "alice@example.net", InvalidAuthzid, ""},
		{"not a JID", one, "@", InvalidAuthzid, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := Offer{Proven: test.proven}.Start(External)
			if err != nil {
				t.Fatal(err)
			}
			_, done, err := s.Step(context.Background(), []byte(test.given))
			if test.want == "" {
				if !done || err != nil || s.JID().String() != test.jid {
					t.Fatalf("%v, %v, %s", done, err, s.JID())
				}
			} else if done || condition(t, err) != test.want {
				t.Fatalf("%v, want %s", err, test.want)
			}
		})
	}
}

func FuzzPlain(f *testing.F) {
	f.Add([]byte("\x00alice\x00pass"))
	f.Add([]byte("alice@example.com\x00alice\x00x"))
	o := Offer{Domain: domain, Store: withPassword("a password that no mutation finds"), AllowPlainWithoutTLS: true}
	f.Fuzz(func(t *testing.T, response []byte) {
		s, err := o.Start(Plain)
		if err != nil {
			t.Fatal(err)
		}
		fuzzSteps(t, s, response, response)
	})
}

func FuzzExternal(f *testing.F) {
	f.Add([]byte("example.net"))
	f.Add([]byte("alice@example.net/x"))
	proven := jid.MustParse("example.net")
	f.Fuzz(func(t *testing.T, response []byte) {
		s, err := Offer{Proven: []jid.JID{proven, jid.MustParse("b.example")}}.Start(External)
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := s.Step(context.Background(), response)
		if done == (err != nil) || done && !s.JID().IsBare() {
			t.Fatalf("%v, %v, %s", done, err, s.JID())
		}
	})
}
