package jid_test

import (
	"errors"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
)

// Table 1 of RFC 7622 §3.5, and what the preparation of each part does.
var good = []struct{ name, in, local, domain, resource string }{
	{"RFC 7622 example 1", "juliet@example.com", "juliet", "example.com", ""},
	{"RFC 7622 example 2", "juliet@example.com/foo", "juliet", "example.com", "foo"},
	{"RFC 7622 example 3: space in the resourcepart", "juliet@example.com/foo bar", "juliet", "example.com", "foo bar"},
	{"RFC 7622 example 4: at sign in the resourcepart", "juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"},
	{"RFC 7622 example 5: escaped space", `foo\20bar@example.com`, `foo\20bar`, "example.com", ""},
	{"RFC 7622 example 6", "fussball@example.com", "fussball", "example.com", ""},
	{"RFC 7622 example 7: sharp s is another letter", "fu\u00DFball@example.com", "fußball", "example.com", ""},
	{"RFC 7622 example 8: Greek", "\u03C0@example.com", "π", "example.com", ""},
	{"RFC 7622 example 9: capital sigma", "\u03A3@example.com/foo", "σ", "example.com", "foo"},
	{"RFC 7622 example 10: small sigma", "\u03C3@example.com/foo", "σ", "example.com", "foo"},
	{"RFC 7622 example 11: final sigma is kept", "\u03C2@example.com/foo", "ς", "example.com", "foo"},
	{"RFC 7622 example 12: symbol in the resourcepart", "king@example.com/\u265A", "king", "example.com", "♚"},
	{"RFC 7622 example 13: domain only", "example.com", "", "example.com", ""},
	{"RFC 7622 example 14: domain and resource", "example.com/foobar", "", "example.com", "foobar"},
	{"RFC 7622 example 15: separators divide before", "a.example.com/b@example.net", "", "a.example.com", "b@example.net"},

	{"slashes in the resourcepart", "a@b/c/d//", "a", "b", "c/d//"},
	{"space around the resourcepart is kept (OpaqueString)", "a@b/ c ", "a", "b", " c "},
	{"other spaces become spaces", "a@b/c\u00A0d", "a", "b", "c d"},
	{"resourcepart keeps its case", "a@b/Home", "a", "b", "Home"},
	{"resourcepart is composed", "a@b/e\u0301", "a", "b", "é"},
	{"localpart in small letters", "JuLiet@b", "juliet", "b", ""},
	{"localpart beyond ASCII in small letters", "ÉCOLE@b", "école", "b", ""},
	{"localpart is composed", "e\u0301@b", "é", "b", ""},
	{"width is mapped", "\uFF21\uFF22@b", "ab", "b", ""},
	{"all a localpart may hold", "!#$%()*+,-.;=?[\\]^_`{|}~@b", "!#$%()*+,-.;=?[\\]^_`{|}~", "b", ""},
	{"right to left", "\u05D0\u05D1@b", "אב", "b", ""},
	{"digit before a letter beyond ASCII: the Bidi Rule is for right-to-left text (RFC 8265 §3.3.2)", "1ö@b", "1ö", "b", ""},
	{"trailing dot", "a@example.com.", "a", "example.com", ""},
	{"domain in small letters", "Example.COM", "", "example.com", ""},
	{"domain beyond ASCII", "BÜCHER.example", "", "bücher.example", ""},
	{"A-label becomes a U-label", "xn--bcher-kva.example", "", "bücher.example", ""},
	{"A-label in large letters", "XN--BCHER-KVA.example", "", "bücher.example", ""},
	{"sharp s in a domain (IDNA2008)", "faß.example", "", "faß.example", ""},
	{"ideographic full stop", "日本。example", "", "日本.example", ""},
	{"ideographic full stop at the end", "日本。", "", "日本", ""},
	{"one label", "localhost", "", "localhost", ""},
	{"underscore, as container networks have it", "xmpp_1.local", "", "xmpp_1.local", ""},
	{"IPv4", "a@127.0.0.1", "a", "127.0.0.1", ""},
	{"IPv6", "a@[::1]/b", "a", "[::1]", "b"},
	{"IPv6 in the form of RFC 5952", "[2001:DB8:0:0:0:0:0:1]", "", "[2001:db8::1]", ""},
	{"hyphens inside a label", "a--b.example", "", "a--b.example", ""},
}

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range good {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			j, err := jid.Parse(test.in)
			if err != nil {
				t.Fatal(err)
			}
			if j.Local() != test.local || j.Domain() != test.domain || j.Resource() != test.resource {
				t.Errorf("Parse(%q) = %q, %q, %q", test.in, j.Local(), j.Domain(), j.Resource())
			}
			again, err := jid.Parse(j.String())
			if err != nil || again != j {
				t.Errorf("Parse(%q) = %q, %v: not the same address", j.String(), again, err)
			}
		})
	}
}

