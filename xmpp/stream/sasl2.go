package stream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"

	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const nsSASL2 = "urn:xmpp:sasl:2"

// SASL2 authenticates the peer by the Extensible SASL Profile (XEP-0388), which
// resumes a stream or binds a resource in the same step and needs no new stream. It
// is offered under TLS, and where passwords may be sent in clear text.
type SASL2 struct {
	// SASL has the mechanisms. Its attempts are counted together with those of RFC
	// 6120's profile.
	SASL *SASL
	// Management resumes streams (XEP-0198 §9). Nil: none.
	Management *Management
	// Bind2 binds resources. Nil: RFC 6120 §7 only.
	Bind2 *Bind2
}

// Name is <authenticate/>.
func (SASL2) Name() xmlwire.Name { return xmlwire.Name{Space: nsSASL2, Local: "authenticate"} }

// Advertise lists the mechanisms, and what can be done in the same step.
func (f SASL2) Advertise(s *Stream) *xmlwire.Element {
	if s.tls == nil && !f.SASL.Offer.AllowPlainWithoutTLS {
		return nil
	}
	list := f.SASL.Advertise(s)
	if list == nil {
		return nil
	}
	e := xmlwire.New(nsSASL2, "authentication")
	for m := range list.Elements() {
		e.Add(xmlwire.New(nsSASL2, "mechanism").AddText(m.Text()))
	}
	inline := xmlwire.New(nsSASL2, "inline")
	if f.Management != nil && f.Management.Resume != nil {
		inline.Add(xmlwire.New(NSManagement, "sm"))
	}
	if f.Bind2 != nil {
		inline.Add(f.Bind2.advertise())
	}
	if len(inline.Children) > 0 {
		e.Add(inline)
	}
	return e
}

// Negotiate runs one exchange. Where it succeeds it goes on with what the client has
// asked for beside: resuming first, and binding where that was refused or not asked for.
func (f SASL2) Negotiate(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	initial, err := initialResponse(req)
	name := req.Attr("mechanism")
	user, data, ok, err := f.SASL.try(ctx, s, profile2, name, initial, err)
	if !ok || err != nil {
		return Continue, err
	}
	s.authenticated(user, name)
	success := xmlwire.New(nsSASL2, "success")
	if data != nil {
		success.Add(xmlwire.New(nsSASL2, "additional-data").AddText(base64.StdEncoding.EncodeToString(data)))
	}
	if resumed, err := f.resume(ctx, s, req, success); resumed || err != nil {
		return Done, err
	}
	next := Offer
	if bind := req.Child(nameBind2); bind != nil && f.Bind2 != nil {
		if next, err = f.Bind2.negotiate(ctx, s, req, bind, success); err != nil {
			return 0, err
		}
	}
	// The full JID once there is one.
	identity := s.user
	if !s.bound.IsZero() {
		identity = s.bound
	}
	success.Add(xmlwire.New(nsSASL2, "authorization-identifier").AddText(identity.String()))
	if err := s.Send(ctx, success); err != nil {
		return 0, fmt.Errorf("sasl2: send success: %w", err)
	}
	if next == Done {
		// What is left to ask for on a bound stream, immediately after the success.
		if err := s.Send(ctx, s.list()); err != nil {
			return 0, fmt.Errorf("sasl2: send features: %w", err)
		}
	}
	return next, nil
}

// resume does what <resume/> asks for, if it is there, and sends the success. A
// refusal is added to it.
func (f SASL2) resume(ctx context.Context, s *Stream, req, success *xmlwire.Element) (bool, error) {
	ask := req.Child(xmlwire.Name{Space: NSManagement, Local: "resume"})
	if ask == nil || f.Management == nil || f.Management.Resume == nil {
		return false, nil
	}
	s.around = func(resumed *xmlwire.Element) []*xmlwire.Element {
		identity := xmlwire.New(nsSASL2, "authorization-identifier").AddText(s.bound.String())
		return []*xmlwire.Element{success.Clone().Add(identity).Add(resumed), s.list()}
	}
	err := f.Management.resume(ctx, s, ask)
	s.around = nil
	var failed *Failed
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &failed):
		success.Add(failed.Element())
		return false, nil
	}
	return false, fmt.Errorf("sasl2: resume: %w", err)
}

