package convert

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mcmt2xmpp/xmpp/jid"
)

func TestAuthorAddress(t *testing.T) {
	t.Parallel()
	c := newConverter(t, func(o *Options) {
		o.Maps = append(o.Maps, RecipientMap{"all", regexp.MustCompile(`^(.*)@legacy\.example$`), "$1@old.jabber.example"},
			RecipientMap{"open", regexp.MustCompile(`^.*@void\.example$`), "void@remote.example"})
	})
	for _, tt := range []struct{ name, reason, jid, want string }{
		{"mapped", "he is written to under that address", "bob@jabber.example/phone", "bob@corp.example"},
		{"mapped number", "a number alone is no sender, its address is", "15551234567@remote.example", "+15551234567@mms.example"},
		{"escaped", "XEP-0106", `john\20smith@jabber.example`, `"john smith"@corp.example`},
		{"no map has it", "the JID itself", "bob@elsewhere.example", "bob@elsewhere.example"},
		{"escaped JID itself", "unescaped and quoted", `o\27hara\40x@elsewhere.example`, `"o'hara@x"@elsewhere.example`},
		{"IDN", "a mail domain is ASCII", "bob@münchen.example", "bob@xn--mnchen-3ya.example"},
		{"open map", "nobody knows which address it was: the JID itself", "void@remote.example", "void@remote.example"},
		{"wide map", "its group has the local part", "x@old.jabber.example", "x@legacy.example"},
		{"a domain", "nobody could be answered", "jabber.example", ""},
		{"the gateway's", "stands for somebody else", `a\40b.example@mail.jabber.example`, ""},
		{"IP address", "is no mail domain", "bob@192.0.2.1", ""},
		{"IPv6 address", "is no mail domain", "bob@[2001:db8::1]", ""},
		{"too long", "RFC 5321 §4.5.3.1.3", strings.Repeat("a", 250) + "@elsewhere.example", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.AuthorAddress(jid.MustParse(tt.jid))
			var ae *AddressError
			if got != tt.want || (tt.want == "") != errors.As(err, &ae) {
				t.Errorf("%s: got %q, %v", tt.reason, got, err)
			}
		})
	}
}

func TestMailRecipient(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	for _, tt := range []struct{ name, reason, jid, want string }{
		{"escaped", "XEP-0106", `alice\40corp.example@mail.jabber.example/automatic`, "alice@corp.example"},
		{"quoted", "RFC 5321 wants quotes", `john\20smith\40corp.example@mail.jabber.example`, `"john smith"@corp.example`},
		{"number", "E.164", "+4915112345678@mail.jabber.example", "+4915112345678"},
		{"mapped", "by a map the other way", "4915112345678@remote.example", "+4915112345678@mms.example"},
		{"the gateway", "no address", "mail.jabber.example", ""},
		{"not escaped", "no address", "alice@mail.jabber.example", ""},
		{"IP address", "the gateway connects to no address that a user names", `a\40[127.0.0.1]@mail.jabber.example`, ""},
		{"elsewhere", "no map has it", "bob@elsewhere.example", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.MailRecipient(jid.MustParse(tt.jid))
			if got != tt.want || (tt.want == "") != (err != nil) {
				t.Errorf("%s: got %q, %v", tt.reason, got, err)
			}
		})
	}
}

// TestReverseMaps: what a map can be reversed to, and what not.
func TestReverseMaps(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, reason, match, template, addr, want string }{
		{"literal", "no group at all", `^info@a\.example$`, "desk@x.example", "info@a.example", "info@a.example"},
		{"whole address", "is one group", `^(.+)$`, "$1", "bob@x.example", "bob@x.example"},
		{"two groups", "both are found", `^(\w+)\.(\w+)@a\.example$`, "${2}_$1@x.example", "ann.lee@a.example", "ann.lee@a.example"},
		{"alternatives", "the first that leads back", `^(\w+)@(?:a|b)\.example$`, "$1@x.example", "bob@b.example", "bob@a.example"},
		{"group in the domain", "unescaped there", `^(\w+)@(\w+)\.example$`, "$1@$2.x.example", "bob@dev.example", "bob@dev.example"},
		{"group left out", "what it held is not known", `^(\w+)@(\w+)\.example$`, "$1@x.example", "bob@dev.example", ""},
		{"inner group", "around it all is literal", `^((\w+)@a\.example)$`, "$2@x.example", "bob@a.example", "bob@a.example"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConverter(t, func(o *Options) {
				o.Roles = nil
				o.Maps = []RecipientMap{{"m", regexp.MustCompile(tt.match), tt.template}}
			})
			j, err := c.Recipient(tt.addr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.MailRecipient(j)
			if got != tt.want || (tt.want == "") != (err != nil) {
				t.Errorf("%s: %s gives %q, %v", tt.reason, j, got, err)
			}
		})
	}
}

// TestReverseShadowed: an address that an earlier map sends elsewhere is not that of a JID.
func TestReverseShadowed(t *testing.T) {
	t.Parallel()
	c := newConverter(t, func(o *Options) {
		o.Maps = []RecipientMap{{"boss", regexp.MustCompile(`^boss@a\.example$`), "ceo@x.example"}, {"all", regexp.MustCompile(`^(\w+)@a\.example$`), "$1@x.example"}}
	})
	for j, want := range map[string]string{"ceo@x.example": "boss@a.example", "boss@x.example": "boss@x.example", "ann@x.example": "ann@a.example"} {
		if got, err := c.AuthorAddress(jid.MustParse(j)); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", j, got, err, want)
		}
	}
}

// TestMailAddressesRoundTrip: a JID that has a mail address is who that address leads to.
func TestMailAddressesRoundTrip(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		local := rapid.OneOf(rapid.StringMatching(`[a-z0-9.+_-]{1,20}`), xmlText(12)).Draw(t, "local")
		domain := rapid.SampledFrom([]string{"jabber.example", "münchen.example", "remote.example"}).Draw(t, "domain")
		j, err := jid.New(jid.Escape(local), domain, "")
		if err != nil || local == "" {
			return
		}
		addr, err := c.AuthorAddress(j)
		if err != nil {
			t.Fatalf("%s has no address: %v", j, err)
		}
		if back, err := c.Recipient(addr); err != nil || back != j {
			t.Fatalf("%s is %s, which leads to %s, %v", j, addr, back, err)
		}
		// And as the sender elsewhere, answered from there.
		far := newFar(t)
		theirs, err := far.Sender(addr)
		if err != nil {
			return // a name from right to left cannot stand beside a domain (RFC 5893 §2)
		}
		if back, err := far.MailRecipient(theirs); err != nil || !strings.EqualFold(back, addr) {
			t.Fatalf("%s is %s there, which is %s, %v", addr, theirs, back, err)
		}
	})
}

// newFar is the converter of another gateway.
func newFar(t interface{ Fatalf(string, ...any) }) *Converter {
	c, err := New(Options{MailGatewayDomain: "mail.far.example", Roles: func(domain string) Role {
		if domain == "far.example" {
			return Server
		}
		return NoRole
	}})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c
}
