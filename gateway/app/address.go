package app

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"mcmt2xmpp/gateway/config"
)

// Address is where a listener can be reached.
type Address struct{ Title, URL string }

// Addresses are those of the open listeners, in the order of opening.
func (a *App) Addresses() []Address {
	titles := map[config.ListenerKind][2]string{
		config.XMPPStreams: {"XMPP", "xmpp"}, config.ESMTP: {"SMTP", "smtp"}, config.HTTP: {"HTTP", "http"}, config.Control: {"admin", "http"},
	}
	all := make([]Address, 0, len(a.sockets))
	for _, s := range a.sockets {
		t := titles[s.scope.Kind]
		scheme := t[1]
		if s.scope.UseSSL {
			scheme += "s"
		}
		all = append(all, Address{t[0], scheme + "://" + s.Addr().String()})
	}
	return all
}

// Addr is the address of the first listener of a kind; stream is that of an
// xmpp_listener and empty otherwise. It is empty when there is none.
func (a *App) Addr(kind config.ListenerKind, stream string) string {
	for _, s := range a.sockets {
		if s.scope.Kind == kind && s.scope.Stream == stream {
			return s.Addr().String()
		}
	}
	return ""
}

// Admin is how a program on this machine reaches the admin HTTP of a gateway.
type Admin struct {
	URL    string // without a path; https:// where the listener has use_ssl
	Socket string // path of the Unix socket to connect to; empty: TCP
	Token  string // bearer token, where the configuration has one
	// Certificate is the leaf that the listener shows, for URL with https. Nil
	// where it cannot be read.
	Certificate *x509.Certificate
}

// FindAdmin returns how to reach the first control_listener of a configuration
// that has an address of its own, and false where none has.
func FindAdmin(cfg *config.Config) (Admin, bool) {
	for _, l := range cfg.Listeners {
		if l.Kind != config.Control || !Served(l) {
			continue
		}
		t := Admin{URL: "http://"}
		p := l.For(netip.Addr{})
		t.Token = adminToken(cfg, p)
		if l.UseSSL {
			t.URL, t.Certificate = "https://", leaf(cfg, p)
		}
		if path, unix := strings.CutPrefix(l.Address, "unix:"); unix || strings.HasPrefix(path, "/") {
			t.URL, t.Socket = t.URL+"localhost", path
			return t, true
		}
		i := strings.LastIndexByte(l.Address, ':')
		host, port := l.Address[:i], l.Address[i:]
		if port == ":0" {
			continue // the system's choice is not in the configuration
		}
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); host == "" || host == "*" || err == nil && addr.IsUnspecified() {
			host = "127.0.0.1"
		}
		t.URL += host + port
		return t, true
	}
	return Admin{}, false
}

// leaf reads the certificate that a listener shows, nil where it cannot.
func leaf(cfg *config.Config, p *config.PeerOptions) *x509.Certificate {
	file := p.TLSCertificate
	if file == "" {
		file = selfSignedFile(cfg)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil
			}
			return cert
		}
	}
	return nil
}

// Certificate returns the certificate made on first start as an authority for
// clients on this machine.
func Certificate(cfg *config.Config) (*x509.CertPool, error) {
	text, err := os.ReadFile(selfSignedFile(cfg))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New(selfSignedFile(cfg) + " holds no certificate")
	}
	return pool, nil
}

// selfSignedDir is where the certificate of the first start lies.
func selfSignedDir(cfg *config.Config) string { return filepath.Join(cfg.DataDir, "tls") }

func selfSignedFile(cfg *config.Config) string {
	return filepath.Join(selfSignedDir(cfg), "self-signed.crt")
}
