package xmlwire

// Limits bound what one element may cost. They hold while it is being read: an
// element beyond one of them is refused as soon as that is known, and never
// more than Bytes of it, and one read, is kept. A zero field means the default.
type Limits struct {
	Bytes    int // length of one child of the stream, of the stream header, or of a document
	Depth    int // elements nested in each other, the child of the stream being the first
	Attrs    int // attributes of one element, namespace declarations included
	Children int // child nodes of one element, elements and runs of text
}

// DefaultLimits are what a zero Limits means. RFC 6120 §13.12 wants at least
// 10,000 bytes; 256 KiB is what servers of the field allow a client.
var DefaultLimits = Limits{Bytes: 256 << 10, Depth: 64, Attrs: 64, Children: 8192}

// maxBytes keeps offsets within 32 bits.
const maxBytes = 1 << 30

// maxPrefixes bounds the prefixes in scope at one place, because every prefixed
// name is looked up among them: without it the cost of an element would grow
// with the product of depth, attributes and names.
const maxPrefixes = 256

// orDefault fills the zero fields.
func (l Limits) orDefault() Limits {
	if l.Bytes <= 0 {
		l.Bytes = DefaultLimits.Bytes
	}
	if l.Depth <= 0 {
		l.Depth = DefaultLimits.Depth
	}
	if l.Attrs <= 0 {
		l.Attrs = DefaultLimits.Attrs
	}
	if l.Children <= 0 {
		l.Children = DefaultLimits.Children
	}
	l.Bytes = min(l.Bytes, maxBytes)
	return l
}
