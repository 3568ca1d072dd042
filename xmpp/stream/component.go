package stream

import (
	"context"
	"crypto/sha1" // #nosec G505: XEP-0114 has nothing else
	"crypto/subtle"
	"encoding/hex"
	"fmt"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Between a server and an external component a stream has no version and no features:
// a header from each side, and a handshake (XEP-0114 §3). The content namespace is
// stanza.Component.

// MechanismHandshake is what Mechanism returns of a component's stream.
const MechanismHandshake = "handshake"

var nameHandshake = xmlwire.Name{Space: stanza.Component, Local: "handshake"}

// Handshake proves the knowledge of a secret to whoever has made a stream id (XEP-0114
// §3). Whoever sees it can guess at a short secret.
func Handshake(id, secret string) string {
	sum := sha1.Sum([]byte(id + secret)) // #nosec G401: see the import
	return hex.EncodeToString(sum[:])
}

// InitiateComponent joins a server as the component of a domain. Errors leave the
// stream open, as with Accept; a refusal is a *PeerError.
func (s *Stream) InitiateComponent(ctx context.Context, domain jid.JID, secret string) error {
	s.local = domain
	if err := s.sendHeader(ctx); err != nil {
		return err
	}
	h, err := s.receiveHeader(ctx)
	if err != nil {
		return err
	}
	if s.id = h.Attr("id"); s.id != "" {
		e := &xmlwire.Element{Name: nameHandshake}
		if err := s.Send(ctx, e.AddText(Handshake(s.id, secret))); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
	}
	answer, err := s.Receive(ctx, s.expires())
	switch {
	case err != nil:
		return lost("handshake", err)
	case s.id == "":
		// The hash of the secret alone would serve whoever hears it for ever.
		return &Error{BadFormat, "stream has no id"}
	case answer.Name != nameHandshake:
		return &Error{UnsupportedStanzaType, "expected the answer to handshake"}
	}
	s.authenticated(domain, MechanismHandshake)
	return nil
}

// AcceptComponent negotiates as the server. secret is that of a domain which Serves
// accepts; admit, called for a component that knows it, refuses it with the stream error
// that it returns. Errors leave the stream open, as with Accept.
func (s *Stream) AcceptComponent(ctx context.Context, secret func(domain string) string, admit func(domain jid.JID) error) error {
	if err := s.acceptHeader(ctx); err != nil {
		return err
	}
	e, err := s.Receive(ctx, s.expires())
	if err != nil {
		return lost("handshake", err)
	}
	known := secret(s.local.Domain())
	want := Handshake(s.id, known)
	switch {
	case e.Name != nameHandshake:
		return &Error{NotAuthorized, "expected a handshake"} // RFC 6120 §4.9.3.12
	case known == "" || subtle.ConstantTimeCompare([]byte(trim(e.Text())), []byte(want)) != 1:
		return &Error{NotAuthorized, "handshake is wrong"}
	}
	if err := admit(s.local); err != nil {
		return err
	}
	s.authenticated(s.local, MechanismHandshake)
	if err := s.Send(ctx, &xmlwire.Element{Name: nameHandshake}); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}
