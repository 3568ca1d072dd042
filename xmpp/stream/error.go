package stream

import (
	"errors"
	"fmt"
	"io"
	"net"

	"mcmt2xmpp/xmpp/xmlwire"
)

// Condition is the name of a stream error element (RFC 6120 §4.9.3).
type Condition string

// The conditions of RFC 6120 §4.9.3, in its order.
const (
	BadFormat              Condition = "bad-format"
	BadNamespacePrefix     Condition = "bad-namespace-prefix"
	Conflict               Condition = "conflict"
	ConnectionTimeout      Condition = "connection-timeout"
	HostGone               Condition = "host-gone"
	HostUnknown            Condition = "host-unknown"
	ImproperAddressing     Condition = "improper-addressing"
	InternalServerError    Condition = "internal-server-error"
	InvalidFrom            Condition = "invalid-from"
	InvalidNamespace       Condition = "invalid-namespace"
	InvalidXML             Condition = "invalid-xml"
	NotAuthorized          Condition = "not-authorized"
	NotWellFormed          Condition = "not-well-formed"
	PolicyViolation        Condition = "policy-violation"
	RemoteConnectionFailed Condition = "remote-connection-failed"
	Reset                  Condition = "reset"
	ResourceConstraint     Condition = "resource-constraint"
	RestrictedXML          Condition = "restricted-xml"
	SeeOtherHost           Condition = "see-other-host"
	SystemShutdown         Condition = "system-shutdown"
	UndefinedCondition     Condition = "undefined-condition"
	UnsupportedEncoding    Condition = "unsupported-encoding"
	UnsupportedFeature     Condition = "unsupported-feature"
	UnsupportedStanzaType  Condition = "unsupported-stanza-type"
	UnsupportedVersion     Condition = "unsupported-version"
)

// Error is a stream error of ours: it ends the stream and goes to the peer, Text
// included (RFC 6120 §4.9). What the peer sent is a [PeerError].
type Error struct {
	Condition Condition
	Text      string // English, for a person at the other end; empty for none
}

// Error names the condition and the text.
func (e *Error) Error() string {
	if e.Text == "" {
		return "stream error " + string(e.Condition)
	}
	return fmt.Sprintf("stream error %s: %s", e.Condition, e.Text)
}

// Temporary says whether a new stream, opened the same way, may fare better.
func (e *Error) Temporary() bool {
	switch e.Condition {
	case ConnectionTimeout, InternalServerError, RemoteConnectionFailed, Reset,
		ResourceConstraint, SeeOtherHost, SystemShutdown, Conflict:
		return true
	}
	return false
}

// StreamError is Element, as for every error that ends the stream.
func (e *Error) StreamError() *xmlwire.Element { return e.Element() }

// Element is the <error/> element for the wire (RFC 6120 §4.9.2).
func (e *Error) Element() *xmlwire.Element {
	el := xmlwire.New(xmlwire.Streams, "error")
	el.Add(xmlwire.New(nsErrors, string(e.Condition)))
	if e.Text != "" {
		text := xmlwire.New(nsErrors, "text").AddText(e.Text)
		text.Attrs = append(text.Attrs, xmlwire.Attr{Name: nameLang, Value: "en"})
		el.Add(text)
	}
	return el
}

// ParseError reads an <error/> element. A condition that RFC 6120 does not define
// is kept as it is; none at all reads as undefined-condition (§4.9.3.21).
func ParseError(el *xmlwire.Element) *Error {
	e := &Error{Condition: UndefinedCondition}
	for c := range el.Elements() {
		switch {
		case c.Name.Space != nsErrors:
		case c.Name.Local == "text":
			e.Text = c.Text()
		default:
			e.Condition = Condition(c.Name.Local)
			if e.Condition == SeeOtherHost && e.Text == "" {
				e.Text = c.Text() // §4.9.3.19: the other host
			}
		}
	}
	return e
}

// PeerError is a stream error that the peer sent. It does not unwrap to its
// *Error: that type, found by errors.As, is one to send.
type PeerError struct{ Err *Error }

// Error names the peer's condition and text.
func (e *PeerError) Error() string { return "peer sent " + e.Err.Error() }

// Temporary is that of the peer's error.
func (e *PeerError) Temporary() bool { return e.Err.Temporary() }

// ErrClosed is returned for a stream that this side has closed.
var ErrClosed = errors.New("stream is closed")

// errBudget is the read error for the bytes a peer may send before it logged in.
var errBudget = &Error{PolicyViolation, "too many bytes before authentication"}

// wireError finds the stream error that a read error stands for: what was wrong
// with the XML, or with its size. It returns err itself for the rest.
func wireError(err error) error {
	var bad *xmlwire.Error
	var own *Error
	switch {
	case err == nil, errors.As(err, &own):
		return err
	case errors.As(err, &bad):
		return &Error{conditionOf(bad.Kind), bad.Text}
	}
	return err
}

func conditionOf(k xmlwire.Kind) Condition {
	switch k {
	case xmlwire.Restricted:
		return RestrictedXML // §4.9.3.18
	case xmlwire.TooLarge:
		return PolicyViolation // §4.9.3.14, example "stanza too big"
	case xmlwire.BadEncoding:
		return UnsupportedEncoding // §4.9.3.22
	case xmlwire.UnboundPrefix:
		return BadNamespacePrefix // §4.9.3.2
	}
	return NotWellFormed // §4.9.3.13
}

// IsTimeout says whether err is a deadline that passed, not the end of the
// connection: the stream goes on where it was.
func IsTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Reason is why a connection ended, in the words of the log. peer is what the other
// side is called in them, such as "client". Nil is an end without an error.
func Reason(err error, peer string) string {
	switch {
	case err == nil:
		return "closed"
	case errors.Is(err, io.EOF):
		return "closed by the " + peer
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "connection lost"
	}
	return err.Error()
}
