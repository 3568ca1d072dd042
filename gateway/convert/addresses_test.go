package convert

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"mcmt2xmpp/xmpp/jid"
)

func TestRecipient(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	for _, tt := range []struct {
		name, reason, addr string
		want               string // "" for an error
		fault              Fault
	}{
		{name: "ours", reason: "the same JID", addr: "bob@jabber.example", want: "bob@jabber.example"},
		{name: "remote", reason: "a domain of role client too", addr: "bob@remote.example", want: "bob@remote.example"},
		{name: "case", reason: "prepared by PRECIS, domain in any case", addr: "Bob@JABBER.Example", want: "bob@jabber.example"},
		{name: "idn", reason: "an A-label names the same domain", addr: "bob@xn--mnchen-3ya.example", want: "bob@münchen.example"},
		{name: "plus", reason: "a sub-address is part of the name", addr: "bob+news@jabber.example", want: "bob+news@jabber.example"},
		{name: "quoted", reason: "blank in a quoted local part (XEP-0106)", addr: `"john smith"@jabber.example`, want: `john\20smith@jabber.example`},
		{name: "quoted for nothing", reason: "quotes are no part of the name (RFC 5321 §4.1.2)", addr: `"bob"@jabber.example`, want: "bob@jabber.example"},
		{name: "quoted pair", reason: "nor are backslashes before other characters", addr: `"b\ob \"x\""@jabber.example`, want: `bob\20\22x\22@jabber.example`},
		{name: "quoted at", reason: "the last @ divides", addr: `"a@b"@jabber.example`, want: `a\40b@jabber.example`},
		{name: "apostrophe", reason: "legal in mail, not in a JID", addr: "o'hara@jabber.example", want: `o\27hara@jabber.example`},
		{name: "escape", reason: "an account made under an escaped name", addr: `john\20smith@jabber.example`, want: `john\20smith@jabber.example`},
		{name: "escape quoted", reason: "the same account, its backslash quoted as RFC 5321 wants", addr: `"john\\20smith"@jabber.example`, want: `john\20smith@jabber.example`},
		{name: "map", reason: "first map that matches", addr: "alice@corp.example", want: "alice@jabber.example"},
		{name: "map escaped", reason: "what a group found is escaped", addr: `"al ice"@corp.example`, want: `al\20ice@jabber.example`},
		{name: "number", reason: "E.164", addr: "+4915112345678@mms.example", want: "4915112345678@remote.example"},
		{name: "number without plus", reason: "as mobile gateways write it", addr: "15551234567/TYPE=PLMN@mms.example", want: "15551234567@remote.example"},
		{name: "number type in small letters", reason: "senders write both", addr: "+15551234567/type=plmn@mms.example", want: "15551234567@remote.example"},
		{name: "number alone", reason: "HTTP clients give no domain", addr: "+49 151 1234-5678", want: "4915112345678@remote.example"},
		{name: "international prefix", reason: "no country begins with 0", addr: "004915112345678@mms.example", want: "4915112345678@remote.example"},
		{name: "tel", reason: "RFC 3966", addr: "tel:+1-555-123-4567", want: "15551234567@remote.example"},
		{name: "national", reason: "a number of no known country", addr: "015112345678@mms.example", fault: UnknownDomain},
		{name: "short code", reason: "no E.164 number", addr: "72345@mms.example", fault: UnknownDomain},
		{name: "too long", reason: "no E.164 number: a map sees it as it came", addr: "+1234567890123456/TYPE=PLMN@mms.example", fault: UnknownDomain},
		{name: "unknown", reason: "nobody takes it", addr: "bob@other.example", fault: UnknownDomain},
		{name: "literal", reason: "an address literal is no XMPP domain", addr: "bob@[192.0.2.1]", fault: UnknownDomain},
		{name: "no at", reason: "no address", addr: "bob", fault: Malformed},
		{name: "empty", reason: "no address", addr: "", fault: Malformed},
		{name: "no local", reason: "a domain alone is no recipient", addr: "@jabber.example", fault: Malformed},
		{name: "quote open", reason: "no Quoted-string", addr: `"bob@jabber.example`, fault: Malformed},
		{name: "blank unquoted", reason: "no Dot-string", addr: "john smith@jabber.example", fault: Malformed},
		{name: "blank at the end", reason: "XEP-0106 §4.1", addr: `"john "@jabber.example`, fault: Malformed},
		{name: "control", reason: "a forged line", addr: "bob\r\n@jabber.example", fault: Malformed},
		{name: "resource", reason: "the domain must not bring a resource", addr: "bob@jabber.example/x", fault: Malformed},
		{name: "emoji", reason: "PRECIS has no symbols in a localpart", addr: "🚆@jabber.example", fault: Malformed},
		{name: "long", reason: "a part has 1023 bytes at most (RFC 7622 §3.1)", addr: strings.Repeat("a", 1024) + "@jabber.example", fault: Malformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j, err := c.Recipient(tt.addr)
			if tt.want == "" {
				var ae *AddressError
				if !errors.As(err, &ae) || ae.Fault != tt.fault || ae.Temporary() {
					t.Errorf("%s: got %q, %v", tt.reason, j, err)
				}
				return
			}
			if err != nil || j.String() != tt.want {
				t.Errorf("%s: got %q, %v", tt.reason, j, err)
			}
		})
	}
}

