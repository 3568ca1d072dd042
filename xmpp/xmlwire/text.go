package xmlwire

import "unicode/utf8"

// place is where characters stand; it decides what they mean.
type place uint8

const (
	inText  place = iota
	inValue       // an attribute value
	inCDATA
)

// fault is an error at an offset within a token.
type fault struct {
	kind Kind
	at   int
	text string
}

// decode checks b and replaces what stands for something else: references, line
// ends (XML 1.0 §2.11) and, in a value, white space (§3.3.3). It works in place
// and returns the length of the result.
func decode(b []byte, in place) (int, *fault) {
	plain := uint8(textPlain)
	if in == inValue {
		plain = valuePlain
	}
	r := 0
	for r < len(b) && class[b[r]]&plain != 0 {
		r++
	}
	w := r
	for r < len(b) {
		c := b[r]
		if class[c]&plain != 0 {
			b[w] = c
			r, w = r+1, w+1
			continue
		}
		read, wrote, f := decodeOne(b, r, w, in)
		if f != nil {
			return 0, f
		}
		r, w = r+read, w+wrote
	}
	return w, nil
}

// decodeOne decodes the character at b[r], which is not plain, to b[w].
func decodeOne(b []byte, r, w int, in place) (read, wrote int, f *fault) {
	c := b[r]
	switch {
	case c >= utf8.RuneSelf:
		ch, n := utf8.DecodeRune(b[r:])
		if ch == utf8.RuneError && n == 1 {
			return 0, 0, &fault{BadEncoding, r, "invalid UTF-8"}
		}
		if !isChar(ch) {
			return 0, 0, &fault{NotWellFormed, r, "a character that XML cannot hold"}
		}
		copy(b[w:], b[r:r+n])
		return n, n, nil
	case c == '&' && in != inCDATA:
		ch, n, f := reference(b, r)
		if f != nil {
			return 0, 0, f
		}
		return n, utf8.EncodeRune(b[w:w+utf8.RuneLen(ch)], ch), nil
	case c == '\r':
		b[w], read = '\n', 1
		if r+1 < len(b) && b[r+1] == '\n' {
			read = 2
		}
		if in == inValue {
			b[w] = ' '
		}
		return read, 1, nil
	case in == inValue && (c == '\t' || c == '\n'):
		b[w] = ' '
		return 1, 1, nil
	case in == inText && c == ']' && r+2 < len(b) && b[r+1] == ']' && b[r+2] == '>':
		return 0, 0, &fault{NotWellFormed, r, "]]> in text"}
	case c == '<' && in != inCDATA:
		return 0, 0, &fault{NotWellFormed, r, "'<' in a value"}
	case c < 0x20:
		return 0, 0, &fault{NotWellFormed, r, "a character that XML cannot hold"}
	}
	b[w] = c
	return 1, 1, nil
}

// reference decodes the reference at b[r]: one of the five predefined entities
// or a number (XML 1.0 §4.1, §4.6). n is its length in the input.
func reference(b []byte, r int) (ch rune, n int, f *fault) {
	// The longest reference that means anything is "&#1114111;", but numbers may
	// have leading zeros.
	const longest = 32
	end := -1
	for i := r + 1; i < len(b) && i < r+longest; i++ {
		if b[i] == ';' {
			end = i
			break
		}
	}
	if end < 0 {
		return 0, 0, &fault{NotWellFormed, r, "'&' that begins no reference"}
	}
	name := b[r+1 : end]
	n = end + 1 - r
	switch string(name) {
	case "lt":
		return '<', n, nil
	case "gt":
		return '>', n, nil
	case "amp":
		return '&', n, nil
	case "quot":
		return '"', n, nil
	case "apos":
		return '\'', n, nil
	}
	if len(name) > 0 && name[0] == '#' {
		ch, ok := number(name[1:])
		if !ok || !isChar(ch) {
			return 0, 0, &fault{NotWellFormed, r, "a character reference to no character"}
		}
		return ch, n, nil
	}
	if len(name) == 0 || ncName(name) != len(name) {
		return 0, 0, &fault{NotWellFormed, r, "'&' that begins no reference"}
	}
	return 0, 0, &fault{Restricted, r, "reference to an entity other than the predefined five"}
}

// number reads the digits of a character reference, decimal or x and
// hexadecimal. ok is false where they are none or too large for a rune.
func number(digits []byte) (n rune, ok bool) {
	base := rune(10)
	if len(digits) > 0 && digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	for _, c := range digits {
		var d rune
		switch {
		case c >= '0' && c <= '9':
			d = rune(c - '0')
		case base == 16 && c >= 'a' && c <= 'f':
			d = rune(c-'a') + 10
		case base == 16 && c >= 'A' && c <= 'F':
			d = rune(c-'A') + 10
		default:
			return 0, false
		}
		if n = n*base + d; n > utf8.MaxRune {
			return 0, false
		}
	}
	return n, len(digits) > 0
}
