package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/listener"
	"mcmt2xmpp/mcmt/httpd"
	"mcmt2xmpp/mcmt/smtpd"
	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/stream"
)

// socket is an open listener with the scope it came from.
type socket struct {
	*listener.Listener
	scope *config.Listen
	key   listenKey
}

// name is the kind and the address, for envelopes and the log.
func (s *socket) name() string { return s.scope.Kind.String() + " " + s.Addr().String() }

// listen opens the socket of l and returns the part that serves it.
func (a *App) listen(ctx context.Context, l *config.Listen) (part, error) {
	s, err := a.openSocket(ctx, l)
	if err != nil {
		return part{}, err
	}
	var serve func(context.Context, net.Listener) error
	ln := net.Listener(s.Listener)
	switch l.Kind {
	case config.XMPPStreams:
		serve = a.xmppServer(s).Serve
		switch l.Stream {
		case config.StreamServer:
			serve = a.serverListener(s).Serve
		case config.StreamComponent:
			serve = a.componentListener(s).Serve
		}
	case config.ESMTP:
		if l.UseSSL {
			ln = tls.NewListener(ln, a.directTLS(s))
		}
		srv, err := a.smtpServer(s)
		if err != nil {
			return part{}, err
		}
		serve = srv.Serve
	case config.HTTP:
		serve = a.httpServer(s).Serve
	case config.Control:
		serve = a.adminServer(s).Serve
		if l.UseSSL {
			ln = tls.NewListener(ln, a.directTLS(s))
		}
	default:
		return part{}, fmt.Errorf("listener of unknown kind %d", l.Kind)
	}
	a.log.Info().Str("listener", l.Kind.String()).Str("stream", l.Stream).Str("address", s.Addr().String()).Bool("tls", l.UseSSL).Msg("listening")
	return part{s.name(), func(ctx context.Context) error { return serve(ctx, ln) }}, nil
}

func (a *App) openSocket(ctx context.Context, l *config.Listen) (*socket, error) {
	s := &socket{scope: l, key: a.state.Load().key(l)}
	ln, err := listener.Listen(ctx, listener.Options{
		Address: l.Address, Backlog: l.ListenBacklog, AcceptQueue: l.AcceptQueueBacklog, EventsPerIter: l.EventsPerIter,
		Inherited: a.o.Inherited,
		FileMode:  l.FileMode, DisableNagle: l.DisableNagle, RecvBuffer: l.TCPRecvBuffer, SendBuffer: l.TCPSendBuffer,
		Deny: func(addr netip.Addr) bool { return a.peer(s, addr).AlwaysDeny },
		Log:  a.log,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.Pos, err)
	}
	s.Listener = ln
	a.sockets = append(a.sockets, s)
	return s, nil
}

// peer returns the options that hold for a peer of s now: those of the
// configuration that was loaded last, where the scope is still in it.
func (a *App) peer(s *socket, addr netip.Addr) *config.PeerOptions {
	if l, ok := a.state.Load().listens[s.key]; ok {
		return l.For(addr)
	}
	return s.scope.For(addr)
}

// tls returns what holds for a peer, the zero value for no TLS. A file that went bad
// since the start costs this connection its TLS, not the gateway its life.
func (a *App) tls(p *config.PeerOptions) peerTLS {
	t, err := a.certs.peer(p)
	if err != nil {
		a.log.Error().Err(err).Msg("no TLS for this connection")
	}
	return t
}

// directTLS is for TLS from the first byte, by the options of each peer.
func (a *App) directTLS(s *socket) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return a.certs.server(a.peer(s, addrOf(hello.Conn.RemoteAddr())))
		},
	}
}

