package xmlwire

import (
	"strconv"
	"unicode/utf8"
)

// Streams is the namespace of the stream itself (RFC 6120 §4.8.1).
const Streams = "http://etherx.jabber.org/streams"

// Append appends e as XML text to dst. ns is the default namespace that is in
// scope where the text will stand: "jabber:client" inside a client's stream, ""
// where nothing is around it; a namespace is declared where it differs.
//
// Elements of the Streams namespace get the prefix stream, because peers look
// for "stream:features" and "stream:error" by that name (RFC 6120 §4.8.5). The
// stream header declares it, so it is declared here only where ns is "".
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
	}
	dst = append(dst, '<')
	dst = append(dst, prefix...)
	dst = append(dst, e.Name.Local...)
	switch {
	case prefix == "" && e.Name.Space != ns:
		ns = e.Name.Space
		dst = append(dst, " xmlns='"...)
		dst = appendEscaped(dst, ns, &valueEscape)
		dst = append(dst, '\'')
	case prefix == "stream:" && !inStream:
		inStream = true
		dst = append(dst, " xmlns:stream='"+Streams+"'"...)
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
			dst = appendEscaped(dst, e.Children[i].Text, &textEscape)
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
			dst = appendEscaped(dst, a.Name.Space, &valueEscape)
			dst = append(dst, '\'')
		}
		dst = append(dst, " a"...)
		dst = strconv.AppendInt(dst, int64(first), 10)
		dst = append(dst, ':')
	}
	dst = append(dst, a.Name.Local...)
	dst = append(dst, "='"...)
	dst = appendEscaped(dst, a.Value, &valueEscape)
	return append(dst, '\'')
}

// AppendText appends s as escaped character data.
func AppendText(dst []byte, s string) []byte { return appendEscaped(dst, s, &textEscape) }

// AppendValue appends s escaped for an attribute value in quotation marks of
// either kind.
func AppendValue(dst []byte, s string) []byte { return appendEscaped(dst, s, &valueEscape) }

// escapes says what to write for each byte: "" for the byte itself, and asIs
// for bytes that begin a longer rune.
type escapes [256]string

const (
	replacement = "\uFFFD"
	asIs        = "\x00"
)

// textEscape escapes character data. '>' is always escaped, so that "]]>" cannot
// arise, and CR, which would be read as LF (XML 1.0 §2.11).
var textEscape = func() (t escapes) {
	for c := range t {
		switch {
		case c >= utf8.RuneSelf:
			t[c] = asIs
		case c < 0x20 && c != '\t' && c != '\n':
			t[c] = replacement
		}
	}
	t['&'], t['<'], t['>'], t['\r'] = "&amp;", "&lt;", "&gt;", "&#xD;"
	return t
}()

// valueEscape escapes attribute values: also the quotation marks, and the white
// space that would be read as blanks (§3.3.3).
var valueEscape = func() escapes {
	t := textEscape
	t['\''], t['"'], t['\t'], t['\n'] = "&apos;", "&quot;", "&#x9;", "&#xA;"
	return t
}()

func appendEscaped(dst []byte, s string, esc *escapes) []byte {
	done := 0
	for i := 0; i < len(s); {
		with := esc[s[i]]
		if with == "" {
			i++
			continue
		}
		size := 1
		if with == asIs {
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