func TestRecipientMap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, reason, match, jid, addr, want string }{
		{"number", "group by number", `^(\w+)@a$`, "$1@x.example", "bob@a", "bob@x.example"},
		{"braces", "a name that letters follow", `^(\w+)@a$`, "${1}_mail@x.example", "bob@a", "bob_mail@x.example"},
		{"long name", "without braces the name is as long as can be", `^(?P<u>\w+)@a$`, "$u@x.example", "bob@a", "bob@x.example"},
		{"dollar", "a dollar sign itself", `^(\w+)@a$`, "$$$1@x.example", "bob@a", "$bob@x.example"},
		{"fixed", "no group at all", `@a$`, "desk@x.example", "bob@a", "desk@x.example"},
		{"domain", "group in the domain", `^(\w+)@(\w+)\.a$`, "$1@$2.example", "bob@dept.a", "bob@dept.example"},
		{"whole", "template without an @ is a mail address", `^(.*)$`, "$1", `"a b"@x.example`, `a\20b@x.example`},
		{"escaped", "the template's own text is a JID as it is", `^(.*)$`, `m\40n+$1@x.example`, "b/c@a", `m\40n+b\2fc\40a@x.example`},
		{"resource", "a resource in the template", `^(\w+)@a$`, "$1@x.example/mail", "bob@a", "bob@x.example/mail"},
		{"smuggled resource", "a slash that a group brings into the domain", `^(.*)@a$`, "bot@$1", `"x.example/evil"@a`, ""},
		{"smuggled domain", "nor an @ that makes another domain of it", `^(.*)@a$`, "bot@$1", `"evil.example@b"@a`, ""},
		{"empty group", "leaves no local part", `^(x?)\w+@a$`, "$1@x.example", "bob@a", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := newConverter(t, func(o *Options) { o.Maps = []RecipientMap{{"m", regexp.MustCompile(tt.match), tt.jid}} })
			j, err := c.Recipient(tt.addr)
			if tt.want == "" {
				var ae *AddressError
				if !errors.As(err, &ae) || ae.Fault != Malformed {
					t.Errorf("%s: got %q, %v", tt.reason, j, err)
				}
				return
			}
			if err != nil || j.String() != tt.want {
				t.Errorf("%s: got %q, %v, want %q", tt.reason, j, err, tt.want)
			}
		})
	}
}

// TestMapOrder: the first map that matches wins, whichever form of the address
// it matches.
func TestMapOrder(t *testing.T) {
	t.Parallel()
	c := newConverter(t, func(o *Options) {
		o.Maps = []RecipientMap{
			{"raw", regexp.MustCompile(`^004915`), "raw@x.example"},
			{"number", regexp.MustCompile(`^\+49`), "number@x.example"},
		}
	})
	for addr, want := range map[string]string{"004915112345678@a": "raw@x.example", "004917112345678@a": "number@x.example"} {
		if j, err := c.Recipient(addr); err != nil || j.String() != want {
			t.Errorf("%s: got %q, %v", addr, j, err)
		}
	}
}

