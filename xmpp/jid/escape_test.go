package jid_test

import (
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
)

func TestEscape(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, plain, escaped string }{
		{"XEP-0106 §6.1 example 1", "space cadet", `space\20cadet`},
		{"XEP-0106 §6.1 example 2", `call me "ishmael"`, `call\20me\20\22ishmael\22`},
		{"XEP-0106 §6.1 example 3", "at&t guy", `at\26t\20guy`},
		{"XEP-0106 §6.1 example 4", "d'artagnan", `d\27artagnan`},
		{"XEP-0106 §6.1 example 5", "/.fanboy", `\2f.fanboy`},
		{"XEP-0106 §6.1 example 6", "::foo::", `\3a\3afoo\3a\3a`},
		{"XEP-0106 §6.1 example 7", "<foo>", `\3cfoo\3e`},
		{"XEP-0106 §6.1 example 8", "user@host", `user\40host`},
		{"XEP-0106 §6.1 example 9: a backslash that begins no escape", `c:\net`, `c\3a\net`},
		{"XEP-0106 §6.1 example 10: two of them", `c:\\net`, `c\3a\\net`},
		{"XEP-0106 §6.1 example 11", `c:\cool stuff`, `c\3a\cool\20stuff`},
		{"XEP-0106 §6.1 example 12: what looks like an escaped backslash", `c:\5commas`, `c\3a\5c5commas`},
		{"XEP-0106 §6.2: mail", `here's_a_wild_&_/cr%zy/_address`, `here\27s_a_wild_\26_\2fcr%zy\2f_address`},
		{"XEP-0106 §5.2: Wireless Village", `\3and\2is\5cool`, `\5c3and\2is\5c5cool`},
		{"XEP-0106 §6.5: IMPS", `here's_a_wild_&_/cr%zy/_address_for:<wv>("IMPS")`, `here\27s_a_wild_\26_\2fcr%zy\2f_address_for\3a\3cwv\3e(\22IMPS\22)`},
		{"XEP-0106 §6.6: LDAP", `CN=D'Artagnan Saint-Andr\E9,O=Example & Company, Inc.,DC=example,DC=com`,
			`CN=D\27Artagnan\20Saint-Andr\E9,O=Example\20\26\20Company,\20Inc.,DC=example,DC=com`},
		{"XEP-0106 §6.7: IRC", `somenick!user"&'/:<>\3address`, `somenick!user\22\26\27\2f\3a\3c\3e\5c3address`},
		{"XEP-0106 §5.3: partial escapes", `\2plus\2is\4`, `\2plus\2is\4`},
		{"XEP-0106 §5.3: escape of no character it knows", `foo\bar`, `foo\bar`},
		{"XEP-0106 §5.3: escape of a letter", `foob\41r`, `foob\41r`},
		{"nothing", "", ""},
		{"plain", "juliet", "juliet"},
		{"backslash at the end", `a\`, `a\`},
		{"backslash and one digit at the end", `a\2`, `a\2`},
		{"every escape already there", `\20\22\26\27\2f\3a\3c\3e\40\5c`, `\5c20\5c22\5c26\5c27\5c2f\5c3a\5c3c\5c3e\5c40\5c5c`},
		{"backslash before a character that is escaped", `\@`, `\\40`},
		{"backslash before an escaped backslash", `\\5c`, `\\5c5c`},
		{"an escape in large letters, which preparation would make small", `a\2Fb`, `a\5c2Fb`},
		{"space at the edges is not escaped", " a b ", ` a\20b `},
		{"spaces only", "   ", ` \20 `},
		{"what looks like an escaped space at the edges", `\20a\20`, `\5c20a\5c20`},
		{"characters beyond ASCII", "tréville@musketeers.lit", `tréville\40musketeers.lit`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := jid.Escape(test.plain); got != test.escaped {
				t.Errorf("Escape(%q) = %q, want %q", test.plain, got, test.escaped)
			}
			if got := jid.Unescape(test.escaped); got != test.plain {
				t.Errorf("Unescape(%q) = %q, want %q", test.escaped, got, test.plain)
			}
		})
	}
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, in, want string }{
		{"large letters are no escape (§4.1: case is significant)", `a\2Fb\5Cc`, `a\2Fb\5Cc`},
		{"\\20 first and last is no escape (§5.1 rule 6)", `\20a\20b\20`, `\20a b\20`},
		{"only what there was is unescaped", `\5c40`, `\40`},
		{"not twice", `\5c5c40`, `\5c40`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := jid.Unescape(test.in); got != test.want {
				t.Errorf("Unescape(%q) = %q, want %q", test.in, got, test.want)
			}
		})
	}
}

// TestEdgeSpaceIsRefused: what may not be escaped does not become an address.
func TestEdgeSpaceIsRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{" a", "a ", " "} {
		if j, err := jid.New(jid.Escape(s), "example.com", ""); err == nil {
			t.Errorf("%q became %q", s, j)
		}
	}
}

// FuzzEscape: escaping can be undone, also after preparation, which changes
// nothing but case in ASCII; and it leaves nothing that a localpart cannot hold.
func FuzzEscape(f *testing.F) {
	f.Add(`a\5c\2F @'b\`)
	f.Add(` \20 `)
	f.Fuzz(func(t *testing.T, s string) {
		e := jid.Escape(s)
		if got := jid.Unescape(e); got != s {
			t.Errorf("Unescape(Escape(%q) = %q) = %q", s, e, got)
		}
		if strings.ContainsAny(e, `"&'/:<>@`) {
			t.Errorf("Escape(%q) = %q", s, e)
		}
		if j, err := jid.New(e, "example.com", ""); err == nil && len(s) > 0 && isASCII(s) {
			if got := jid.Unescape(j.Local()); got != strings.ToLower(s) {
				t.Errorf("%q became the address %q, which means %q", s, j, got)
			}
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > '~' }) < 0
}
