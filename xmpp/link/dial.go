package link

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"mcmt2xmpp/xmpp/dns"
	"mcmt2xmpp/xmpp/stream"
)

// connect makes a stream that is ready. The error is a *stepError.
func (l *Link) connect(ctx context.Context) (*session, error) {
	conn, direct, err := l.dial(ctx)
	if err != nil {
		return nil, err
	}
	if l.o.Type == Component {
		return l.join(ctx, conn)
	}
	return l.login(ctx, conn, direct)
}

// dial connects to the address of the configuration, or to the first server of the
// account's domain that can be reached (RFC 6120 §3.2). direct says that TLS is from the
// first byte there (XEP-0368).
func (l *Link) dial(ctx context.Context) (conn net.Conn, direct bool, err error) {
	if l.o.Address != "" {
		conn, err = l.o.Dial(ctx, "tcp", l.o.Address)
		if err != nil {
			return nil, false, &stepError{StepTCP, err}
		}
		return conn, false, nil
	}
	resolver := l.o.Resolver()
	targets, err := resolver.Targets(ctx, l.o.JID.Domain(), dns.Client)
	if err != nil {
		return nil, false, &stepError{StepDNS, err}
	}
	errs := []error{errors.New("no server of the domain can be reached")}
	for _, t := range targets {
		if t.Direct && l.o.Protection == stream.ProtectionNone {
			continue
		}
		conn, err := resolver.Dial(ctx, t, nil)
		if err == nil {
			return conn, t.Direct, nil
		}
		errs = append(errs, err)
	}
	return nil, false, &stepError{StepTCP, errors.Join(errs...)}
}

// tls is the configuration for a server of that name.
func (l *Link) tls(name string) *tls.Config {
	cfg := l.o.TLS
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg = cfg.Clone()
		cfg.ServerName = name
	}
	return cfg
}

// hostOf is the host of host:port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
