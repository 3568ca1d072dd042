package app

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/listener"
)

// certificates makes the TLS configuration of each peer. Peers with the same
// options share one, and its session tickets.
type certificates struct {
	cfg *config.Config
	log zerolog.Logger

	mu      sync.Mutex // guards the maps
	pairs   map[[2]string]*listener.Certificates
	configs map[string]peerTLS
	before  map[string]peerTLS     // what configs had before the last reload
	auths   []*listener.ClientAuth // of all configs ever made: their counts only grow
}

// peerTLS is what holds for a peer: the configuration, and who judges the certificate
// that the peer shows.
type peerTLS struct {
	conf *tls.Config // nil: TLS is off
	auth *listener.ClientAuth
}

func newCertificates(cfg *config.Config, log zerolog.Logger) *certificates {
	return &certificates{cfg: cfg, log: log.With().Str("part", "tls").Logger(),
		pairs: make(map[[2]string]*listener.Certificates), configs: make(map[string]peerTLS), before: make(map[string]peerTLS)}
}

// server returns the configuration for a peer, nil where TLS is off.
func (c *certificates) server(p *config.PeerOptions) (*tls.Config, error) {
	t, err := c.peer(p)
	return t.conf, err
}

func (c *certificates) peer(p *config.PeerOptions) (peerTLS, error) {
	if p.NoTLS {
		return peerTLS{}, nil
	}
	key := fmt.Sprint(p.TLSCertificate, "\x00", p.TLSKey, "\x00", p.TLSCiphers, "\x00", p.TLSClientCA, "\x00", p.TLSVerifyMode)
	c.mu.Lock()
	defer c.mu.Unlock()
	if conf, ok := c.configs[key]; ok {
		return conf, nil
	}
	conf, err := c.build(p)
	if err != nil {
		old, ok := c.before[key]
		if !ok {
			return peerTLS{}, err
		}
		// Files that went bad since cost nobody the TLS that there was.
		c.log.Error().Err(err).Msg("not read again, what was read before stays")
		conf = old
	}
	c.configs[key] = conf
	return conf, nil
}

// build reads the files that p names. The caller holds mu.
func (c *certificates) build(p *config.PeerOptions) (peerTLS, error) {
	pair, err := c.pair(p.TLSCertificate, p.TLSKey)
	if err != nil {
		return peerTLS{}, err
	}
	auth := &listener.ClientAuth{Log: c.log}
	switch p.TLSVerifyMode {
	case config.VerifyNone:
		auth.Mode = listener.VerifyNone
	case config.VerifyRequire:
		auth.Mode = listener.VerifyRequire
	}
	if p.TLSClientCA != "" {
		if auth.Roots, err = listener.LoadCA(p.TLSClientCA); err != nil {
			return peerTLS{}, fmt.Errorf("tls_client_ca: %w", err)
		}
	}
	c.auths = append(c.auths, auth)
	return peerTLS{listener.ServerConfig(pair, p.TLSCiphers, auth), auth}, nil
}

// shown is the certificate for a peer, nil where TLS is off.
func (c *certificates) shown(p *config.PeerOptions) (*tls.Certificate, error) {
	if p.NoTLS {
		return nil, nil
	}
	c.mu.Lock()
	pair, err := c.pair(p.TLSCertificate, p.TLSKey)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return pair.GetCertificate(nil)
}

// pair opens a certificate once. The caller holds mu.
func (c *certificates) pair(cert, key string) (*listener.Certificates, error) {
	id := [2]string{cert, key}
	if p, ok := c.pairs[id]; ok {
		return p, nil
	}
	p, err := listener.OpenCertificates(listener.CertificateOptions{
		Cert: cert, Key: key, Dir: selfSignedDir(c.cfg), Names: certificateNames(c.cfg), Log: c.log,
	})
	if err != nil {
		return nil, fmt.Errorf("tls_certificate: %w", err)
	}
	c.pairs[id] = p
	return p, nil
}

// certificateNames are the names of the self-signed certificate.
func certificateNames(cfg *config.Config) []string {
	names := append(slices.Clone(cfg.ServedDomains()), "localhost", "127.0.0.1", "::1")
	if cfg.Hostname != "" {
		names = append(names, cfg.Hostname)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// reload reads the files again, whether or not they look changed, and says what came
// of it.
func (c *certificates) reload() []admin.CertificateState {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []admin.CertificateState{}
	for _, p := range c.pairs {
		before := p.Leaf()
		st := admin.CertificateState{File: p.File()}
		if err := p.Reload(); err != nil {
			c.log.Error().Err(err).Msg("certificate not reloaded, the old one stays")
			st.Error = err.Error()
		}
		now := p.Leaf()
		st.Expires, st.Replaced = now.NotAfter.UTC(), !now.Equal(before)
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b admin.CertificateState) int { return strings.Compare(a.File, b.File) })
	// Client authorities and other options are read when the next peer asks.
	maps.Copy(c.before, c.configs)
	clear(c.configs)
	return all
}

// stats adds up the results for client certificates.
func (c *certificates) stats() (sum listener.ClientAuthStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.auths {
		s := a.Stats()
		sum.Verified += s.Verified
		sum.Refused += s.Refused
		sum.Absent += s.Absent
	}
	return sum
}