// Table 2 of RFC 7622 §3.5 and what else is no address. (The RFC lists a leading
// space of the resourcepart too, by mistake: OpaqueString allows it, erratum
// 4560.)
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, part string }{
		{"RFC 7622 example 16: quotation marks", `"juliet"@example.com`, "localpart"},
		{"RFC 7622 example 17: space", "foo bar@example.com", "localpart"},
		{"RFC 7622: empty localpart and resourcepart", "@example.com/", "resourcepart"},
		{"RFC 7622: Roman numeral", "henry\u2163@example.com", "localpart"},
		{"RFC 7622: symbol", "\u265A@example.com", "localpart"},
		{"RFC 7622: no domainpart", "juliet@", "domainpart"},
		{"RFC 7622: resourcepart only", "/foobar", "domainpart"},

		{"nothing", "", "domainpart"},
		{"empty localpart", "@example.com", "localpart"},
		{"empty resourcepart", "a@b/", "resourcepart"},
		{"two at signs", "a@b@c", "domainpart"},
		{"ampersand", "a&b@c", "localpart"},
		{"apostrophe", "a'b@c", "localpart"},
		{"colon", "a:b@c", "localpart"},
		{"less than", "a<b@c", "localpart"},
		{"greater than", "a>b@c", "localpart"},
		{"at sign by width mapping", "a\uFF20b@c", "localpart"},
		{"slash by width mapping", "a\uFF0Fb@c", "localpart"},
		{"control character in the localpart", "a\x01@c", "localpart"},
		{"DEL in the localpart", "a\x7F@c", "localpart"},
		{"control character in the resourcepart", "a@b/\x07", "resourcepart"},
		{"invalid UTF-8 in the localpart", "a\xFF@b", "localpart"},
		{"invalid UTF-8 in the domainpart", "a@b\xFF", "domainpart"},
		{"invalid UTF-8 in the resourcepart", "a@b/\xFF", "resourcepart"},
		{"zero width space", "a\u200B@b", "localpart"},
		{"directions mixed (Bidi rule)", "a\u05D0@b", "localpart"},
		{"directions mixed in a domain", "a\u05D0.example", "domainpart"},
		{"space in the domain", "a@b c", "domainpart"},
		{"empty label", "a@b..c", "domainpart"},
		{"leading dot", "a@.b", "domainpart"},
		{"dot only", "a@.", "domainpart"},
		{"two trailing dots", "a@b..", "domainpart"},
		{"two trailing dots beyond ASCII", "a@ü..", "domainpart"},
		{"empty label beyond ASCII", "a@ü..c", "domainpart"},
		{"symbol in a label", "a@i❤.example", "domainpart"},
		{"label begins with a hyphen", "a@-b", "domainpart"},
		{"label ends with a hyphen", "a@b-.c", "domainpart"},
		{"label of 64 bytes", "a@" + strings.Repeat("b", 64), "domainpart"},
		{"bad A-label", "a@xn--a", "domainpart"},
		{"symbol in the domain", "a@\u265A\u0338", "domainpart"},
		{"port", "a@b:5222", "domainpart"},
		{"IPv6 without brackets", "::1", "domainpart"},
		{"IPv6 not closed", "[::1", "domainpart"},
		{"IPv6 closed twice", "[::1]]", "domainpart"},
		{"IPv6 with a zone", "[fe80::1%eth0]", "domainpart"},
		{"IPv4 in brackets", "[127.0.0.1]", "domainpart"},
		{"name in brackets", "[example.com]", "domainpart"},
		{"localpart of 1024 bytes", strings.Repeat("a", 1024) + "@b", "localpart"},
		{"localpart of 1024 bytes beyond ASCII", strings.Repeat("é", 512) + "@b", "localpart"},
		{"domainpart of 1024 bytes", "a@" + strings.Repeat("b.", 511) + "bc", "domainpart"},
		{"resourcepart of 1024 bytes", "a@b/" + strings.Repeat("c", 1024), "resourcepart"},
		{"a megabyte", strings.Repeat("é", 1<<19) + "@b", "localpart"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			j, err := jid.Parse(test.in)
			var bad *jid.Error
			if !errors.As(err, &bad) {
				t.Fatalf("Parse(%.40q) = %q, %v, want a *jid.Error", test.in, j, err)
			}
			if bad.Part != test.part || bad.Temporary() {
				t.Errorf("Parse(%.40q): %v, want an error of the %s", test.in, bad, test.part)
			}
			if !j.IsZero() {
				t.Errorf("Parse(%.40q) = %q beside the error", test.in, j)
			}
		})
	}
}

