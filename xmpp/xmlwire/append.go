package xmlwire

import (
	"strconv"
	"unicode/utf8"
)

// Streams is the namespace of the stream itself (RFC 6120 §4.8.1).
const Streams = "http://etherx.jabber.org/streams"

// Dialback is the namespace of XEP-0220.
const Dialback = "jabber:server:dialback"

// Append appends e as XML text to dst. ns is the default namespace that is in
// scope where the text will stand: "jabber:client" inside a client's stream, ""
// where nothing is around it; a namespace is declared where it differs.
//
// Elements of the Streams namespace get the prefix stream, because peers look
// for "stream:features" and "stream:error" by that name (RFC 6120 §4.8.5). The
// stream header declares it, so it is declared here only where ns is "". Those of
// Dialback get db for the same reason (XEP-0220 §2.4.1), and declare it.
//
// Text and values are escaped; a rune that XML cannot hold becomes U+FFFD. Names
// are written as they are: who builds an element answers for them. An attribute
// that would be a namespace declaration is left out.
func Append(dst []byte, e *Element, ns string) []byte {
	return appendElement(dst, e, ns, ns != "")
}

// String returns e as XML text that stands alone.
func (e *Element) String() string { return string(Append(nil, e, "")) }

// appendElement writes e where ns is the default namespace and, with inStream,
// the prefix stream is declared.
func appendElement(dst []byte, e *Element, ns string, inStream bool) []byte {
	prefix := ""
	switch e.Name.Space {
	case Streams:
		prefix = "stream:"
	case XML:
		prefix = "xml:" // may not be a default namespace
	case Dialback:
		prefix = "db:"
	}
	dst = append(dst, '<')
	dst = append(dst, prefix...)
	dst = append(dst, e.Name.Local...)
	switch {
	case prefix == "" && e.Name.Space != ns:
		ns = e.Name.Space
		dst = append(dst, " xmlns='"...)
		dst = appendEscaped(dst, ns, valueEscape)
		dst = append(dst, '\'')
	case prefix == "stream:" && !inStream:
		inStream = true
		dst = append(dst, " xmlns:stream='"+Streams+"'"...)
	case prefix == "db:":
		dst = append(dst, " xmlns:db='"+Dialback+"'"...)
	}
	for i := range e.Attrs {
		dst = appendAttr(dst, e.Attrs, i)
	}
	if !hasContent(e) {
		return append(dst, "/>"...)
	}
	dst = append(dst, '>')
	for i := range e.Children {
		if c := e.Children[i].Element; c != nil {
			dst = appendElement(dst, c, ns, inStream)
		} else {
			dst = appendEscaped(dst, e.Children[i].Text, textEscape)
		}
	}
	dst = append(dst, "</"...)
	dst = append(dst, prefix...)
	dst = append(dst, e.Name.Local...)
	return append(dst, '>')
}

// hasContent reports whether anything stands between the tags of e.
func hasContent(e *Element) bool {
	for i := range e.Children {
		if e.Children[i].Element != nil || e.Children[i].Text != "" {
			return true
		}
	}
	return false
}

// appendAttr writes attrs[i]. An attribute's namespace needs a prefix: it is
// declared on the same element and numbered by the first attribute that has it,
// so that no other element need be known.
func appendAttr(dst []byte, attrs []Attr, i int) []byte {
	a := &attrs[i]
	switch a.Name.Space {
	case "":
		if a.Name.Local == "xmlns" {
			return dst
		}
		dst = append(dst, ' ')
	case xmlns:
		return dst
	case XML:
		dst = append(dst, " xml:"...)
	default:
		first := 0
		for attrs[first].Name.Space != a.Name.Space {
			first++
		}
		if first == i {
			dst = append(dst, " xmlns:a"...)
			dst = strconv.AppendInt(dst, int64(i), 10)
			dst = append(dst, "='"...)
			dst = appendEscaped(dst, a.Name.Space, valueEscape)
			dst = append(dst, '\'')
		}
		dst = append(dst, " a"...)
		dst = strconv.AppendInt(dst, int64(first), 10)
		dst = append(dst, ':')
	}
	dst = append(dst, a.Name.Local...)
	dst = append(dst, "='"...)
	dst = appendEscaped(dst, a.Value, valueEscape)
	return append(dst, '\'')
}

// AppendValue appends s escaped for an attribute value in quotation marks of
// either kind.
func AppendValue(dst []byte, s string) []byte { return appendEscaped(dst, s, valueEscape) }

// escapes says what to write for each byte. The first table decides, so that the
// common case looks at 256 bytes and no more.
type escapes struct {
	plain [256]bool   // stands for itself
	with  [256]string // what stands for another one; "" begins a longer rune
}

const replacement = "\uFFFD"

// textEscape escapes character data. '>' is always escaped, so that "]]>" cannot
// arise, and CR, which would be read as LF (XML 1.0 §2.11).
var textEscape = newEscapes(map[byte]string{'&': "&amp;", '<': "&lt;", '>': "&gt;", '\r': "&#xD;"})

// valueEscape escapes attribute values: also the quotation marks, and the white
// space that would be read as blanks (§3.3.3).
var valueEscape = newEscapes(map[byte]string{
	'&': "&amp;", '<': "&lt;", '>': "&gt;", '\r': "&#xD;",
	'\'': "&apos;", '"': "&quot;", '\t': "&#x9;", '\n': "&#xA;",
})

func newEscapes(with map[byte]string) *escapes {
	t := new(escapes)
	for c := range utf8.RuneSelf {
		t.plain[c] = c >= 0x20 || c == '\t' || c == '\n'
		t.with[c] = replacement
	}
	for c, s := range with {
		t.plain[c], t.with[c] = false, s
	}
	return t
}

// plainWord reports whether none of eight bytes is escaped anywhere: no control
// character, none of & ' < > ", none beyond ASCII. It looks at all of them at
// once: x-ones has the high bit of a byte set where that byte of x was zero (and
// x's own high bit was not); one bit masked out, & and ' are the same byte, and
// so are < and >.
func plainWord(s string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	_ = s[7]
	x := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	amp := (x | ones) ^ ones*'\''
	angle := (x | ones*2) ^ ones*'>'
	quot := x ^ ones*'"'
	found := (x - ones*0x20) | (amp - ones) | (angle - ones) | (quot - ones) | x
	return found&high == 0
}

func appendEscaped(dst []byte, s string, esc *escapes) []byte {
	done := 0
	for i := 0; i < len(s); {
		for i+8 <= len(s) && plainWord(s[i:i+8]) {
			i += 8
		}
		for i < len(s) && esc.plain[s[i]] {
			i++
		}
		if i == len(s) {
			break
		}
		with, size := esc.with[s[i]], 1
		if with == "" {
			r, n := utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || n > 1) && isChar(r) {
				i += n
				continue
			}
			with, size = replacement, n
		}
		dst = append(dst, s[done:i]...)
		dst = append(dst, with...)
		i += size
		done = i
	}
	return append(dst, s[done:]...)
}
