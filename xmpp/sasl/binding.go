package sasl

import (
	"crypto"
	_ "crypto/sha256" // crypto.SHA256
	_ "crypto/sha512" // crypto.SHA384, crypto.SHA512
	"crypto/tls"
	"crypto/x509"

	"github.com/xdg-go/scram"
)

// bindings are the channel bindings this connection has, best first.
func (o Offer) bindings() []scram.ChannelBinding {
	if o.TLS == nil || o.Unbound {
		return nil
	}
	var all []scram.ChannelBinding
	if b, ok := exporterBinding(o.TLS); ok {
		all = append(all, b)
	}
	if b, ok := uniqueBinding(o.TLS); ok {
		all = append(all, b)
	}
	if b, ok := endPointBinding(o.Certificate); ok {
		all = append(all, b)
	}
	return all
}

// binding picks the client's binding: the first of its own order that the server
// announced. Where the server announced nothing it is tls-exporter, which
// RFC 9266 §3 makes the default.
func (l Login) binding() (scram.ChannelBinding, bool) {
	if l.TLS == nil {
		return scram.ChannelBinding{}, false
	}
	types := l.ChannelBindings
	if types == nil {
		types = []string{string(scram.ChannelBindingTLSExporter)}
	}
	exporter, endPoint := false, false
	for _, t := range types {
		exporter = exporter || t == string(scram.ChannelBindingTLSExporter)
		endPoint = endPoint || t == string(scram.ChannelBindingTLSServerEndpoint)
	}
	if exporter {
		if b, ok := exporterBinding(l.TLS); ok {
			return b, true
		}
	}
	if endPoint && len(l.TLS.PeerCertificates) > 0 {
		return endPointBinding(l.TLS.PeerCertificates[0])
	}
	return scram.ChannelBinding{}, false
}

// exporterBinding is tls-exporter (RFC 9266 §2). There is none below TLS 1.3
// without an extended master secret (RFC 9266 §4), for which crypto/tls
// reports an error.
func exporterBinding(state *tls.ConnectionState) (scram.ChannelBinding, bool) {
	if !state.HandshakeComplete {
		return scram.ChannelBinding{}, false
	}
	b, err := scram.NewTLSExporterBinding(state)
	return b, err == nil
}

// uniqueBinding is tls-unique (RFC 5929 §3), which a server that binds at all must
// have (RFC 5802 §6.1). TLS 1.3 does not define it (RFC 9266 §1), and crypto/tls has
// none for a session that was resumed without an extended master secret, where an
// attacker could have made it the same on two connections (RFC 7627 §1).
func uniqueBinding(state *tls.ConnectionState) (scram.ChannelBinding, bool) {
	if !state.HandshakeComplete || len(state.TLSUnique) == 0 {
		return scram.ChannelBinding{}, false
	}
	return scram.NewTLSUniqueBinding(state.TLSUnique), true
}

// endPointBinding is tls-server-end-point: the hash of the server's certificate,
// by the hash of its signature, or SHA-256 where that is MD5 or SHA-1
// (RFC 5929 §4.1). It is undefined, and so absent, for a signature that names no
// single hash, such as Ed25519.
func endPointBinding(leaf *x509.Certificate) (scram.ChannelBinding, bool) {
	if leaf == nil {
		return scram.ChannelBinding{}, false
	}
	var hash crypto.Hash
	switch leaf.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.DSAWithSHA256, x509.ECDSAWithSHA256:
		hash = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		hash = crypto.SHA512
	default:
		return scram.ChannelBinding{}, false
	}
	h := hash.New()
	h.Write(leaf.Raw)
	return scram.ChannelBinding{Type: scram.ChannelBindingTLSServerEndpoint, Data: h.Sum(nil)}, true
}
