package stream

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	nsSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBinding = "urn:xmpp:sasl-cb:0"
)

// SASL authenticates the peer (RFC 6120 §6). One value serves one stream,
// because it counts the attempts.
type SASL struct {
	// Offer is what the server can do. Domain, TLS and Certificate are filled in
	// from the stream.
	Offer sasl.Offer
	// RequireTLS offers nothing before TLS.
	RequireTLS bool
	// Tries is how many failed logins end the stream; RFC 6120 §6.4.5 wants 2 to
	// 5. A mechanism refused for its type of channel binding is none of them: the
	// client falls back on the next. Zero: 3.
	Tries int
	// Failed learns of each refusal, and says how long its answer waits, so that
	// guessing is slow. Nil: nobody does.
	Failed func(mechanism string, why *sasl.Failure) time.Duration
	// Succeeded learns who has logged in. Nil: nobody does.
	Succeeded func(user jid.JID)
	// Prove says whom of a domain the certificate of the peer proves, for EXTERNAL; it is
	// asked once for each handshake and domain. Nil: nobody.
	Prove func(domain string, state *tls.ConnectionState) []jid.JID

	failures  int
	unbound   int  // exchanges that ended for their type of channel binding
	plusTried bool // the client has tried a -PLUS mechanism on this stream
	proved    proof
}

// proof is what Prove has said.
type proof struct {
	conn   *tls.Conn
	domain string
	who    []jid.JID
}

// Name is <auth/>.
func (f *SASL) Name() xmlwire.Name { return xmlwire.Name{Space: nsSASL, Local: "auth"} }

func (f *SASL) offer(s *Stream) sasl.Offer {
	o := f.Offer
	o.Domain, o.TLS, o.Certificate, o.PlusTried = s.local.Domain(), s.TLS(), s.shown, f.plusTried
	// Scripts cannot see the TLS below their WebSocket. COMPAT stanza 12: it takes the
	// -PLUS name all the same.
	o.Unbound = s.Framed()
	if f.Prove != nil {
		o.Proven = f.prove(s)
	}
	return o
}

func (f *SASL) prove(s *Stream) []jid.JID {
	if s.tls == nil {
		return nil
	}
	if domain := s.local.Domain(); f.proved.conn != s.tls || f.proved.domain != domain {
		f.proved = proof{s.tls, domain, f.Prove(domain, s.TLS())}
	}
	return f.proved.who
}

// Advertise lists the mechanisms that can work on this stream (§6.4.1).
func (f *SASL) Advertise(s *Stream) *xmlwire.Element {
	if !s.user.IsZero() || f.RequireTLS && s.tls == nil {
		return nil
	}
	names := f.offer(s).Mechanisms()
	if len(names) == 0 {
		return nil
	}
	e := xmlwire.New(nsSASL, "mechanisms")
	for _, n := range names {
		e.Add(xmlwire.New(nsSASL, "mechanism").AddText(n))
	}
	return e
}

// Negotiate runs one exchange. A failed one leaves the stream open for another
// (§6.4.5), until there were too many.
func (f *SASL) Negotiate(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	name := req.Attr("mechanism")
	initial, err := decodeInitial(req.Text())
	user, data, ok, err := f.try(ctx, s, profile1, name, initial, err)
	if !ok || err != nil {
		return Continue, err
	}
	success := xmlwire.New(nsSASL, "success")
	if data != nil {
		success.AddText(encode(data))
	}
	if err := s.Send(ctx, success); err != nil {
		return 0, fmt.Errorf("sasl: send success: %w", err)
	}
	// What was read before is void, and so is what the client sent too early:
	// it may not go on before it saw the success (§6.4.6).
	s.restart()
	s.authenticated(user, name)
	return Restart, nil
}

// Declines says that a login before TLS is answered where it needs that.
func (f *SASL) Declines(s *Stream) bool {
	return s.user.IsZero() && f.RequireTLS && s.tls == nil
}

// Decline answers encryption-required (§6.5.4).
func (f *SASL) Decline(ctx context.Context, s *Stream, req *xmlwire.Element) (Next, error) {
	return Continue, f.refuse(ctx, s, profile1, req.Attr("mechanism"), &sasl.Failure{Condition: sasl.EncryptionRequired})
}

// profile is how one profile of SASL writes what both have: RFC 6120 §6, XEP-0388.
type profile struct {
	space     string // of its elements
	condition string // of the conditions of a failure
}

var (
	profile1 = profile{nsSASL, nsSASL}
	profile2 = profile{nsSASL2, nsSASL}
)

// try runs one exchange, which begins with what bad says of the initial response.
// Where the client is refused it is told so, and ok is false; an error ends the
// stream.
func (f *SASL) try(ctx context.Context, s *Stream, p profile, name string, initial []byte, bad error) (user jid.JID, data []byte, ok bool, err error) {
	err = bad
	if err == nil {
		user, data, err = f.exchange(ctx, s, p, name, initial)
	}
	f.plusTried = f.plusTried || strings.HasSuffix(name, "-PLUS")
	var refused *sasl.Failure
	if errors.As(err, &refused) {
		return user, nil, false, f.refuse(ctx, s, p, name, refused)
	}
	if err == nil && f.Succeeded != nil {
		f.Succeeded(user)
	}
	return user, data, err == nil, err
}

