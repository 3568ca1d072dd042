package stream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"mcmt2xmpp/xmpp/xmlwire"
)

const nsTLS = "urn:ietf:params:xml:ns:xmpp-tls"

var nameStartTLS = xmlwire.Name{Space: nsTLS, Local: "starttls"}

// StartTLS offers TLS to a peer in clear text (RFC 6120 §5).
type StartTLS struct {
	Config *tls.Config // nil: not offered
	// Required leaves the peer nothing else to ask for (§5.3.1). The features
	// that follow check for themselves that TLS is there.
	Required bool
}

// Name is <starttls/>.
func (StartTLS) Name() xmlwire.Name { return nameStartTLS }

// Advertise offers TLS while there is none (§5.4.1).
func (f StartTLS) Advertise(s *Stream) *xmlwire.Element {
	if f.Config == nil || s.tls != nil || !s.user.IsZero() {
		return nil
	}
	e := xmlwire.New(nsTLS, "starttls")
	if f.Required {
		e.Add(xmlwire.New(nsTLS, "required"))
	}
	return e
}

// Negotiate answers <proceed/> and moves the stream under TLS
// (RFC 6120 §5.4.2.3). It refuses a peer that sent anything after
// <starttls/>: those bytes arrived in clear text, and read after the handshake
// they would pass for protected ones (§5.3.3). White space is dropped with the
// buffer instead, though §5.3.3 forbids it too. COMPAT go-sendxmpp 0.5.6: it
// sends a line break there.
func (f StartTLS) Negotiate(ctx context.Context, s *Stream, _ *xmlwire.Element) (Next, error) {
	if n := s.Buffered(); n > 0 {
		return 0, &Error{PolicyViolation, fmt.Sprintf("%d bytes after starttls", n)}
	}
	if err := s.Send(ctx, xmlwire.New(nsTLS, "proceed")); err != nil {
		return 0, fmt.Errorf("starttls: send proceed: %w", err)
	}
	if err := s.UpgradeTLS(ctx, f.Config); err != nil {
		return 0, fmt.Errorf("starttls: handshake: %w", err)
	}
	return Restart, nil
}

// Declines says that a request in clear text is answered where TLS is not on offer.
func (StartTLS) Declines(s *Stream) bool { return s.tls == nil }

// Decline answers <failure/> and ends the stream (RFC 6120 §5.4.2.2).
func (StartTLS) Decline(context.Context, *Stream, *xmlwire.Element) (Next, error) {
	return 0, tlsFailure{}
}

// tlsFailure ends the stream of a peer that asks for TLS where there is none.
type tlsFailure struct{}

// Error is for the log.
func (tlsFailure) Error() string { return "starttls is not on offer" }

// StreamError is <failure/>, which the end of the stream follows.
func (tlsFailure) StreamError() *xmlwire.Element { return xmlwire.New(nsTLS, "failure") }

// ErrNoTLS is returned by an initiating entity that insists on TLS.
var ErrNoTLS = errors.New("peer does not offer tls")

// RequestTLS is StartTLS seen from the initiating entity.
type RequestTLS struct {
	Config   *tls.Config
	Optional bool // go on in clear text with a peer that does not offer TLS
}

// Initiate asks for TLS, unless the stream has it.
func (f RequestTLS) Initiate(ctx context.Context, s *Stream, list *xmlwire.Element) (Next, error) {
	offer := list.Child(nameStartTLS)
	switch {
	case s.tls != nil, offer == nil && f.Optional:
		return Continue, nil
	case offer == nil:
		return 0, ErrNoTLS
	}
	if err := s.Send(ctx, xmlwire.New(nsTLS, "starttls")); err != nil {
		return 0, fmt.Errorf("starttls: %w", err)
	}
	answer, err := s.Receive(ctx, s.expires())
	switch {
	case err != nil:
		return 0, lost("starttls", err)
	case answer.Name != (xmlwire.Name{Space: nsTLS, Local: "proceed"}):
		return 0, fmt.Errorf("starttls: peer answers %s", answer.Name.Local)
	case s.Buffered() > 0:
		// The same injection as in Negotiate, the other way round (§5.3.3).
		return 0, fmt.Errorf("starttls: %d bytes after proceed", s.Buffered())
	}
	if err := s.UpgradeTLS(ctx, f.Config); err != nil {
		return 0, fmt.Errorf("starttls: handshake: %w", err)
	}
	return Restart, nil
}
