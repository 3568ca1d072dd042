package app

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/listener"
)

// proxies counts what trusted proxies say that cannot be read.
type proxies struct {
	unreadable atomic.Uint64

	mu   sync.Mutex
	said time.Time // when the log was told last
}

// unreadableEvery is how often the log says so.
const unreadableEvery = time.Minute

// forwarded returns who is behind a peer if that is a trusted proxy, and nil if it is
// not.
func (a *App) forwarded(p *config.PeerOptions, peer netip.Addr) func(fields []string) netip.Addr {
	if !peer.IsValid() {
		peer = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // a Unix socket
	}
	peer = peer.Unmap().WithZone("")
	if !slices.ContainsFunc(p.TrustedProxies, func(trusted netip.Prefix) bool { return trusted.Contains(peer) }) {
		return nil
	}
	return func(fields []string) netip.Addr {
		client, err := listener.Forwarded(peer, p.TrustedProxies, fields)
		if err != nil {
			a.unreadable(peer, err)
		}
		return client
	}
}

func (a *App) unreadable(proxy netip.Addr, err error) {
	a.proxies.unreadable.Add(1)
	a.proxies.mu.Lock()
	now := time.Now()
	quiet := now.Sub(a.proxies.said) < unreadableEvery
	if !quiet {
		a.proxies.said = now
	}
	a.proxies.mu.Unlock()
	if !quiet {
		a.log.Warn().Err(err).Stringer("proxy", proxy).Msg("client is unknown, and counts as 0.0.0.0")
	}
}
