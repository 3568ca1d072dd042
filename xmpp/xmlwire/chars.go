package xmlwire

import "unicode/utf8"

// Classes of bytes. Bytes from 0x80 on are in none: they need decoding.
const (
	textPlain  = 1 << iota // stands for itself in character data
	valuePlain             // stands for itself in an attribute value
	nameStart              // NameStartChar without the colon (Namespaces in XML 1.0 §3, NCName)
	nameRest               // NameChar without the colon
	space                  // S (XML 1.0 §2.3)
	tagMark                // decides where a tag ends
)

var class = func() (t [256]uint8) {
	for c := 0x20; c < 0x80; c++ {
		t[c] |= textPlain | valuePlain
	}
	t['\t'] |= textPlain
	t['\n'] |= textPlain
	t['<'] &^= textPlain | valuePlain
	t['&'] &^= textPlain | valuePlain
	t[']'] &^= textPlain // may begin "]]>"
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= nameStart | nameRest
		t[c-'a'+'A'] |= nameStart | nameRest
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= nameRest
	}
	t['_'] |= nameStart | nameRest
	t['-'] |= nameRest
	t['.'] |= nameRest
	for _, c := range " \t\r\n" {
		t[c] |= space
	}
	for _, c := range `<>"'` {
		t[c] |= tagMark
	}
	return t
}()

func isSpace(c byte) bool { return class[c]&space != 0 }

// isChar reports whether XML can hold the rune (XML 1.0 §2.2, Char).
func isChar(r rune) bool {
	switch {
	case r < 0x20:
		return r == '\t' || r == '\n' || r == '\r'
	case r < 0xD800:
		return true
	default:
		return r >= 0xE000 && r <= utf8.MaxRune && r != 0xFFFE && r != 0xFFFF
	}
}

// isNameStart reports whether a rune beyond ASCII may begin a name (XML 1.0
// fifth edition §2.3, NameStartChar).
func isNameStart(r rune) bool {
	switch {
	case r < 0x2000:
		return r >= 0xC0 && r != 0xD7 && r != 0xF7 && (r < 0x300 || r >= 0x370) && r != 0x37E
	case r < 0x3001:
		return r == 0x200C || r == 0x200D || r >= 0x2070 && r <= 0x218F || r >= 0x2C00 && r <= 0x2FEF
	default:
		return r <= 0xD7FF || r >= 0xF900 && r <= 0xFDCF || r >= 0xFDF0 && r <= 0xFFFD || r >= 0x10000 && r <= 0xEFFFF
	}
}

// isNameRest reports whether a rune beyond ASCII may follow in a name
// (NameChar).
func isNameRest(r rune) bool {
	return isNameStart(r) || r == 0xB7 || r >= 0x300 && r <= 0x36F || r == 0x203F || r == 0x2040
}

// ncName returns the length of the NCName (Namespaces in XML 1.0 §3) that b
// begins with, 0 for none.
func ncName(b []byte) int {
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if class[c]&nameRest == 0 || i == 0 && class[c]&nameStart == 0 {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size == 1 || !isNameRest(r) || i == 0 && !isNameStart(r) {
			return i
		}
		i += size
	}
	return len(b)
}
