package stream

import (
	"context"
	"encoding/base64"
	"fmt"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Between servers a stream is negotiated by features too, but it is ready when the
// peer has proven any of its domains, and dialback (XEP-0220) is no feature that is
// asked for. So both sides negotiate what there is, and return what comes after it.

// Address says between which domains a stream is that this side opens to a server.
// It is called before the negotiation.
func (s *Stream) Address(local, peer jid.JID) { s.local, s.peer = local, peer }

// Peer is the domain that the peer's header says it is, or that was dialled: a claim.
func (s *Stream) Peer() jid.JID { return s.peer }

// Ancient says that the peer sent no version: it is from before RFC 3920, and has no
// features (RFC 6120 §4.7.5).
func (s *Stream) Ancient() bool { return s.ancient }

// Prove records by which mechanism the peer is known to be a domain, and from then on
// holds it to the limits of one that is.
func (s *Stream) Prove(domain jid.JID, mechanism string) {
	if s.user.IsZero() {
		s.authenticated(domain, mechanism)
	}
}

// Dialback says whether the peer's header declares the namespace of XEP-0220 §2.4.1.
func (s *Stream) Dialback() bool { return s.dialback }

// AcceptServer negotiates as the receiving server for as long as features are asked
// for. It returns the first element that is for none of them, nil where SASL has
// proven who the peer is, or where it knows no features. Errors are those of Accept.
func (s *Stream) AcceptServer(ctx context.Context, features ...Feature) (first *xmlwire.Element, err error) {
	s.features = features
	defer func() { s.features = nil }()
	for next := Restart; ; {
		if next == Restart {
			if err := s.acceptHeader(ctx); err != nil || s.ancient {
				return nil, err
			}
		}
		list, open := s.advertise()
		if err := s.Send(ctx, list); err != nil {
			return nil, fmt.Errorf("send features: %w", err)
		}
		if !s.user.IsZero() {
			return nil, nil
		}
		if next, first, err = s.answerServer(ctx, open); err != nil || first != nil {
			return first, err
		}
	}
}

// answerServer serves requests for features until one of them begins the stream anew,
// or something else comes.
func (s *Stream) answerServer(ctx context.Context, open []Feature) (next Next, other *xmlwire.Element, err error) {
	for next == Continue {
		req, err := s.Receive(ctx, s.expires())
		if err != nil {
			return 0, nil, lost("negotiation", err)
		}
		negotiate, err := s.find(open, req)
		switch {
		case req.Name.Space == stanza.Dialback:
			return 0, req, nil
		case err != nil:
			return 0, nil, err
		}
		if next, err = negotiate(ctx, s, req); err != nil {
			return 0, nil, err
		}
	}
	return next, nil, nil
}

// InitiateServer negotiates as the initiating server, with features tried in the order
// given, until none of them has anything to do. It returns the peer's last features, nil
// where it has none. Errors leave the stream open, as with Accept.
func (s *Stream) InitiateServer(ctx context.Context, features ...Initiator) (*xmlwire.Element, error) {
	for {
		if err := s.sendHeader(ctx); err != nil {
			return nil, err
		}
		h, err := s.receiveHeader(ctx)
		if err != nil {
			return nil, err
		}
		if s.id = h.Attr("id"); s.ancient {
			return nil, nil
		}
		list, err := s.Receive(ctx, s.expires())
		switch {
		case err != nil:
			return nil, lost("features", err)
		case list.Name != xmlwire.Name{Space: xmlwire.Streams, Local: "features"}:
			return nil, &Error{UnsupportedStanzaType, "expected features"}
		}
		next, err := s.request(ctx, list, features)
		if err != nil || next != Restart {
			return list, err
		}
	}
}

const external = "EXTERNAL"

// External offers SASL EXTERNAL to a server whose certificate proves the domain that
// its header names (XEP-0178 §4).
type External struct {
	// Proven says whether the certificate of a stream under TLS does.
	Proven func(s *Stream, domain jid.JID) bool
}

// Name is <auth/>.
func (External) Name() xmlwire.Name { return xmlwire.Name{Space: nsSASL, Local: "auth"} }

// Advertise offers the one mechanism that servers have, where it can succeed.
func (f External) Advertise(s *Stream) *xmlwire.Element {
	if !s.user.IsZero() || s.tls == nil || s.peer.IsZero() || !f.Proven(s, s.peer) {
		return nil
	}
	return xmlwire.New(nsSASL, "mechanisms").Add(xmlwire.New(nsSASL, "mechanism").AddText(external))
}

// Negotiate proves the peer. An authorization identity that is another domain is
// refused (XEP-0178 §4 step 11); without one it is that of the header. After a refusal
// dialback is left.
func (f External) Negotiate(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	condition := sasl.Condition("")
	authzid, err := decodeInitial(req.Text())
	switch {
	case err != nil:
		condition = sasl.IncorrectEncoding
	case req.Attr("mechanism") != external:
		condition = sasl.InvalidMechanism
	case !sameDomain(string(authzid), s.peer):
		condition = sasl.InvalidAuthzid
	}
	if condition != "" {
		e := xmlwire.New(nsSASL, "failure").Add(xmlwire.New(nsSASL, string(condition)))
		if err := s.Send(ctx, e); err != nil {
			return 0, fmt.Errorf("sasl: send failure: %w", err)
		}
		return Continue, nil
	}
	if err := s.Send(ctx, xmlwire.New(nsSASL, "success")); err != nil {
		return 0, fmt.Errorf("sasl: send success: %w", err)
	}
	domain := s.peer
	s.restart()
	s.authenticated(domain, external)
	return Restart, nil
}

// sameDomain says whether an authorization identity is domain, or none.
func sameDomain(authzid string, domain jid.JID) bool {
	if authzid == "" {
		return true
	}
	j, err := jid.Parse(authzid)
	return err == nil && j == domain
}

// LoginExternal is External seen from the initiating server. A peer that refuses leaves
// dialback.
type LoginExternal struct {
	// Refused learns why. Nil: nobody does.
	Refused func(*sasl.Failure)

	tried bool
}

// Initiate proves our domain by our certificate, once.
func (f *LoginExternal) Initiate(ctx context.Context, s *Stream, list *xmlwire.Element) (Next, error) {
	if !s.user.IsZero() || s.tls == nil || f.tried || !offers(list, external) {
		return Continue, nil
	}
	f.tried = true
	// XEP-0178 §4 step 9: older peers rely on the authorization identity.
	e := xmlwire.New(nsSASL, "auth", "mechanism", external).
		AddText(base64.StdEncoding.EncodeToString([]byte(s.local.String())))
	if err := s.Send(ctx, e); err != nil {
		return 0, err
	}
	answer, err := s.Receive(ctx, s.expires())
	if err != nil {
		return 0, lost("sasl", err)
	}
	switch answer.Name {
	case xmlwire.Name{Space: nsSASL, Local: "success"}:
		s.restart()
		s.authenticated(s.peer, external)
		return Restart, nil
	case xmlwire.Name{Space: nsSASL, Local: "failure"}:
		if f.Refused != nil {
			f.Refused(parseFailure(answer))
		}
		return Continue, nil
	}
	return 0, fmt.Errorf("sasl: peer answers %s", answer.Name.Local)
}

// offers says whether <features/> have a SASL mechanism.
func offers(list *xmlwire.Element, mechanism string) bool {
	e := list.Child(xmlwire.Name{Space: nsSASL, Local: "mechanisms"})
	if e == nil {
		return false
	}
	for m := range e.Elements() {
		if m.Text() == mechanism {
			return true
		}
	}
	return false
}
