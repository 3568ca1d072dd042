package xmlwire

// Name is an XML name with its namespace resolved (Namespaces in XML 1.0 §2.1).
// The zero Name names nothing.
type Name struct {
	Space string // namespace name, empty for no namespace
	Local string
}

// Attr is one attribute. An attribute written without a prefix has no namespace
// (Namespaces in XML 1.0 §6.2); xml:lang has the space "http://www.w3.org/XML/1998/namespace".
// Namespace declarations are not attributes: the parser resolves them and the
// serialiser writes those it needs.
type Attr struct {
	Name  Name
	Value string
}

// Node is one child of an element: an element, or character data where Element
// is nil.
type Node struct {
	Element *Element
	Text    string
}

// Element is one element of restricted XML (RFC 6120 §11) with all that is in it.
// Elements that were parsed together may share memory: treat a tree as read-only
// unless it was built or cloned by the caller.
type Element struct {
	Name     Name
	Attrs    []Attr
	Children []Node
}
