package jid

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/text/secure/precis"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// maxPart is the longest a part may be after preparation, in bytes (RFC 7622
// §3.2 to §3.4).
const maxPart = 1023

// maxRaw is the longest a part may be before it. Preparation may shorten a
// part, but what is far too long is not worth the work.
const maxRaw = 4 * maxPart

// Classes of ASCII characters.
const (
	localPlain = 1 << iota // in a localpart, unchanged
	upper                  // a letter that case mapping changes
	hostPlain              // in a domain label, unchanged
)

var class = func() (t [utf8.RuneSelf]uint8) {
	for c := '!'; c <= '~'; c++ {
		t[c] |= localPlain
	}
	for _, c := range forbidden {
		t[c] &^= localPlain
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= hostPlain
		t[c-'a'+'A'] = upper
	}
	for _, c := range "0123456789-_" {
		t[c] |= hostPlain
	}
	return t
}()

// forbidden are the characters that a localpart cannot hold although PRECIS
// would let them pass (RFC 7622 §3.3.1).
const forbidden = `"&'/:<>@`

// prepareLocal enforces the UsernameCaseMapped profile (RFC 7622 §3.3).
func prepareLocal(s string) (string, error) {
	if len(s) > maxRaw {
		return "", &Error{localpart, "too long"}
	}
	var all uint8 = localPlain
	var some uint8
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return prepareLocalUnicode(s)
		}
		c := class[s[i]]
		some |= c
		if c&upper == 0 {
			all &= c
		}
	}
	switch {
	case all == 0:
		return "", &Error{localpart, "a character that is not allowed"}
	case len(s) > maxPart:
		return "", &Error{localpart, "too long"}
	case some&upper != 0:
		return strings.ToLower(s), nil
	}
	return s, nil
}

// leftToRight is UsernameCaseMapped (RFC 8265 §3.3) without its directionality
// rule, which is for strings with right-to-left characters only (§3.3.2 step 5).
// x/text applies it to all of them and would refuse "1ö".
var leftToRight = precis.NewIdentifier(precis.FoldWidth, precis.LowerCase(), precis.Norm(norm.NFC))

// rightToLeft reports whether s has a character that makes the Bidi Rule apply
// (RFC 5893 §1.4).
func rightToLeft(s string) bool {
	for len(s) > 0 {
		p, n := bidi.LookupString(s)
		if c := p.Class(); c == bidi.R || c == bidi.AL || c == bidi.AN {
			return true
		}
		s = s[max(n, 1):]
	}
	return false
}

func prepareLocalUnicode(s string) (string, error) {
	profile := leftToRight
	if rightToLeft(s) {
		profile = precis.UsernameCaseMapped
	}
	s, err := enforce(profile, s)
	switch {
	case err != nil:
		return "", &Error{localpart, "a character that is not allowed"}
	case strings.ContainsAny(s, forbidden):
		// Checked last: width mapping makes "@" of U+FF20.
		return "", &Error{localpart, "a character that is not allowed"}
	case len(s) > maxPart:
		return "", &Error{localpart, "too long"}
	}
	return s, nil
}

// prepareResource enforces the OpaqueString profile (RFC 7622 §3.4).
func prepareResource(s string) (string, error) {
	if len(s) > maxRaw {
		return "", &Error{resourcepart, "too long"}
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			var err error
			if s, err = enforce(precis.OpaqueString, s); err != nil {
				return "", &Error{resourcepart, "a character that is not allowed"}
			}
			break
		}
	}
	if len(s) > maxPart {
		return "", &Error{resourcepart, "too long"}
	}
	return s, nil
}

// enforce applies a profile until nothing changes any more: one application may
// produce what a second one would map again, and then an address would not be
// equal to itself once it has been sent and parsed (RFC 8265 §7).
func enforce(p *precis.Profile, s string) (string, error) {
	const rounds = 4
	if !utf8.ValidString(s) {
		return "", errNotText
	}
	for range rounds {
		next, err := p.String(s)
		if err != nil {
			return "", err
		}
		if next == s {
			return s, nil
		}
		s = next
	}
	return "", errNotText
}

// errNotText stands for whatever keeps a profile from being applied.
var errNotText = errors.New("not a string of this profile")

