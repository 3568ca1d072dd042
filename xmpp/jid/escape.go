package jid

import "strings"

// hexDigits are those of XEP-0106, which writes them small.
const hexDigits = "0123456789abcdef"

// escaped are the characters that XEP-0106 §4.2 escapes beside the backslash:
// those a localpart cannot hold, and the space.
const escaped = " " + forbidden

// Escape makes legal text for a localpart of an arbitrary string, such as a mail
// address (XEP-0106 §4.2, §5.2). It is to be prepared afterwards, by New.
//
// A backslash is escaped only where it and what follows look like an escape
// (§5.1 rule 7), in either case, since preparation makes small letters of
// large ones. A space at the very beginning or end stays as it is: it may not be
// escaped (§5.1 rule 6), and New refuses it; the alternative, to leave it out,
// would give two addresses the same JID.
func Escape(s string) string {
	if !strings.ContainsAny(s, escaped+`\`) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 8)
	for i := 0; i < len(s); i++ {
		c := s[i]
		edge := i == 0 || i == len(s)-1
		switch {
		case c == ' ' && edge, strings.IndexByte(escaped, c) < 0 && c != '\\':
			b.WriteByte(c)
		case c == '\\' && !escapeAt(strings.ToLower(s[i:min(i+3, len(s))])):
			b.WriteByte(c)
		default:
			b.WriteByte('\\')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&0xF])
		}
	}
	return b.String()
}

// Unescape is the reverse of Escape, for a localpart that is shown to a person
// or given to another system (XEP-0106 §4.3). What is no escape stays as it is,
// and so does "\20" at the beginning or end.
func Unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		edge := i == 0 || i+3 == len(s)
		if s[i] != '\\' || !escapeAt(s[i:]) || edge && s[i:i+3] == `\20` {
			b.WriteByte(s[i])
			continue
		}
		b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
		i += 2
	}
	return b.String()
}

// escapeAt reports whether s, which begins with a backslash, begins with one of
// the ten escapes.
func escapeAt(s string) bool {
	if len(s) < 3 {
		return false
	}
	hi, lo := strings.IndexByte(hexDigits, s[1]), strings.IndexByte(hexDigits, s[2])
	if hi < 0 || lo < 0 {
		return false
	}
	c := byte(hi<<4 | lo)
	return c == '\\' || strings.IndexByte(escaped, c) >= 0
}

func unhex(c byte) byte { return byte(strings.IndexByte(hexDigits, c)) }