// addrOf is the address of a peer; the zero Addr for one on a Unix socket.
func addrOf(addr net.Addr) netip.Addr {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// slotsOf is the bound on connections of l that negotiate at once: its own
// concurrency, and that of its pool.
func (a *App) slotsOf(l *config.Listen) stream.Slots {
	own := listener.NewSlots(l.Concurrency)
	a.slots[l.Kind.String()+" "+l.Address] = own
	if pool, ok := a.slots[l.Pool]; ok && l.Pool != "" {
		return slotsOfBoth{own, pool}
	}
	return own
}

// slotsOfBoth takes a slot of the listener before one of the pool, so that who
// waits for the listener takes none from the pool's others.
type slotsOfBoth struct{ own, pool *listener.Slots }

// Acquire implements stream.Slots.
func (s slotsOfBoth) Acquire(ctx context.Context) error {
	if err := s.own.Acquire(ctx); err != nil {
		return err
	}
	if err := s.pool.Acquire(ctx); err != nil {
		s.own.Release()
		return err
	}
	return nil
}

// Release implements stream.Slots.
func (s slotsOfBoth) Release() {
	s.pool.Release()
	s.own.Release()
}

func (a *App) xmppServer(s *socket) *c2s.Server {
	srv := c2s.New(c2s.Options{
		Router:      a.router,
		Slots:       a.slotsOf(s.scope),
		PerAddress:  s.scope.MaxConnectionsPerAddress,
		Hibernation: a.hibernation,
		Guard:       a.guard,
		Secret:      a.accounts.secret,
		Log:         a.xmppLog(),
		Observer:    a.stanzaLog,
		Connection: func(addr net.Addr) c2s.ConnOptions {
			return a.xmppConnection(s, a.peer(s, addrOf(addr)), addrOf(addr))
		},
	})
	a.clients = append(a.clients, srv)
	return srv
}

var conflicts = map[config.Conflict]c2s.Conflict{
	config.ConflictReplace: c2s.ConflictReplace, config.ConflictRefuse: c2s.ConflictRefuse, config.ConflictRename: c2s.ConflictRename,
}

func (a *App) xmppConnection(s *socket, p *config.PeerOptions, peer netip.Addr) c2s.ConnOptions {
	t := a.tls(p)
	o := c2s.ConnOptions{
		TLS: t.conf, Deny: p.AlwaysDeny, External: a.external(p, t.auth), Direct: s.scope.UseSSL, AllowPlainWithoutTLS: p.AllowPlainWithoutTLS,
		Tries: p.MaxFailedLogins, IdleTime: p.IdleTime, ResumeTime: p.ResumeTime,
		Conflict: conflicts[p.ResourceConflict],
		Guess:    guessLimits(p),
		Location: p.ResumeLocation, MaxHeld: p.MaxHeld,
		Limits: streamLimits(p),
	}
	if s.scope.Stream == config.StreamWebSocket {
		o.WebSocket = &c2s.WebSocketOptions{Origins: p.Origins, URL: p.WebSocketURL, Forwarded: a.forwarded(p, peer)}
	}
	var err error
	if o.Accounts, err = a.accounts.store(context.Background(), p.AuthPlain); err == nil {
		o.Digest, err = a.accounts.store(context.Background(), p.AuthDigestMD5)
	}
	if err != nil {
		a.log.Error().Err(err).Msg("accounts") // nobody can log in on this connection
	}
	return o
}

func (a *App) smtpServer(s *socket) (*smtpd.Server, error) {
	srv, err := smtpd.New(smtpd.Options{
		Hostname: a.hostname(), PostmasterDomain: a.firstDomain(), Sink: a.intake, Listener: s.name(),
		MaxConnections: s.scope.MaxConnections, MaxConnectionsPerAddress: s.scope.MaxConnectionsPerAddress,
		Config: func(peer netip.AddrPort) smtpd.PeerOptions {
			p := a.peer(s, peer.Addr())
			o := smtpd.PeerOptions{
				Deny: p.AlwaysDeny, Reception: p.MCMTReception, Trusted: p.Trusted,
				MaxMessageSize: p.MaxMessageSize, MaxRecipients: p.MaxRecipients,
				AllowAuthWithoutTLS: p.AllowPlainWithoutTLS,
			}
			if !s.scope.UseSSL {
				o.TLS = a.tls(p).conf
			}
			if p.AuthPlain != "" {
				o.Authenticator = smtpAuth{a, p, a.watch(peer, p)}
			}
			return o
		},
		Log: a.log,
	})
	a.smtp = append(a.smtp, srv)
	return srv, err
}

func (a *App) httpServer(s *socket) *httpd.Server {
	o := httpd.Options{
		Hostname: a.hostname(), Sink: a.intake, Listener: s.name(), Mounted: a.mounted(),
		MaxConnections: s.scope.MaxConnections, MaxConnectionsPerAddress: s.scope.MaxConnectionsPerAddress,
		Config: func(peer netip.AddrPort) httpd.PeerOptions {
			p := a.peer(s, peer.Addr())
			return httpd.PeerOptions{
				Deny: p.AlwaysDeny, Trusted: p.Trusted, Forwarded: a.forwarded(p, peer.Addr()), Authenticator: httpAuth{a, p, a.watch(peer, p)},
				AllowPlainWithoutTLS: p.AllowPlainWithoutTLS, MaxMessageSize: p.MaxMessageSize, MaxRecipients: p.MaxRecipients,
				Origins: p.Origins, MaxRequests: p.MaxRequests, Rate: float64(p.MessageRate), Burst: p.MessageBurst,
			}
		},
		Log: a.log,
	}
	if s.scope.UseSSL {
		o.TLS = a.directTLS(s)
	}
	srv := httpd.New(o)
	a.http = append(a.http, srv)
	return srv
}

func (a *App) adminServer(s *socket) *admin.Server {
	srv := admin.New(admin.Options{
		Version: a.o.Version, Trace: a.trace, Accounts: a.Accounts(), Rosters: a.Rosters(), Queue: queue{a}, History: history{a}, Servers: a.servers, Filters: filtering{a}, Webhooks: webhooks{a}, Overview: overview{a}, Log: a.log,
		Ready:   map[string]func() error{"broker": a.broker.Healthy, "listeners": a.listening},
		Metrics: a.metrics,
		Forwarded: func(peer netip.Addr, fields []string) netip.Addr {
			if client := a.forwarded(a.peer(s, peer), peer); client != nil {
				return client(fields)
			}
			return peer
		},
		Config: func(peer netip.Addr) admin.PeerOptions { return a.adminPeer(s, peer) },
		Audit:  &a.audit,
		Reload: a.reloader(),
	})
	a.admin = append(a.admin, srv)
	return srv
}
