package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Server receives mail on any number of listeners; its limits are over all of
// them together.
type Server struct {
	opt    Options
	memory *semaphore.Weighted // bytes of bodies in flight
	count  counters

	mu    sync.Mutex
	open  int                   // connections now
	peers map[netip.Prefix]int  // connections now, by address
	live  map[*session]struct{} // sessions to tell of the end
}

// New returns a Server that serves nobody yet. It refuses Options without a Sink.
func New(o Options) (*Server, error) {
	if o.Sink == nil {
		return nil, errors.New("smtpd: no sink")
	}
	o = o.withDefaults()
	return &Server{
		opt:    o,
		memory: semaphore.NewWeighted(o.Memory),
		peers:  make(map[netip.Prefix]int),
		live:   make(map[*session]struct{}),
	}, nil
}

// Serve accepts connections from l, a TCP or Unix listener or one of
// crypto/tls over either, until ctx ends or l fails. Then it closes l, answers
// 421 4.3.2 to idle sessions (RFC 5321 §3.8), lets messages being received
// finish for Options.Grace, and returns when the last goroutine is gone: nil
// after the end of ctx, else the listener's error.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// hard ends what the end of ctx spares: a message being received.
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	soft, stop := context.WithCancel(ctx)
	defer stop()

	var sessions sync.WaitGroup
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		<-soft.Done()
		_ = l.Close()
	}()

	err := s.accept(soft, hard, l, &sessions)
	stop()
	<-closed
	s.interrupt(soft)

	grace := time.AfterFunc(s.opt.Grace, func() {
		cut()
		s.cut(soft)
	})
	defer grace.Stop()
	sessions.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// accept is the accept loop of one listener. It returns when soft ends or l
// fails for good.
func (s *Server) accept(soft, hard context.Context, l net.Listener, sessions *sync.WaitGroup) error {
	var delay time.Duration
	for {
		c, err := l.Accept()
		switch {
		case soft.Err() != nil:
			if err == nil {
				_ = c.Close()
			}
			return nil
		case err != nil && !temporary(err):
			return fmt.Errorf("smtpd: accept: %w", err)
		case err != nil:
			// Out of file descriptors, as a rule: wait for some session to end.
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.opt.Log.Warn().Err(err).Dur("pause", delay).Msg("accept")
			pause(soft, delay)
			continue
		}
		delay = 0
		s.count.connections.Add(1)
		peer, prefix := peerOf(c)
		if reason := s.admit(prefix); reason != "" {
			s.count.limitConnection.Add(1)
			s.opt.Log.Info().Stringer("peer", peer).Str("limit", reason).Msg("connection refused")
			turnAway(c, "421 4.7.0 "+s.opt.Hostname+" too many connections, try again later\r\n")
			continue
		}
		sessions.Go(func() {
			defer s.leave(prefix)
			s.run(soft, hard, c, peer)
		})
	}
}

// temporary reports whether a later Accept may work.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// peerOf returns the peer's address for Config and the log, and what it is
// counted under: nothing for a Unix socket.
func peerOf(c net.Conn) (netip.AddrPort, netip.Prefix) {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0), netip.Prefix{}
	}
	addr := tcp.AddrPort().Addr().Unmap()
	bits := 32
	if addr.Is6() {
		bits = 64 // the least that one customer is given
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.AddrPortFrom(addr, uint16(tcp.Port)), netip.Prefix{}
	}
	return netip.AddrPortFrom(addr, uint16(tcp.Port)), prefix
}

// admit counts a connection in, or says which limit it would pass.
func (s *Server) admit(prefix netip.Prefix) (limit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open >= s.opt.MaxConnections:
		return "total"
	case prefix.IsValid() && s.peers[prefix] >= s.opt.MaxConnectionsPerAddress:
		return "address"
	}
	s.open++
	s.count.open.Add(1)
	if prefix.IsValid() {
		s.peers[prefix]++
	}
	return ""
}

// leave counts a connection out.
func (s *Server) leave(prefix netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
	s.count.open.Add(-1)
	if s.peers[prefix]--; s.peers[prefix] <= 0 {
		delete(s.peers, prefix)
	}
}

// turnAway answers a connection that gets no session. It does not block: the
// few bytes fit any socket's empty send buffer. A TLS connection gets no text,
// as its handshake could take long.
func turnAway(c net.Conn, reply string) {
	if _, ok := c.(interface{ NetConn() net.Conn }); !ok {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.Write([]byte(reply))
	}
	_ = c.Close()
}

// interrupt wakes the idle sessions of the listener that soft belongs to.
func (s *Server) interrupt(soft context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss := range s.live {
		if ss.soft == soft {
			ss.wire.interrupt()
		}
	}
}

// cut breaks the connections of the listener that soft belongs to.
func (s *Server) cut(soft context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ss := range s.live {
		if ss.soft == soft {
			_ = ss.wire.socket.Close()
		}
	}
}

// enter makes a session known to interrupt and cut. A session that enters
// after the end is interrupted here.
func (s *Server) enter(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[ss] = struct{}{}
	if ss.soft.Err() != nil {
		ss.wire.interrupt()
	}
}

// exit is the end of enter.
func (s *Server) exit(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, ss)
}
