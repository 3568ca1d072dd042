package xmlwire

import "slices"

// span is a part of the element in progress: an offset from its first byte, and
// a length.
type span struct{ off, n int32 }

func (s span) of(text string) string { return text[s.off : s.off+s.n] }

// elem is an element in progress or waiting to become an Element.
type elem struct {
	name         span  // as written, with the prefix
	prefixLen    int32 // without the colon; 0 for none
	ns           int32 // index of the declaration
	def          int32 // declaration of the default namespace inside it
	scope        int32 // declarations in scope before it
	attr0, attrN int32 // its attributes
	kids         int32 // number of child nodes
}

// attr is an attribute that waits to become an Attr.
type attr struct {
	name, value   span
	prefixLen, ns int32
}

func (a *attr) local() span { return local(a.name, a.prefixLen) }

// local is the part of a qualified name after the prefix and its colon.
func local(name span, prefixLen int32) span {
	if prefixLen == 0 {
		return name
	}
	return span{name.off + prefixLen + 1, name.n - prefixLen - 1}
}

// node is a child of an element: a run of text where elem is negative.
type node struct {
	parent, elem int32
	text         span
}

// builder collects the parts of an element until it is complete. They are flat
// lists in document order, kept from one element to the next, so that the tree
// itself is made by four allocations of known size.
type builder struct {
	elems   []elem
	attrs   []attr
	nodes   []node
	open    []int32 // elements not yet closed, the outermost first
	decls   []decl
	scope   []int32 // declarations in scope, the latest last
	outer   int     // declarations that outlive the element in progress
	written int     // attributes and declarations of the tag in progress
	cur     elem    // the tag in progress
}

func (t *builder) reset() {
	t.clear()
	t.decls = append(t.decls[:0], decl{fixed: true}, decl{fixed: true, prefixS: "xml", ns: XML})
	t.scope, t.outer = t.scope[:0], len(t.decls)
	t.cur = elem{}
}

// keepParts is how many parts of an element the lists keep room for: one large
// stanza must not cost its size for as long as the connection lasts.
const keepParts = 1024

// clear forgets the element in progress, not the declarations outside of it.
func (t *builder) clear() {
	if max(cap(t.elems), cap(t.attrs), cap(t.nodes), cap(t.decls)) > keepParts {
		t.elems, t.attrs, t.nodes = nil, nil, nil
		t.decls = slices.Clone(t.decls[:min(t.outer, len(t.decls))])
	}
	t.elems, t.attrs, t.nodes, t.open = t.elems[:0], t.attrs[:0], t.nodes[:0], t.open[:0]
	t.decls = t.decls[:min(t.outer, len(t.decls))]
}

// shed gives back the memory that no element in progress needs.
func (t *builder) shed() {
	t.elems, t.attrs, t.nodes, t.open = nil, nil, nil, nil
	t.decls, t.scope = slices.Clone(t.decls), slices.Clone(t.scope)
}

// begin starts a tag of the given name.
func (t *builder) begin(off int32, nameLen, prefixLen int) {
	def := int32(noNamespace)
	if n := len(t.open); n > 0 {
		def = t.elems[t.open[n-1]].def
	} else if i := t.outerDefault(); i >= 0 {
		def = i
	}
	t.cur = elem{
		name: span{off, int32(nameLen)}, prefixLen: int32(prefixLen),
		def: def, scope: int32(len(t.scope)), attr0: int32(len(t.attrs)),
	}
	t.written = 0
}

// outerDefault is the default namespace that the stream header declared.
func (t *builder) outerDefault() int32 {
	for i := t.outer - 1; i > xmlPrefix; i-- {
		if t.decls[i].prefixS == "" {
			return int32(i)
		}
	}
	return -1
}

// offset makes an index into buf an offset from the element in progress.
func (p *parser) offset(i int) int32 { return int32(i - p.start) }

func (p *parser) bytes(s span) []byte {
	from := p.start + int(s.off)
	return p.buf[from : from+int(s.n)]
}