// TestLongest: a part may have 1023 bytes, counted after preparation.
func TestLongest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 1023)
	domain := strings.Repeat("b.", 511) + "b"
	j, err := jid.New(long, domain, long)
	if err != nil {
		t.Fatal(err)
	}
	if len(j.String()) != 3*1023+2 {
		t.Errorf("%d bytes", len(j.String()))
	}
	decomposed := strings.Repeat("e\u0301", 400) // 1200 bytes, 800 when composed
	if _, err := jid.New(decomposed, "b", decomposed); err != nil {
		t.Errorf("too long only before preparation: %v", err)
	}
}

func TestJID(t *testing.T) {
	t.Parallel()
	full := jid.MustParse("Juliet@Example.com/balcony")
	if full != jid.MustParse("juliet@example.com./balcony") {
		t.Error("two forms of one address are not ==")
	}
	if full.IsBare() || !full.Bare().IsBare() || full.Bare() != jid.MustParse("juliet@example.com") {
		t.Errorf("Bare() = %v", full.Bare())
	}
	if j, err := full.WithResource("orchard"); err != nil || j.String() != "juliet@example.com/orchard" {
		t.Errorf("WithResource = %v, %v", j, err)
	}
	if j, err := full.WithResource(""); err != nil || j != full.Bare() {
		t.Errorf("WithResource of nothing = %v, %v", j, err)
	}
	if _, err := full.WithResource("\x00"); err == nil {
		t.Error("WithResource took a control character")
	}
	if zero := (jid.JID{}); !zero.IsZero() || zero.String() != "" || full.IsZero() {
		t.Error("the zero JID")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse did not panic")
		}
	}()
	jid.MustParse("@")
}

// FuzzParse: a parsed address is stable, its parts are bounded and do not hold
// what would divide them another way.
func FuzzParse(f *testing.F) {
	for _, test := range good {
		f.Add(test.in)
	}
	f.Add("\u1E9E@\u1E9E/\u1E9E")
	f.Add("a@\u0130")
	f.Fuzz(func(t *testing.T, s string) {
		j, err := jid.Parse(s)
		if err != nil {
			return
		}
		again, err := jid.Parse(j.String())
		if err != nil || again != j {
			t.Errorf("Parse(%q) = %q, which parses to %q, %v", s, j, again, err)
		}
		if strings.ContainsAny(j.Local(), "\"&'/:<>@ \x00") || strings.ContainsAny(j.Domain(), "@/ \x00") || j.Domain() == "" {
			t.Errorf("Parse(%q) = %q, %q, %q", s, j.Local(), j.Domain(), j.Resource())
		}
		if max(len(j.Local()), len(j.Domain()), len(j.Resource())) > 1023 {
			t.Errorf("Parse(%q): too long", s)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, bench := range []struct{ name, in string }{
		{"plain", "juliet@capulet.example/balcony"},
		{"large letters", "Juliet@Capulet.example/balcony"},
		{"beyond ASCII", "jülia@bücher.example/Balkon"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := jid.Parse(bench.in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
