package xmlwire

import "fmt"

// Kind says which rule of the wire was broken; each one has a stream error of
// its own (RFC 6120 §4.9.3).
type Kind uint8

const (
	// NotWellFormed is text that is not XML 1.0 or not namespace-well-formed
	// (not-well-formed, RFC 6120 §4.9.3.13).
	NotWellFormed Kind = iota
	// Restricted is a comment, processing instruction, DTD or entity reference
	// beyond the predefined five (restricted-xml, §4.9.3.18).
	Restricted
	// TooLarge is input beyond one of the Limits (policy-violation, §4.9.3.14).
	TooLarge
	// UnboundPrefix is a prefix that no declaration in scope binds
	// (bad-namespace-prefix, §4.9.3.2).
	UnboundPrefix
	// BadEncoding is anything but UTF-8 (unsupported-encoding, §4.9.3.22).
	BadEncoding
)

// String returns the kind as a log shows it.
func (k Kind) String() string {
	switch k {
	case NotWellFormed:
		return "not well-formed"
	case Restricted:
		return "restricted xml"
	case TooLarge:
		return "too large"
	case UnboundPrefix:
		return "unbound prefix"
	case BadEncoding:
		return "bad encoding"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is input that the parser refuses. A stream cannot go on after one
// (RFC 6120 §4.9.1.1): the decoder returns the same error ever after.
type Error struct {
	Kind   Kind
	Offset int64  // bytes before the fault, from the start of the stream or document
	Text   string // one clause; holds names from the input, never its character data
}

// Error returns the kind, the text and the place.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s at byte %d", e.Kind, e.Text, e.Offset)
}

// Temporary reports false: the same bytes are wrong the next time too.
func (e *Error) Temporary() bool { return false }