func TestSender(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	for _, tt := range []struct{ name, reason, addr, want, back string }{
		{"ours", "kept where the domain is ours", "alice@jabber.example", "alice@jabber.example", "alice@jabber.example"},
		{"ours quoted", "kept and escaped", `"al ice"@jabber.example`, `al\20ice@jabber.example`, `"al ice"@jabber.example`},
		{"remote", "a domain of role client is not ours", "alice@remote.example", `alice\40remote.example@mail.jabber.example`, "alice@remote.example"},
		{"mail", "in the gateway domain", "alice@corp.example", `alice\40corp.example@mail.jabber.example`, "alice@corp.example"},
		{"quoted", "quotes come back where they must", `"john smith"@corp.example`, `john\20smith\40corp.example@mail.jabber.example`, `"john smith"@corp.example`},
		{"at", "an @ in the local part", `"a@b"@corp.example`, `a\40b\40corp.example@mail.jabber.example`, `"a@b"@corp.example`},
		{"slash", "X.400 in a local part", "/c=de/s=x/@corp.example", `\2fc=de\2fs=x\2f\40corp.example@mail.jabber.example`, "/c=de/s=x/@corp.example"},
		{"case", "PRECIS has small letters only", "Alice@Corp.example", `alice\40corp.example@mail.jabber.example`, "alice@corp.example"},
		{"null", "the null path is the gateway itself", "", "mail.jabber.example", ""},
		{"number", "a phone number", "+4915112345678", "+4915112345678@mail.jabber.example", "+4915112345678"},
		{"literal", "an address literal", "a@[192.0.2.1]", `a\40[192.0.2.1]@mail.jabber.example`, "a@[192.0.2.1]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j, err := c.Sender(tt.addr)
			if err != nil || j.String() != tt.want {
				t.Fatalf("%s: got %q, %v", tt.reason, j, err)
			}
			if back, err := c.MailAddress(j); err != nil || back != tt.back {
				t.Errorf("%s: back to %q, %v", tt.reason, back, err)
			}
		})
	}
}

func TestMailAddressRefuses(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	for _, tt := range []struct {
		name, jid string
		fault     Fault
	}{
		{"remote", "bob@remote.example", UnknownDomain},
		{"domain of ours", "jabber.example", UnknownDomain},
		{"no address inside", "bob@mail.jabber.example", Malformed},
		{"domain missing", `bob\40@mail.jabber.example`, Malformed},
		{"command in the domain", `bob\40x\20y@mail.jabber.example`, Malformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var ae *AddressError
			if addr, err := c.MailAddress(jid.MustParse(tt.jid)); !errors.As(err, &ae) || ae.Fault != tt.fault {
				t.Errorf("got %q, %v", addr, err)
			}
		})
	}
}

// TestSenderRoundTrip: every mail address in small letters that has a JID in the
// gateway domain comes back from it.
func TestSenderRoundTrip(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		// x/text applies the Bidi Rule to strings without right-to-left
		// characters too: what is not ASCII has to begin with a letter.
		local := rapid.OneOf(rapid.StringMatching(`[!-?\[-~]([ -@\[-~]{0,20}[!-?\[-~])?`),
			rapid.StringMatching(`[a-zäöß]([ -@\[-~äöß]{0,20}[!-?\[-~äöß])?`)).Draw(t, "local")
		domain := rapid.StringMatching(`[a-z]{1,8}(\.[a-z]{2,8}){0,2}`).Draw(t, "domain")
		addr := quoteLocal(local) + "@" + domain
		j, err := c.Sender(addr)
		if err != nil {
			t.Fatalf("%s: %v", addr, err)
		}
		back, err := c.MailAddress(j)
		if err != nil || back != addr {
			t.Errorf("%s as %s comes back as %s, %v", addr, j, back, err)
		}
		// The address on the wire is the same JID.
		if k, err := jid.Parse(j.String()); err != nil || k != j {
			t.Errorf("%s is read as %s, %v", j, k, err)
		}
	})
}
