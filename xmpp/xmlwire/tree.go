package xmlwire

import (
	"iter"
	"slices"
	"strings"
)

// New returns an element with the given attributes, pairs of a name without
// namespace and a value. It panics on half a pair.
func New(space, local string, attrs ...string) *Element {
	if len(attrs)%2 != 0 {
		panic("xmlwire: New: an attribute without a value")
	}
	e := &Element{Name: Name{space, local}}
	if len(attrs) > 0 {
		e.Attrs = make([]Attr, 0, len(attrs)/2)
		for i := 0; i < len(attrs); i += 2 {
			e.Attrs = append(e.Attrs, Attr{Name{"", attrs[i]}, attrs[i+1]})
		}
	}
	return e
}

// Attr returns the value of the attribute without namespace, "" when absent.
func (e *Element) Attr(local string) string {
	v, _ := e.LookupAttr(Name{"", local})
	return v
}

// LookupAttr returns the value of an attribute and whether it is there.
func (e *Element) LookupAttr(n Name) (string, bool) {
	for i := range e.Attrs {
		if a := &e.Attrs[i]; a.Name.Local == n.Local && a.Name.Space == n.Space {
			return a.Value, true
		}
	}
	return "", false
}

// SetAttr sets the attribute without namespace; "" removes it. Namespaces are
// not set so: the serialiser declares them.
func (e *Element) SetAttr(local, value string) {
	i := slices.IndexFunc(e.Attrs, func(a Attr) bool { return a.Name == Name{"", local} })
	switch {
	case i < 0 && value != "":
		e.Attrs = append(e.Attrs, Attr{Name{"", local}, value})
	case i >= 0 && value != "":
		e.Attrs[i].Value = value
	case i >= 0:
		e.Attrs = slices.Delete(e.Attrs, i, i+1)
	}
}

// Child returns the first child element of that name, nil when there is none.
func (e *Element) Child(n Name) *Element {
	for i := range e.Children {
		if c := e.Children[i].Element; c != nil && c.Name.Local == n.Local && c.Name.Space == n.Space {
			return c
		}
	}
	return nil
}

// Elements returns the child elements in their order.
func (e *Element) Elements() iter.Seq[*Element] {
	return func(yield func(*Element) bool) {
		for i := range e.Children {
			if c := e.Children[i].Element; c != nil && !yield(c) {
				return
			}
		}
	}
}

// Text returns the character data directly in the element, joined.
func (e *Element) Text() string {
	if len(e.Children) == 1 {
		return e.Children[0].Text
	}
	var b strings.Builder
	for i := range e.Children {
		b.WriteString(e.Children[i].Text)
	}
	return b.String()
}

// Add appends a child element and returns e.
func (e *Element) Add(c *Element) *Element {
	e.Children = append(e.Children, Node{Element: c})
	return e
}

// AddText appends character data and returns e. It joins text that is the last
// child already, as the parser would.
func (e *Element) AddText(s string) *Element {
	if s == "" {
		return e
	}
	if n := len(e.Children); n > 0 && e.Children[n-1].Element == nil {
		e.Children[n-1].Text += s
		return e
	}
	e.Children = append(e.Children, Node{Text: s})
	return e
}

// Clone returns a deep copy that shares no slice with e and may be changed.
func (e *Element) Clone() *Element {
	if e == nil {
		return nil
	}
	c := &Element{Name: e.Name, Attrs: slices.Clone(e.Attrs), Children: slices.Clone(e.Children)}
	for i := range c.Children {
		c.Children[i].Element = c.Children[i].Element.Clone()
	}
	return c
}