// Profiles for domain names in U-labels (RFC 7622 §3.2.1). The first maps as UTS
// #46 does, which is RFC 5895 and more, and gives U-labels; the second checks
// what came of it, lengths included.
var (
	mapping  = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.CheckJoiners(true))
	checking = idna.New(idna.ValidateForRegistration())
)

// prepareDomain prepares a domain name or the literal of an address.
func prepareDomain(s string) (string, error) {
	// A trailing dot goes first of all (RFC 7622 §3.2).
	s = strings.TrimSuffix(s, ".")
	switch {
	case s == "":
		return "", &Error{domainpart, "empty"}
	case len(s) > maxRaw:
		return "", &Error{domainpart, "too long"}
	case s[0] == '[':
		return prepareIPv6(s)
	}
	mapped, done := prepareHost(s)
	if !done {
		mapped = prepareIDN(s)
	}
	switch {
	case mapped == "":
		return "", &Error{domainpart, "not a domain name"}
	case len(mapped) > maxPart:
		return "", &Error{domainpart, "too long"}
	}
	return mapped, nil
}

// prepareIDN prepares a name with other labels than ASCII ones; "" is none.
func prepareIDN(s string) string {
	if !utf8.ValidString(s) || strings.HasSuffix(s, ".") {
		return ""
	}
	u, err := mapping.ToUnicode(s)
	if err != nil {
		return ""
	}
	// Mapping may make dots of other full stops, also at the end.
	u = strings.TrimSuffix(u, ".")
	if strings.HasSuffix(u, ".") {
		return "" // an empty label, which the check would take for the root
	}
	if host, done := prepareHost(u); done {
		return host // and ASCII of the rest
	}
	if _, err := checking.ToASCII(u); err != nil || strings.ContainsFunc(u, notInLabel) {
		return ""
	}
	if again, err := mapping.ToUnicode(u); err != nil || again != u {
		return ""
	}
	return u
}

// notInLabel reports whether IDNA2008 forbids a character beyond ASCII that UTS
// #46 lets pass, such as a symbol: a label is of letters, marks and digits, and
// of the exceptions of RFC 5892 §2.6. Their context (joiners) was checked.
func notInLabel(r rune) bool {
	switch r {
	case 0x00B7, 0x0375, 0x05F3, 0x05F4, 0x06FD, 0x06FE, 0x0F0B, 0x200C, 0x200D, 0x3007, 0x30FB:
		return false
	}
	return r >= utf8.RuneSelf && !unicode.In(r, unicode.Ll, unicode.Lo, unicode.Lm, unicode.Mn, unicode.Mc, unicode.Nd)
}

// prepareHost prepares a name of ASCII labels or an IPv4 address; "" is neither.
// done is false for a name that IDNA has to look at: one with other characters
// or with A-labels, which become U-labels.
//
// COMPAT: an underscore is no letter of a host name (RFC 1123 §2.1), but
// container networks make names with it, and IDNA2008 does not speak of them.
func prepareHost(s string) (name string, done bool) {
	const maxLabel = 63 // RFC 1035 §2.3.4
	var some uint8
	label := 0
	bad := false
	for i := 0; i <= len(s); i++ {
		if i == len(s) || s[i] == '.' {
			n := i - label
			bad = bad || n == 0 || n > maxLabel || s[label] == '-' || s[i-1] == '-'
			if n >= 4 && strings.EqualFold(s[label:label+4], "xn--") {
				return "", false
			}
			label = i + 1
			continue
		}
		if s[i] >= utf8.RuneSelf {
			return "", false
		}
		c := class[s[i]]
		bad = bad || c&(hostPlain|upper) == 0
		some |= c
	}
	switch {
	case bad:
		return "", true
	case some&upper != 0:
		return strings.ToLower(s), true
	}
	return s, true
}

// prepareIPv6 brings an IPv6 literal (RFC 3986 §3.2.2) into the one form of
// RFC 5952. A zone means nothing to another host and is refused.
func prepareIPv6(s string) (string, error) {
	a, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
	if err != nil || !a.Is6() || a.Zone() != "" || s[len(s)-1] != ']' {
		return "", &Error{domainpart, "not an IPv6 address in brackets"}
	}
	return "[" + a.String() + "]", nil
}
