package stream

import (
	"context"
	"fmt"

	"mcmt2xmpp/xmpp/xmlwire"
)

const nsSession = "urn:ietf:params:xml:ns:xmpp-session"

// Session is the session establishment of RFC 3921 §3. It means nothing since
// RFC 6121, but old clients wait for the offer or the answer; the offer says
// that nobody needs to ask.
type Session struct{}

// Name is <session/>.
func (Session) Name() xmlwire.Name { return xmlwire.Name{Space: nsSession, Local: "session"} }

// Advertise offers the feature together with resource binding.
func (Session) Advertise(s *Stream) *xmlwire.Element {
	if s.user.IsZero() || !s.bound.IsZero() {
		return nil
	}
	return xmlwire.New(nsSession, "session").Add(xmlwire.New(nsSession, "optional"))
}

// Negotiate answers that all is well. The request comes after resource binding,
// so whoever runs the bound stream passes it here.
func (Session) Negotiate(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	if s.bound.IsZero() {
		return 0, &Error{NotAuthorized, "no resource is bound"}
	}
	if err := s.Send(ctx, result(req, nil)); err != nil {
		return 0, fmt.Errorf("session: %w", err)
	}
	return Continue, nil
}

// result answers an IQ of the negotiation; payload may be nil.
func result(req, payload *xmlwire.Element) *xmlwire.Element {
	e := xmlwire.New(req.Name.Space, "iq", "type", "result")
	e.SetAttr("id", req.Attr("id"))
	e.SetAttr("from", req.Attr("to"))
	if payload != nil {
		e.Add(payload)
	}
	return e
}
