package xmpplog

import (
	"slices"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// control says whether a character would tear a line, or what shows it: control
// characters, of which U+0085 is a line break to some, and U+2028 and U+2029.
func control(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
}

// escapeFrom escapes the value that b holds from start on, in place where there is
// nothing to escape. Values come from strangers: none may end a line, or look like
// several values. An escape is \xHH or \uHHHH. A backslash stands for itself, as in
// addresses that XEP-0106 has escaped, unless it would make an escape of what follows.
func escapeFrom(b []byte, start int, stays *bytesThatStay) []byte {
	i := start
	for i < len(b) && stays.at(b, i) {
		i++
	}
	if i == len(b) {
		return b
	}
	rest := slices.Clone(b[i:])
	b = b[:i]
	for len(rest) > 0 {
		r, size := utf8.DecodeRune(rest)
		c := rest[0]
		switch {
		case size > 1 && !control(r), size == 1 && stays.at(rest, 0):
			b = append(b, rest[:size]...)
		case size == 1:
			b = append(b, '\\', 'x', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		}
		rest = rest[size:]
	}
	return b
}

// bytesThatStay says which bytes are characters that stand for themselves.
type bytesThatStay [256]bool

// staysBut is all but the separators.
func staysBut(separators []byte) *bytesThatStay {
	t := new(bytesThatStay)
	for c := ' '; c < 0x7f; c++ {
		t[c] = !slices.Contains(separators, byte(c))
	}
	return t
}

// at says whether the byte of b at i stays.
func (t *bytesThatStay) at(b []byte, i int) bool {
	return t[b[i]] && (b[i] != '\\' || i+1 == len(b) || b[i+1] != 'x' && b[i+1] != 'u')
}
