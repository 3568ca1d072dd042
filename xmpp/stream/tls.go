package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
)

// UpgradeTLS runs the handshake, as the server if this side receives the
// stream, and goes on above it. TLS 1.2 is the least that is spoken (RFC 7590 §3.1,
// RFC 9325 §3.1.1). Everything known of the stream before is forgotten (§5.4.3.3).
func (s *Stream) UpgradeTLS(ctx context.Context, cfg *tls.Config) error {
	if err := s.out.Flush(ctx); err != nil {
		return err
	}
	cfg = cfg.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	conn := tls.Client(s.raw, cfg)
	if s.o.Receiving {
		s.note(cfg)
		conn = tls.Server(s.raw, cfg)
	}
	s.arm(ctx, s.expires())
	_ = s.raw.SetWriteDeadline(s.expires())
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	s.tls, s.in.conn = conn, conn
	s.out.upgrade(conn)
	s.restart()
	return nil
}

// note keeps the certificate that the handshake shows, for channel binding.
func (s *Stream) note(cfg *tls.Config) {
	keep := func(c *tls.Certificate) {
		switch {
		case c == nil || len(c.Certificate) == 0:
		case c.Leaf != nil:
			s.shown = c.Leaf
		default:
			s.shown, _ = x509.ParseCertificate(c.Certificate[0]) // nil: no such binding is offered
		}
	}
	if choose := cfg.GetCertificate; choose != nil {
		cfg.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			c, err := choose(h)
			keep(c)
			return c, err
		}
	} else if len(cfg.Certificates) == 1 {
		keep(&cfg.Certificates[0])
	}
}