// exchange is the dialogue of challenges and responses (§6.4.2, §6.4.3). data
// goes with the success where it is not nil.
func (f *SASL) exchange(ctx context.Context, s *Stream, p profile, name string, response []byte) (user jid.JID, data []byte, err error) {
	server, err := f.offer(s).Start(name)
	for err == nil {
		challenge, done, bad := server.Step(ctx, response)
		switch {
		case bad != nil:
			return user, nil, bad
		case done:
			return server.JID(), challenge, nil
		}
		response, err = f.challenge(ctx, s, p, challenge)
	}
	return user, nil, err
}

func (f *SASL) challenge(ctx context.Context, s *Stream, p profile, challenge []byte) ([]byte, error) {
	e := xmlwire.New(p.space, "challenge").AddText(base64.StdEncoding.EncodeToString(challenge))
	if err := s.Send(ctx, e); err != nil {
		return nil, fmt.Errorf("sasl: send challenge: %w", err)
	}
	answer, err := s.Receive(ctx, s.expires())
	if err != nil {
		return nil, lost("sasl", err)
	}
	switch answer.Name {
	case xmlwire.Name{Space: p.space, Local: "response"}:
		return decode(answer.Text())
	case xmlwire.Name{Space: p.space, Local: "abort"}: // §6.4.4
		return nil, &sasl.Failure{Condition: sasl.Aborted}
	}
	return nil, &Error{NotAuthorized, "authentication is not complete"}
}

// refuse answers <failure/> (§6.4.5).
func (f *SASL) refuse(ctx context.Context, s *Stream, p profile, mechanism string, why *sasl.Failure) error {
	if f.Failed != nil {
		if !backoff.Wait(ctx, f.Failed(mechanism, why)) {
			return context.Cause(ctx)
		}
	}
	e := xmlwire.New(p.space, "failure").Add(xmlwire.New(p.condition, string(why.Condition)))
	if why.Text != "" {
		text := xmlwire.New(p.space, "text").AddText(why.Text)
		text.Attrs = append(text.Attrs, xmlwire.Attr{Name: nameLang, Value: "en"})
		e.Add(text)
	}
	if err := s.Send(ctx, e); err != nil {
		return fmt.Errorf("sasl: send failure: %w", err)
	}
	if f.exhausted(why) {
		return &Error{PolicyViolation, "too many failed logins"}
	}
	return nil
}

// maxUnbound is how many mechanisms may fail for their type of channel binding:
// there are two -PLUS ones to fall back from.
const maxUnbound = 4

// exhausted counts a failure and says whether it was the last.
func (f *SASL) exhausted(why error) bool {
	if errors.Is(why, sasl.ErrBindingType) {
		f.unbound++
		return f.unbound >= maxUnbound
	}
	f.failures++
	tries := f.Tries
	if tries <= 0 {
		tries = 3
	}
	return f.failures >= tries
}

// Bindings lists the channel binding types that the mechanisms of SASL take
// (XEP-0440).
type Bindings struct{ SASL *SASL }

var nameBindings = xmlwire.Name{Space: nsBinding, Local: "sasl-channel-binding"}

// Name is the element of the list; nobody asks for it.
func (Bindings) Name() xmlwire.Name { return nameBindings }

// Advertise returns the list where there is one and SASL is on offer.
func (f Bindings) Advertise(s *Stream) *xmlwire.Element {
	if f.SASL.Advertise(s) == nil {
		return nil
	}
	types := f.SASL.offer(s).ChannelBindings()
	if len(types) == 0 {
		return nil
	}
	e := xmlwire.New(nsBinding, nameBindings.Local)
	for _, t := range types {
		e.Add(xmlwire.New(nsBinding, "channel-binding", "type", t))
	}
	return e
}

// Negotiate refuses: this is information only.
func (Bindings) Negotiate(context.Context, *Stream, *xmlwire.Element) (Next, error) {
	return 0, &Error{UnsupportedStanzaType, "not a feature to ask for"}
}

// decodeInitial reads the text of <auth/>: nothing is no initial response, "=" an
// empty one (RFC 6120 §6.4.2).
func decodeInitial(text string) ([]byte, error) {
	switch text {
	case "":
		return nil, nil
	case "=":
		return []byte{}, nil
	}
	return decode(text)
}

// decode reads base64 without line breaks, blanks or stray bits (RFC 6120
// §6.5.5); an empty text is an empty response.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which the standard library skips
		return nil, &sasl.Failure{Condition: sasl.IncorrectEncoding}
	}
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, &sasl.Failure{Condition: sasl.IncorrectEncoding, Err: err}
	}
	return b, nil
}

// encode writes an initial response or the data of a success, in which an empty
// one is "=".
func encode(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}
