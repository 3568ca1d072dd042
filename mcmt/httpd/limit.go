package httpd

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxPeers is how many addresses are remembered; beyond it those that have been
// silent for a minute are forgotten, and with them nothing that still counts.
const maxPeers = 10_000

// peers keeps what is counted per address.
type peers struct {
	mu sync.Mutex
	m  map[netip.Prefix]*peerState // guarded by mu
}

// peerState counts for one address (IPv6: one /64, which is one customer).
type peerState struct {
	mu       sync.Mutex
	requests int           // being worked on
	conns    int           // open
	used     time.Time     // last looked up
	messages *rate.Limiter // nil until a rate is asked for
	logins   *rate.Limiter // of wrong credentials; nil until the first
}

// prefixOf returns what is counted as one address.
func prefixOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // fits the family
	return p
}

// get returns the state of an address, which stays valid while it is in use.
func (p *peers) get(a netip.Addr) *peerState {
	key, now := prefixOf(a), time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = make(map[netip.Prefix]*peerState)
	}
	st := p.m[key]
	if st == nil {
		if len(p.m) >= maxPeers {
			p.forget(now)
		}
		st = new(peerState)
		p.m[key] = st
	}
	st.mu.Lock()
	st.used = now
	st.mu.Unlock()
	return st
}

// forget drops the states that hold nothing. The caller holds mu.
func (p *peers) forget(now time.Time) {
	for key, st := range p.m {
		st.mu.Lock()
		idle := st.requests == 0 && st.conns == 0 && now.Sub(st.used) > time.Minute
		st.mu.Unlock()
		if idle {
			delete(p.m, key)
		}
	}
}

// begin counts a request; false when limit (0: none) are being worked on.
func (st *peerState) begin(limit int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if limit > 0 && st.requests >= limit {
		return false
	}
	st.requests++
	return true
}

func (st *peerState) end() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.requests--
}

// limiter returns the limiter of messages with the rate that holds now, nil for
// no bound.
func (st *peerState) limiter(opt PeerOptions) *rate.Limiter {
	if opt.Rate <= 0 {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.messages == nil:
		st.messages = rate.NewLimiter(rate.Limit(opt.Rate), opt.Burst)
	case st.messages.Limit() != rate.Limit(opt.Rate) || st.messages.Burst() != opt.Burst:
		st.messages.SetLimit(rate.Limit(opt.Rate))
		st.messages.SetBurst(opt.Burst)
	}
	return st.messages
}

// mayLogin reports whether the address may show credentials.
func (st *peerState) mayLogin(perMinute int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.logins == nil {
		st.logins = rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
	}
	return st.logins.Tokens() >= 1
}

// loginFailed counts wrong credentials; mayLogin was called before.
func (st *peerState) loginFailed() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.logins.Allow()
}

// limitListener closes connections over the bounds at once.
type limitListener struct {
	net.Listener
	s    *Server
	open chan struct{} // a token for each connection
}

// Accept returns the next connection within the bounds.
func (l *limitListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.admit(conn); c != nil {
			return c, nil
		}
		l.s.overLimit.Add(1)
		_ = conn.Close()
	}
}

// admit counts conn, or returns nil where it is one too many.
func (l *limitListener) admit(conn net.Conn) net.Conn {
	select {
	case l.open <- struct{}{}:
	default:
		return nil
	}
	peer := peerOf(conn.RemoteAddr().String())
	if peer.Port() == 0 || l.s.opt.Config(peer).Forwarded != nil { // a Unix socket, or a proxy
		return &countedConn{Conn: conn, gone: func() { <-l.open }}
	}
	st := l.s.peers.get(peer.Addr())
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.conns >= l.s.opt.MaxConnectionsPerAddress {
		<-l.open
		return nil
	}
	st.conns++
	return &countedConn{Conn: conn, gone: func() {
		st.mu.Lock()
		st.conns--
		st.mu.Unlock()
		<-l.open
	}}
}

// countedConn gives its places back when it is closed.
type countedConn struct {
	net.Conn
	once sync.Once
	gone func()
}

// Close closes the connection.
func (c *countedConn) Close() error {
	c.once.Do(c.gone)
	return c.Conn.Close()
}

// CloseWrite passes net/http's half-close on, with which the answer to a request
// whose body was not read survives.
func (c *countedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// peerOf reads a remote address; a peer on a Unix socket has none and counts as
// 127.0.0.1:0.
func peerOf(remote string) netip.AddrPort {
	p, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
