package xmlwire

import "bytes"

// Namespace names that are bound without a declaration (Namespaces in XML 1.0 §3).
const (
	// XML is bound to the prefix xml: xml:lang is Name{XML, "lang"}.
	XML = "http://www.w3.org/XML/1998/namespace"
	// xmlns is bound to the prefix xmlns and may not be declared.
	xmlns = "http://www.w3.org/2000/xmlns/"
)

// decl is one namespace declaration. Those of the element in progress are spans
// of it; those of the stream header, which outlive it, are strings.
type decl struct {
	prefix, value span
	fixed         bool // prefix and value are in the strings below
	prefixS, ns   string
}

// Indices of the declarations that are always there.
const (
	noNamespace = 0
	xmlPrefix   = 1
)

func (p *parser) declPrefix(d *decl) []byte {
	if d.fixed {
		return []byte(d.prefixS)
	}
	return p.bytes(d.prefix)
}

// declare records a namespace declaration of the tag in progress; no prefix
// means the default namespace. at is its place in buf.
func (p *parser) declare(prefix, value span, at int) bool {
	pb, vb := p.bytes(prefix), p.bytes(value)
	t := &p.tree
	switch {
	case string(pb) == "xml" && string(vb) == XML:
		// Allowed, and says nothing new.
		return true
	case string(pb) == "xml", string(pb) == "xmlns", string(vb) == XML, string(vb) == xmlns:
		p.fail(NotWellFormed, at, "a declaration of a reserved namespace")
		return false
	case prefix.n > 0 && value.n == 0:
		p.fail(NotWellFormed, at, "a prefix bound to no namespace")
		return false
	}
	for _, i := range t.scope[t.cur.scope:] {
		if bytes.Equal(p.declPrefix(&t.decls[i]), pb) {
			p.fail(NotWellFormed, at, "an attribute given twice")
			return false
		}
	}
	if len(t.scope) >= maxPrefixes {
		p.fail(TooLarge, at, "more than %d namespace declarations in scope", maxPrefixes)
		return false
	}
	i := int32(len(t.decls))
	t.decls = append(t.decls, decl{prefix: prefix, value: value})
	t.scope = append(t.scope, i)
	if prefix.n == 0 {
		t.cur.def = i
	}
	return true
}

// lookup returns the declaration that binds prefix here, -1 for none.
func (p *parser) lookup(prefix []byte) int32 {
	t := &p.tree
	for i := len(t.scope) - 1; i >= 0; i-- {
		d := &t.decls[t.scope[i]]
		if d.fixed {
			if d.prefixS == string(prefix) {
				return t.scope[i]
			}
		} else if bytes.Equal(p.bytes(d.prefix), prefix) {
			return t.scope[i]
		}
	}
	if string(prefix) == "xml" {
		return xmlPrefix
	}
	return -1
}

// resolve finds the namespaces of the tag in progress and refuses attributes
// that have become the same (Namespaces in XML 1.0 §6.3).
func (p *parser) resolve() bool {
	t := &p.tree
	ok := true
	find := func(name span, prefixLen int32) int32 {
		prefix := p.bytes(span{name.off, prefixLen})
		i := p.lookup(prefix)
		if i < 0 {
			p.fail(UnboundPrefix, p.start+int(name.off), "prefix %q is not declared", prefix)
			ok = false
		}
		return i
	}
	if t.cur.ns = t.cur.def; t.cur.prefixLen > 0 {
		t.cur.ns = find(t.cur.name, t.cur.prefixLen)
	}
	attrs := t.attrs[t.cur.attr0:]
	for i := range attrs {
		a := &attrs[i]
		if a.ns = noNamespace; a.prefixLen > 0 {
			a.ns = find(a.name, a.prefixLen)
		}
		if !ok {
			return false
		}
		for j := range attrs[:i] {
			if p.sameName(a, &attrs[j]) {
				p.fail(NotWellFormed, p.start+int(a.name.off), "an attribute given twice")
				return false
			}
		}
	}
	return ok
}

func (p *parser) sameName(a, b *attr) bool {
	if !bytes.Equal(p.bytes(a.local()), p.bytes(b.local())) {
		return false
	}
	return a.ns == b.ns || a.ns != noNamespace && b.ns != noNamespace && p.sameNamespace(a.ns, b.ns)
}

func (p *parser) sameNamespace(i, j int32) bool {
	a, b := &p.tree.decls[i], &p.tree.decls[j]
	switch {
	case a.fixed && b.fixed:
		return a.ns == b.ns
	case a.fixed:
		return a.ns == string(p.bytes(b.value))
	case b.fixed:
		return b.ns == string(p.bytes(a.value))
	}
	return bytes.Equal(p.bytes(a.value), p.bytes(b.value))
}
