package smtpd

import (
	"errors"
	"strings"
	"unicode/utf8"
)

var errAddress = errors.New("address syntax")

// Lengths in octets. RFC 5321 §4.5.3.1 asks for 64 and 255; longer local parts
// are in use (variable envelope return paths), so they get more.
const (
	maxLocal  = 256
	maxDomain = 255
)

// parsePath reads the path at the start of s (RFC 5321 §4.1.2), the argument of
// MAIL or RCPT, and returns its mailbox in canonical form, without angle
// brackets, and what follows. A source route is dropped (appendix C), and
// a local part is quoted exactly where the grammar demands it. The null path is
// "", bare the only mailbox that has no domain: postmaster (§4.1.1.3).
//
// COMPAT: clients that leave the angle brackets out; Japanese mobile operators,
// whose addresses have dots side by side or at the end of the local part.
func parsePath(s string) (mailbox, rest string, err error) {
	s = strings.TrimLeft(s, " ")
	s, bracket := strings.CutPrefix(s, "<")
	if bracket && strings.HasPrefix(s, ">") {
		return "", s[1:], nil
	}
	if strings.HasPrefix(s, "@") {
		_, after, ok := strings.Cut(s, ":")
		if !bracket || !ok {
			return "", "", errAddress
		}
		s = after
	}
	local, s, err := parseLocal(s)
	if err != nil {
		return "", "", err
	}
	mailbox = quoteLocal(local)
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		n := strings.IndexAny(domain, " >")
		if n < 0 {
			n = len(domain)
		}
		domain, s = domain[:n], domain[n:]
		if !validDomain(domain) {
			return "", "", errAddress
		}
		mailbox += "@" + domain
	} else if !strings.EqualFold(local, "postmaster") {
		return "", "", errAddress
	}
	if s, err = closePath(s, bracket); err != nil {
		return "", "", err
	}
	if !utf8.ValidString(mailbox) { // RFC 6531 §3.3
		return "", "", errAddress
	}
	return mailbox, s, nil
}

// closePath takes the closing angle bracket off s; what follows a path is
// nothing or begins with a space.
func closePath(s string, bracket bool) (string, error) {
	if bracket {
		var ok bool
		if s, ok = strings.CutPrefix(s, ">"); !ok {
			return "", errAddress
		}
	}
	if s != "" && s[0] != ' ' {
		return "", errAddress
	}
	return s, nil
}

// parseLocal reads a local part, as a dot-string or quoted string, and returns
// its value without quoting.
func parseLocal(s string) (local, rest string, err error) {
	if !strings.HasPrefix(s, `"`) {
		n := 0
		for n < len(s) && (isAtext(s[n]) || s[n] == '.') {
			n++
		}
		if n == 0 || n > maxLocal {
			return "", "", errAddress
		}
		return s[:n], s[n:], nil
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		if c == '"' {
			if b.Len() == 0 || b.Len() > maxLocal {
				return "", "", errAddress
			}
			return b.String(), s[i+1:], nil
		}
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
		}
		if c < ' ' || c == 0x7f { // qtextSMTP and quoted-pairSMTP are printable
			return "", "", errAddress
		}
		b.WriteByte(c)
	}
	return "", "", errAddress
}

// quoteLocal writes a local part as RFC 5321 §4.1.2 does: a Dot-string where
// possible, else a Quoted-string with the fewest backslashes.
func quoteLocal(local string) string {
	plain := !strings.HasPrefix(local, ".") && !strings.HasSuffix(local, ".") && !strings.Contains(local, "..")
	for i := 0; plain && i < len(local); i++ {
		plain = isAtext(local[i]) || local[i] == '.'
	}
	if plain {
		return local
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(local); i++ {
		if local[i] == '"' || local[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(local[i])
	}
	b.WriteByte('"')
	return b.String()
}

// isAtext reports whether c may stand in an atom (RFC 5322 §3.2.3, RFC 6531
// §3.3: any octet of UTF-8 beyond ASCII).
func isAtext(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c >= 0x80:
		return true
	}
	return strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

// validDomain reports whether d is a domain of letters, digits, hyphens,
// underscores (COMPAT: names of hosts in use) and UTF-8, or an address literal.
func validDomain(d string) bool {
	if len(d) == 0 || len(d) > maxDomain {
		return false
	}
	if inner, ok := strings.CutPrefix(d, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && inner != "" && strings.IndexFunc(inner, notLiteral) < 0
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; !isAtext(c) || c < 0x80 && c != '-' && c != '_' && !isAlnum(c) {
				return false
			}
		}
	}
	return true
}

// notLiteral reports whether r cannot stand in an address literal.
func notLiteral(r rune) bool {
	return r >= 0x80 || !isAlnum(byte(r)) && r != '.' && r != ':' && r != '-'
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
