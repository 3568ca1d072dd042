package stream

import (
	"context"
	"errors"
	"fmt"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsBind = "urn:ietf:params:xml:ns:xmpp-bind"

// NameBind is <bind/>.
var NameBind = xmlwire.Name{Space: nsBind, Local: "bind"}

// maxBinds is how many refused attempts a client has; RFC 6120 §7.7.3 wants 5
// to 10.
const maxBinds = 5

// Bind gives an authenticated client its resource (RFC 6120 §7). One value
// serves one stream, because it counts the attempts.
type Bind struct {
	// Assign takes the full JID for the stream, replacing whoever had it where
	// the policy is so (§7.7.2.2). A *stanza.Error refuses it and goes to the
	// client. Nil: every JID is free.
	Assign func(ctx context.Context, s *Stream, full jid.JID) error
	// Rename answers a conflict with a resource of our making (§7.7.2.2).
	Rename bool

	refused int
}

// Name is <bind/>, which comes within an IQ.
func (*Bind) Name() xmlwire.Name { return NameBind }

// Advertise offers binding after authentication (§7.4).
func (*Bind) Advertise(s *Stream) *xmlwire.Element {
	if s.user.IsZero() || !s.bound.IsZero() {
		return nil
	}
	return xmlwire.New(nsBind, "bind")
}

// Negotiate binds the resource that the client asks for (§7.7), or one of our
// making where it asks for none (§7.6).
func (f *Bind) Negotiate(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	resource := ""
	if bind := req.Child(NameBind); bind != nil {
		resource = childText(bind, nsBind, "resource")
	}
	full, err := f.bind(ctx, s, resource)
	var refusal *stanza.Error
	switch {
	case errors.As(err, &refusal):
		return Continue, f.refuse(ctx, s, req, refusal)
	case err != nil:
		return 0, fmt.Errorf("bind: %w", err)
	}
	answer := xmlwire.New(nsBind, "bind").Add(xmlwire.New(nsBind, "jid").AddText(full.String()))
	if err := s.Send(ctx, result(req, answer)); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	return Done, nil
}

// bind assigns the full JID of a resource, one of our making where that is empty. A
// *stanza.Error is for the client.
func (f *Bind) bind(ctx context.Context, s *Stream, resource string) (full jid.JID, err error) {
	if resource == "" {
		resource = newID() // §7.6, §7.5
	}
	if full, err = s.user.WithResource(resource); err != nil {
		// §7.7.2.1: a resourcepart that cannot be prepared.
		return full, &stanza.Error{Type: stanza.Modify, Condition: stanza.BadRequest, Text: "bad resource"}
	}
	err = f.assign(ctx, s, full)
	var conflict *stanza.Error
	if f.Rename && errors.As(err, &conflict) && conflict.Condition == stanza.Conflict {
		if full, err = s.user.WithResource(newID()); err == nil {
			err = f.assign(ctx, s, full)
		}
	}
	return full, err
}

func (f *Bind) assign(ctx context.Context, s *Stream, full jid.JID) error {
	if f.Assign != nil {
		if err := f.Assign(ctx, s, full); err != nil {
			return err
		}
	}
	s.bound = full
	return nil
}

func (f *Bind) refuse(ctx context.Context, s *Stream, req *xmlwire.Element, why *stanza.Error) error {
	e := xmlwire.New(req.Name.Space, "iq", "type", "error")
	e.SetAttr("id", req.Attr("id"))
	if err := s.Send(ctx, e.Add(why.Element())); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if f.refused++; f.refused >= maxBinds {
		return &Error{PolicyViolation, "too many attempts to bind"}
	}
	return nil
}

// RequestBind is Bind seen from the initiating entity.
type RequestBind struct {
	Resource string // empty: the server chooses
}

// Initiate asks for the resource; a refusal is a *stanza.Error.
func (f RequestBind) Initiate(ctx context.Context, s *Stream, list *xmlwire.Element) (Next, error) {
	if list.Child(NameBind) == nil {
		return Continue, nil
	}
	bind := xmlwire.New(nsBind, "bind")
	if f.Resource != "" {
		bind.Add(xmlwire.New(nsBind, "resource").AddText(f.Resource))
	}
	id := newID()
	if err := s.Send(ctx, xmlwire.New(s.o.Content, "iq", "type", "set", "id", id).Add(bind)); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	answer, err := s.Receive(ctx, s.expires())
	switch {
	case err != nil:
		return 0, lost("bind", err)
	case answer.Name.Local != "iq" || answer.Attr("id") != id:
		return 0, &Error{UnsupportedStanzaType, "expected the answer to bind"}
	case answer.Attr("type") != "result":
		if e := answer.Child(xmlwire.Name{Space: s.o.Content, Local: "error"}); e != nil {
			return 0, fmt.Errorf("bind: %w", stanza.ParseError(e))
		}
		return 0, errors.New("bind: refused without a reason")
	}
	return f.take(s, answer.Child(NameBind))
}

func (f RequestBind) take(s *Stream, bind *xmlwire.Element) (Next, error) {
	if bind == nil {
		return 0, errors.New("bind: answer has no jid")
	}
	full, err := jid.Parse(childText(bind, nsBind, "jid"))
	if err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	s.bound = full // whatever it is: the server decides (§7.7.1)
	return Done, nil
}

func childText(e *xmlwire.Element, space, local string) string {
	if c := e.Child(xmlwire.Name{Space: space, Local: local}); c != nil {
		return c.Text()
	}
	return ""
}
