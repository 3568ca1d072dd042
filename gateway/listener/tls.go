package listener

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/certificate"
	"mcmt2xmpp/xmpp/jid"
)

// VerifyMode is tls_verify_mode: what a listener does with the certificate of a
// client.
type VerifyMode uint8

const (
	VerifyOptional VerifyMode = iota // unset: asked for, verified if presented, the result recorded
	VerifyRequire                    // "require": must be presented and verify, else no connection
	VerifyNone                       // "none": not asked for
)

// ErrNoCertificate is what Verify answers for a client that presented none.
var ErrNoCertificate = errors.New("client presented no certificate")

// ClientAuth judges client certificates. Its methods may be called from any
// goroutine; its fields are set before the first.
type ClientAuth struct {
	Mode  VerifyMode
	Roots *x509.CertPool // tls_client_ca; nil: the authorities of the system
	Log   zerolog.Logger // gets the result for each certificate presented

	verified, refused, absent atomic.Uint64
}

// ClientAuthStats count handshakes that asked for a certificate.
type ClientAuthStats struct {
	Verified uint64 // presented, and it verified
	Refused  uint64 // presented, and it did not
	Absent   uint64 // not presented
}

// Stats returns the counts.
func (a *ClientAuth) Stats() ClientAuthStats {
	return ClientAuthStats{Verified: a.verified.Load(), Refused: a.refused.Load(), Absent: a.absent.Load()}
}

// Verify says whether the certificate presented on a connection is good for
// anything: issued by an authority of Roots and within its time. nil means that
// it is; whose it is has still to be compared by whoever relies on it, and only
// with cs.PeerCertificates[0], the one that was verified.
//
// Any extended key usage will do. Public authorities no longer issue clientAuth,
// which Go's own VerifyClientCertIfGiven demands, and servers identify
// themselves with the certificate they have.
func (a *ClientAuth) Verify(cs tls.ConnectionState) error {
	if a.Mode == VerifyNone || len(cs.PeerCertificates) == 0 {
		return ErrNoCertificate
	}
	return certificate.Verify(cs.PeerCertificates, a.Roots, time.Now())
}

// Accounts returns the accounts that the certificate of a connection names, if it
// verifies. Those of the system's authorities name none: they vouch for hosts, and
// nobody has asked them to say who logs in here.
func (a *ClientAuth) Accounts(cs tls.ConnectionState) ([]jid.JID, error) {
	if a.Mode == VerifyNone || len(cs.PeerCertificates) == 0 || a.Roots == nil {
		return nil, ErrNoCertificate
	}
	return certificate.Accounts(cs.PeerCertificates, a.Roots, time.Now())
}

// verifyConnection records the result of Verify and enforces it where the mode
// says so. It runs for resumed sessions too: a certificate that ran out since
// does not come back with a ticket.
func (a *ClientAuth) verifyConnection(cs tls.ConnectionState) error {
	err := a.Verify(cs)
	switch {
	case errors.Is(err, ErrNoCertificate):
		a.absent.Add(1)
	case err != nil:
		a.refused.Add(1)
		a.Log.Info().Err(err).Stringer("subject", cs.PeerCertificates[0].Subject).Msg("client certificate does not verify")
	default:
		a.verified.Add(1)
		a.Log.Info().Stringer("subject", cs.PeerCertificates[0].Subject).Msg("client certificate verified")
	}
	if a.Mode != VerifyRequire {
		return nil
	}
	return err
}

// ServerConfig makes the tls.Config of a listener: TLS 1.2 at least (RFC 9325
// §3.1.1), the certificate of certs, the TLS 1.2 suites given (nil: Go's
// choice; those of TLS 1.3 are fixed), and client certificates by auth (nil: not
// asked for). The caller may add NextProtos.
func ServerConfig(certs *Certificates, suites []uint16, auth *ClientAuth) *tls.Config {
	cfg := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		CipherSuites:   suites,
		GetCertificate: certs.GetCertificate,
	}
	if auth == nil || auth.Mode == VerifyNone {
		return cfg
	}
	// ClientCAs only tells the client which authorities we know, as these two
	// values of ClientAuth leave the verifying to us.
	cfg.ClientCAs = auth.Roots
	cfg.ClientAuth = tls.RequestClientCert
	if auth.Mode == VerifyRequire {
		cfg.ClientAuth = tls.RequireAnyClientCert
	}
	cfg.VerifyConnection = auth.verifyConnection
	return cfg
}