// addElement opens the element whose tag was taken.
func (p *parser) addElement() bool {
	t := &p.tree
	i := int32(len(t.elems))
	t.cur.attrN = int32(len(t.attrs))
	if n := len(t.open); n > 0 {
		if !p.addNode(node{parent: t.open[n-1], elem: i}) {
			return false
		}
	}
	t.elems = append(t.elems, t.cur)
	t.open = append(t.open, i)
	return true
}

// addText adds n bytes of decoded text that stand at buf[at]. Text on both sides
// of a CDATA section's mark is one run.
func (p *parser) addText(at, n int) {
	if n == 0 {
		return
	}
	t := &p.tree
	parent := t.open[len(t.open)-1]
	if k := len(t.nodes) - 1; k >= 0 && t.nodes[k].elem < 0 && t.nodes[k].parent == parent {
		last := &t.nodes[k].text
		end := p.start + int(last.off+last.n)
		copy(p.buf[end:], p.buf[at:at+n])
		last.n += int32(n)
		return
	}
	p.addNode(node{parent: parent, elem: -1, text: span{p.offset(at), int32(n)}})
}

func (p *parser) addNode(n node) bool {
	t := &p.tree
	parent := &t.elems[n.parent]
	if parent.kids++; int(parent.kids) > p.lim.Children {
		p.fail(TooLarge, p.pos, "more than %d children", p.lim.Children)
		return false
	}
	t.nodes = append(t.nodes, n)
	return true
}

// close closes the innermost open element.
func (p *parser) close() event {
	t := &p.tree
	last := len(t.open) - 1
	t.scope = t.scope[:t.elems[t.open[last]].scope]
	t.open = t.open[:last]
	if last > 0 {
		return needMore
	}
	return gotElement
}

// take makes the complete element a tree and forgets it.
func (p *parser) take() *Element {
	t := &p.tree
	text := string(p.buf[p.start:p.pos])
	elems := make([]Element, len(t.elems))
	attrs := make([]Attr, len(t.attrs))
	nodes := make([]Node, len(t.nodes))
	for i := range t.attrs {
		a := &t.attrs[i]
		attrs[i] = Attr{Name{t.namespace(a.ns, text), a.local().of(text)}, a.value.of(text)}
	}
	next := int32(0)
	for i := range t.elems {
		e := &t.elems[i]
		elems[i].Name = Name{t.namespace(e.ns, text), local(e.name, e.prefixLen).of(text)}
		// Full slice expressions: who appends to one element's children must not
		// write over its neighbour's.
		if e.attrN > e.attr0 {
			elems[i].Attrs = attrs[e.attr0:e.attrN:e.attrN]
		}
		if e.kids > 0 {
			elems[i].Children = nodes[next : next : next+e.kids]
			next += e.kids
		}
	}
	for i := range t.nodes {
		n := &t.nodes[i]
		kids := &elems[n.parent].Children
		if n.elem >= 0 {
			*kids = append(*kids, Node{Element: &elems[n.elem]})
		} else {
			*kids = append(*kids, Node{Text: n.text.of(text)})
		}
	}
	p.forget()
	return &elems[0]
}

// takeHeader makes the stream header an element without children and keeps its
// declarations for all that follows.
func (p *parser) takeHeader() *Element {
	t := &p.tree
	text := string(p.buf[p.start:p.pos])
	e := &Element{Name: Name{t.namespace(t.cur.ns, text), local(t.cur.name, t.cur.prefixLen).of(text)}}
	for i := range t.attrs {
		a := &t.attrs[i]
		e.Attrs = append(e.Attrs, Attr{Name{t.namespace(a.ns, text), a.local().of(text)}, a.value.of(text)})
	}
	for i := t.outer; i < len(t.decls); i++ {
		d := &t.decls[i]
		*d = decl{fixed: true, prefixS: d.prefix.of(text), ns: d.value.of(text)}
	}
	t.outer = len(t.decls)
	p.forget()
	return e
}

func (p *parser) forget() {
	p.tree.clear()
	p.start = p.pos
}

func (t *builder) namespace(i int32, text string) string {
	d := &t.decls[i]
	if d.fixed {
		return d.ns
	}
	return d.value.of(text)
}
