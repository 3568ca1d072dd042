// Package sasl holds the SASL mechanisms of RFC 6120 §6 as values in and values
// out: no XML, no base64, no I/O. A stream decodes what the peer sent, gives it
// to a [Server] or [Client] and sends back what comes out.
//
//	RFC 4422  the framework                     RFC 4616  PLAIN
//	RFC 5802  SCRAM, SCRAM-SHA-1(-PLUS)         RFC 7677  SCRAM-SHA-256(-PLUS)
//	RFC 5929  tls-server-end-point, tls-unique  RFC 9266  tls-exporter
//	RFC 2831  DIGEST-MD5                        XEP-0440  binding types on offer
//
// A server describes what it can do on one connection with an [Offer], names
// the mechanisms with [Offer.Mechanisms] and begins one exchange per attempt with
// [Offer.Start]. Everything that goes wrong is a *[Failure], whose condition is
// the element that RFC 6120 §6.5 wants on the wire.
package sasl

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
)

// Mechanism names, as they go onto the wire.
const (
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS"
	ScramSHA1Plus   = "SCRAM-SHA-1-PLUS"
	ScramSHA256     = "SCRAM-SHA-256"
	ScramSHA1       = "SCRAM-SHA-1"
	DigestMD5       = "DIGEST-MD5"
	Plain           = "PLAIN"
	External        = "EXTERNAL"
)

// maxMessage bounds every message of an exchange, in bytes. RFC 2831 §2.1.2
// sets this number for its own; the others need far less.
const maxMessage = 4096

// Server is the server's side of one exchange. It is used by one goroutine, for
// one attempt; a new attempt needs a new one from [Offer.Start].
type Server interface {
	// Mechanism is the name that was given to Start.
	Mechanism() string

	// Step takes what the client sent, decoded, and returns what to send next.
	// The first call carries the initial response: nil for none, an empty
	// slice that is not nil for an empty one ("=" on the wire).
	//
	// While done is false challenge goes out as a challenge, even if it is
	// empty. With done true the client is authenticated and challenge, if not
	// nil, is the additional data of the success. Every error is a *Failure and
	// ends the exchange; a further Step fails as malformed-request. Step
	// blocks on the Store only.
	Step(ctx context.Context, response []byte) (challenge []byte, done bool, err error)

	// JID is the bare JID that was proven, which is also the authorization
	// identity: no other is accepted. It is zero until Step returned done.
	JID() jid.JID
}

// exchange is what the mechanisms share: who proved themselves.
type exchange struct {
	name   string
	offer  Offer
	proven jid.JID
	over   bool
}

func (x *exchange) Mechanism() string { return x.name }

func (x *exchange) JID() jid.JID { return x.proven }

// succeed ends the exchange for the user.
func (x *exchange) succeed(user jid.JID) {
	x.proven, x.over = user, true
}

// guarded wraps a mechanism with what holds for all of them: the bound on
// messages, and that nothing follows success or failure.
type guarded struct {
	mechanism
}

// mechanism is a Server without those guards.
type mechanism interface {
	Server
	state() *exchange
}

func (x *exchange) state() *exchange { return x }

func (g guarded) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	x := g.state()
	switch {
	case x.over:
		return nil, false, fail(MalformedRequest, "the exchange is over")
	case len(response) > maxMessage:
		x.over = true
		return nil, false, fail(MalformedRequest, "response is too long")
	}
	challenge, done, err := g.mechanism.Step(ctx, response)
	if err != nil {
		x.over, x.proven = true, jid.JID{}
		return nil, false, err
	}
	return challenge, done, nil
}
