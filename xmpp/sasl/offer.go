package sasl

import (
	"crypto/tls"
	"crypto/x509"
	"slices"

	"mcmt2xmpp/xmpp/jid"
)

// Offer is what a server can and will do on one connection. The zero Offer
// offers nothing. Take it anew when TLS came in or the domain changed.
type Offer struct {
	// Domain is the prepared domainpart that the client wants to log in to:
	// the `to` of its stream header. Empty: the user name must say it
	// (user@domain), as mail clients do.
	Domain string

	// Store has the accounts for SCRAM and PLAIN. Nil: neither is offered.
	Store Store

	// Digest has the accounts for DIGEST-MD5, the same Store or another. Nil:
	// DIGEST-MD5 is not offered.
	Digest Store

	// TLS is the state of the connection, complete handshake; nil for a
	// connection in clear text.
	TLS *tls.ConnectionState

	// Certificate is the leaf that the server showed in that handshake, for the
	// binding tls-server-end-point. Nil: that type is not offered.
	Certificate *x509.Certificate

	// Unbound offers no channel binding, for clients that have no hold of their TLS.
	Unbound bool

	// AllowPlainWithoutTLS offers PLAIN in clear text.
	AllowPlainWithoutTLS bool

	// Proven are the identities that the peer's verified certificate proves:
	// bare JIDs of users or domains. With at least one EXTERNAL is offered.
	Proven []jid.JID

	// Admit is asked before an account is looked up, whether there is one or not. Its
	// error, a *Failure, ends the exchange. Nil: all may try.
	Admit func(user jid.JID) error

	// PlusTried says that the client has tried a -PLUS mechanism on this stream. A
	// "y" of its then does not say that somebody shortened the list it saw (RFC
	// 5802 §6): it saw the -PLUS names, and fell back because it has none of our
	// binding types. COMPAT slixmpp 1.8: it knows tls-unique only, which TLS 1.3
	// does not have, and says "y" ever after.
	PlusTried bool

	// Secret makes up the salts shown for accounts that do not exist. It should
	// be the same on every node and after a restart, or the change gives those
	// names away. Nil: a secret of this process.
	Secret []byte

	// Iterations is the count shown for accounts that do not exist, and should
	// be the one that the Store's accounts have. Zero: DefaultIterations.
	Iterations int
}

// Mechanisms are the names on offer, strongest first. The list is nil when
// nothing can be offered.
func (o Offer) Mechanisms() []string {
	var names []string
	if len(o.Proven) > 0 {
		names = append(names, External)
	}
	if holds(o.Store)&(HoldsPassword|HoldsSCRAM) != 0 {
		if len(o.bindings()) > 0 {
			names = append(names, ScramSHA256Plus, ScramSHA1Plus)
		}
		names = append(names, ScramSHA256, ScramSHA1)
	}
	// DIGEST-MD5 hashes one realm; without a domain there is none to show.
	if o.Domain != "" && holds(o.Digest)&(HoldsPassword|HoldsHA1) != 0 {
		names = append(names, DigestMD5)
	}
	if o.Store != nil && (o.TLS != nil || o.AllowPlainWithoutTLS) {
		names = append(names, Plain)
	}
	return names
}

// ChannelBindings are the binding types that the -PLUS mechanisms on offer take,
// best first, for XEP-0440's <sasl-channel-binding/>. Nil without -PLUS.
func (o Offer) ChannelBindings() []string {
	if holds(o.Store)&(HoldsPassword|HoldsSCRAM) == 0 {
		return nil
	}
	var types []string
	for _, b := range o.bindings() {
		types = append(types, string(b.Type))
	}
	return types
}

// Start begins an exchange with a mechanism on offer. Others fail:
// encryption-required for PLAIN in clear text, mechanism-too-weak for DIGEST-MD5
// where the policy does without it, else invalid-mechanism (RFC 6120 §6.5.4,
// §6.5.7, §6.5.9).
func (o Offer) Start(name string) (Server, error) {
	if !slices.Contains(o.Mechanisms(), name) {
		return nil, o.lacks(name)
	}
	x := exchange{name: name, offer: o}
	switch name {
	case Plain:
		return guarded{&plain{exchange: x}}, nil
	case DigestMD5:
		return guarded{&digest{exchange: x}}, nil
	case External:
		return guarded{&external{exchange: x}}, nil
	}
	return guarded{newScram(x)}, nil
}

// lacks is why a mechanism is not on offer.
func (o Offer) lacks(name string) *Failure {
	switch {
	case o.Store == nil:
	case name == Plain:
		return fail(EncryptionRequired, "PLAIN needs TLS")
	case name == DigestMD5 && o.Digest == nil:
		return fail(MechanismTooWeak, "")
	}
	return fail(InvalidMechanism, "")
}