// initialResponse is nil where the client sends none; an element without text is an
// empty one.
func initialResponse(req *xmlwire.Element) ([]byte, error) {
	e := req.Child(xmlwire.Name{Space: nsSASL2, Local: "initial-response"})
	if e == nil {
		return nil, nil
	}
	return decode(e.Text())
}

// Declines says that a login before TLS is answered.
func (f SASL2) Declines(s *Stream) bool { return s.user.IsZero() && s.tls == nil }

// Decline answers encryption-required (RFC 6120 §6.5.4).
func (f SASL2) Decline(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	return Continue, f.SASL.refuse(ctx, s, profile2, req.Attr("mechanism"), &sasl.Failure{Condition: sasl.EncryptionRequired})
}

const nsBind2 = "urn:xmpp:bind:0"

var nameBind2 = xmlwire.Name{Space: nsBind2, Local: "bind"}

// Bind2 binds a resource as part of a login (XEP-0386). The client says how its
// resource begins; the rest is ours.
type Bind2 struct {
	Bind *Bind
	// Inline are the features that can be enabled in the same step.
	Inline []BindFeature
}

// BindFeature is enabled while a resource is bound (XEP-0386 §4).
type BindFeature struct {
	// Var names it in the list of features, and is the namespace of the requests.
	Var string
	// Enable does what req asks for; the session is assigned and has got nothing yet.
	// answer goes into <bound/>, nil for none.
	Enable func(ctx context.Context, s *Stream, req *xmlwire.Element) (answer *xmlwire.Element, err error)
}

func (f *Bind2) advertise() *xmlwire.Element {
	e := xmlwire.New(nsBind2, "bind")
	if len(f.Inline) == 0 {
		return e
	}
	inline := xmlwire.New(nsBind2, "inline")
	for _, b := range f.Inline {
		inline.Add(xmlwire.New(nsBind2, "feature", "var", b.Var))
	}
	return e.Add(inline)
}

// negotiate binds, and adds what came of it to the success. A refusal leaves the
// client to bind by RFC 6120.
func (f *Bind2) negotiate(ctx context.Context, s *Stream, auth, bind, success *xmlwire.Element) (Next, error) {
	_, err := f.Bind.bind(ctx, s, bind2Resource(s, auth, bind))
	var refused *stanza.Error
	switch {
	case errors.As(err, &refused):
		success.Add(xmlwire.New(nsBind2, "failed").Add(refused.Element()))
		return Offer, nil
	case err != nil:
		return 0, fmt.Errorf("bind: %w", err)
	}
	bound := xmlwire.New(nsBind2, "bound")
	for req := range bind.Elements() {
		for _, b := range f.Inline {
			if req.Name.Space != b.Var {
				continue
			}
			answer, err := b.Enable(ctx, s, req)
			if err != nil {
				return 0, fmt.Errorf("bind: enable %s: %w", b.Var, err)
			}
			if answer != nil {
				bound.Add(answer)
			}
		}
	}
	success.Add(bound)
	return Done, nil
}

// maxTag bounds how much of a resource the client chooses.
const maxTag = 64

// bind2Resource is the tag of the client's software, and an id. For a client that
// tells its installation apart by the id of its user-agent (XEP-0388) the resource is
// always the same, so that its new session replaces one that is dead and not known to be;
// the id itself is for nobody else to see.
func bind2Resource(s *Stream, auth, bind *xmlwire.Element) string {
	id := newID()[:12]
	if agent := auth.Child(xmlwire.Name{Space: nsSASL2, Local: "user-agent"}); agent != nil && agent.Attr("id") != "" {
		id = agentID(s.user.String(), agent.Attr("id"))
	}
	tag := childText(bind, nsBind2, "tag")
	if full, err := s.user.WithResource(tag); tag == "" || len(tag) > maxTag || err != nil {
		tag = "client"
	} else {
		tag = full.Resource()
	}
	return tag + "." + id
}
