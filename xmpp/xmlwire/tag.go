package xmlwire

import (
	"bytes"
	"strings"
)

// startTag takes the start or empty-element tag t, which stands at pos.
func (p *parser) startTag(t []byte) event {
	empty := len(t) > 2 && t[len(t)-2] == '/'
	body := t[1 : len(t)-1]
	if empty {
		body = body[:len(body)-1]
	}
	header := p.stream && p.phase <= prolog
	if !header && len(p.tree.open) >= p.lim.Depth {
		p.fail(TooLarge, p.pos, "more than %d elements in each other", p.lim.Depth)
		return needMore
	}
	nameLen, prefixLen := qname(body)
	if nameLen == 0 {
		p.fail(NotWellFormed, p.pos, "a tag without a name")
		return needMore
	}
	p.phase = max(p.phase, prolog)
	p.tree.begin(p.offset(p.pos)+1, nameLen, prefixLen)
	if !p.attributes(body, nameLen) || !p.resolve() {
		return needMore
	}
	p.advance(len(t))
	switch {
	case header:
		p.root = string(body[:nameLen])
		p.phase = inStream
		if empty {
			p.phase = closed
		}
		return gotHeader
	case !p.addElement():
		return needMore
	case empty:
		return p.close()
	}
	return needMore
}

// qname returns the length of the qualified name that b begins with and of its
// prefix (Namespaces in XML 1.0 §4); 0 where there is none.
func qname(b []byte) (n, prefix int) {
	n = ncName(b)
	if n == 0 || n == len(b) || b[n] != ':' {
		return n, 0
	}
	local := ncName(b[n+1:])
	if local == 0 {
		return 0, 0
	}
	return n + 1 + local, n
}

// attributes takes the attributes of the tag whose inside is b, from b[i] on.
func (p *parser) attributes(b []byte, i int) bool {
	for {
		gap := i
		for i < len(b) && isSpace(b[i]) {
			i++
		}
		if i == len(b) {
			return true
		}
		at := p.pos + 1 + i
		if gap == i {
			p.fail(NotWellFormed, at, "no white space before an attribute")
			return false
		}
		nameLen, prefixLen := qname(b[i:])
		if nameLen == 0 {
			p.fail(NotWellFormed, at, "an attribute without a name")
			return false
		}
		name := i
		i = equals(b, i+nameLen)
		if i < 0 || i == len(b) || b[i] != '"' && b[i] != '\'' {
			p.fail(NotWellFormed, at, "an attribute without a quoted value")
			return false
		}
		value, n := i+1, 0
		for b[value+n] != b[i] { // tagEnd saw the closing mark
			n++
		}
		i = value + n + 1
		kept, f := decode(b[value:value+n], inValue)
		if f != nil {
			f.at += 1 + value
			p.fault(f)
			return false
		}
		if !p.addAttr(p.offset(p.pos+1), b, name, nameLen, prefixLen, value, kept) {
			return false
		}
	}
}

// equals returns the index after the equals sign that follows b[i], -1 where
// there is none.
func equals(b []byte, i int) int {
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	if i == len(b) || b[i] != '=' {
		return -1
	}
	i++
	for i < len(b) && isSpace(b[i]) {
		i++
	}
	return i
}

// addAttr records one attribute, or the namespace declaration that it is. base is
// the offset of b; the other numbers are indices into it.
func (p *parser) addAttr(base int32, b []byte, name, nameLen, prefixLen, value, valueLen int) bool {
	t := &p.tree
	if t.written++; t.written > p.lim.Attrs {
		p.fail(TooLarge, p.pos+1+name, "more than %d attributes", p.lim.Attrs)
		return false
	}
	a := attr{
		name: span{base + int32(name), int32(nameLen)}, prefixLen: int32(prefixLen),
		value: span{base + int32(value), int32(valueLen)},
	}
	switch {
	case prefixLen == 0 && string(b[name:name+nameLen]) == "xmlns":
		return p.declare(span{}, a.value, p.pos+1+name)
	case string(b[name:name+prefixLen]) == "xmlns":
		return p.declare(a.local(), a.value, p.pos+1+name)
	}
	t.attrs = append(t.attrs, a)
	return true
}

// endTag takes the end tag t, which stands at pos.
func (p *parser) endTag(t []byte) event {
	name := t[2 : len(t)-1]
	for len(name) > 0 && isSpace(name[len(name)-1]) {
		name = name[:len(name)-1]
	}
	open := p.tree.open
	if len(open) == 0 {
		if p.phase != inStream || string(name) != p.root {
			p.fail(NotWellFormed, p.pos, "an end tag that closes nothing")
			return needMore
		}
		p.advance(len(t))
		p.phase = closed
		return gotEnd
	}
	if start := p.tree.elems[open[len(open)-1]].name; !bytes.Equal(name, p.bytes(start)) {
		p.fail(NotWellFormed, p.pos, "an end tag that does not match its start tag")
		return needMore
	}
	p.advance(len(t))
	return p.close()
}

// declaration takes an XML declaration, which may stand at the very start only
// (XML 1.0 §2.8); anywhere else "<?" begins a processing instruction.
func (p *parser) declaration(w []byte) bool {
	const begin = "<?xml"
	n := min(len(w), len(begin)+1)
	if p.phase != atStart || string(w[:min(n, len(begin))]) != begin[:min(n, len(begin))] ||
		n > len(begin) && !isSpace(w[len(begin)]) {
		p.fail(Restricted, p.pos, "processing instruction")
		return false
	}
	end := bytes.Index(w, []byte("?>"))
	if end < 0 {
		if len(w) > maxDeclaration {
			p.fail(NotWellFormed, p.pos, "XML declaration without an end")
		}
		return false
	}
	if end > maxDeclaration {
		p.fail(NotWellFormed, p.pos, "XML declaration without an end")
		return false
	}
	if f := checkDeclaration(string(w[len(begin):end])); f != nil {
		p.fault(f)
		return false
	}
	p.advance(end + 2)
	p.start, p.phase = p.pos, prolog
	return true
}

// maxDeclaration is the longest XML declaration that is waited for, in bytes.
const maxDeclaration = 256

// checkDeclaration checks the inside of an XML declaration: version, encoding,
// standalone, in this order (XML 1.0 §2.8).
func checkDeclaration(s string) *fault {
	bad := &fault{NotWellFormed, 0, "malformed XML declaration"}
	order := []string{"version", "encoding", "standalone"}
	const white = " \t\r\n"
	for first := true; ; first = false {
		rest := strings.TrimLeft(s, white)
		if rest == "" {
			if first {
				return bad
			}
			return nil
		}
		if rest == s {
			return bad
		}
		name, after, ok := strings.Cut(rest, "=")
		name = strings.TrimRight(name, white)
		after = strings.TrimLeft(after, white)
		if !ok || after == "" || after[0] != '"' && after[0] != '\'' {
			return bad
		}
		value, tail, ok := strings.Cut(after[1:], after[:1])
		for len(order) > 0 && order[0] != name && !first {
			order = order[1:]
		}
		if !ok || len(order) == 0 || order[0] != name {
			return bad
		}
		order, s = order[1:], tail
		switch {
		case name == "version" && value != "1.0", name == "standalone" && value != "yes" && value != "no":
			return bad
		case name == "encoding" && !strings.EqualFold(value, "UTF-8"):
			return &fault{BadEncoding, 0, "encoding declared is not UTF-8"}
		}
	}
}
