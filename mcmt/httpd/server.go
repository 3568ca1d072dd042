package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
)

// Server receives messages over HTTP. Make it with New; its methods may be
// called from any goroutine.
type Server struct {
	opt    Options
	peers  peers
	busy   chan struct{} // a token for each request being worked on
	memory *semaphore.Weighted

	requests, accepted, refused, deferred atomic.Uint64
	authFailed, guarded                   atomic.Uint64
	throttled, overLimit                  atomic.Uint64
	conns                                 atomic.Int64
}

// Stats are counts since New.
type Stats struct {
	Requests   uint64 // of any kind
	Accepted   uint64 // messages stored
	Refused    uint64 // messages refused for good
	Deferred   uint64 // messages refused for now: 429 and 503
	AuthFailed uint64 // wrong credentials
	Guarded    uint64 // credentials not tried, for failures that came before
	Throttled  uint64 // requests over a rate or concurrency
	OverLimit  uint64 // connections closed because there were too many
	Open       int64  // connections open now
}

// New makes a Server.
func New(o Options) *Server {
	o = o.withDefaults()
	return &Server{opt: o, busy: make(chan struct{}, o.MaxRequests), memory: semaphore.NewWeighted(o.Memory)}
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	return Stats{
		Requests: s.requests.Load(), Accepted: s.accepted.Load(), Refused: s.refused.Load(), Deferred: s.deferred.Load(),
		AuthFailed: s.authFailed.Load(), Guarded: s.guarded.Load(), Throttled: s.throttled.Load(), OverLimit: s.overLimit.Load(), Open: s.conns.Load(),
	}
}

// Serve answers requests from ln until ctx ends; it then accepts no more,
// gives those begun up to Options.Grace to finish, and returns nil. It closes
// ln. Another error means that ln failed.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var open net.Listener = &limitListener{Listener: ln, s: s, open: make(chan struct{}, s.opt.MaxConnections)}
	if s.opt.TLS != nil {
		cfg := s.opt.TLS.Clone()
		cfg.NextProtos = []string{"http/1.1"}
		open = tls.NewListener(open, cfg)
	}
	g := &gate{next: s}
	base, cancelBase := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancelBase(nil)
	defer context.AfterFunc(ctx, func() { cancelBase(errDraining) })()
	hs := s.httpServer(base, g)
	done := make(chan error, 1)
	go func() { done <- hs.Serve(open) }()
	select {
	case err := <-done:
		_ = hs.Close()
		g.wait()
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.Grace)
	defer cancel()
	if err := hs.Shutdown(grace); err != nil {
		_ = hs.Close() // their reads and writes fail now
	}
	<-done
	g.wait()
	return nil
}

// errDraining is the cause of the end of a request's context when Serve ends;
// the client's leaving, and any failed read, end it too.
var errDraining = errors.New("the server is shutting down")

// gate knows when the last request is over, which http.Server.Close does not
// wait for.
type gate struct {
	next http.Handler
	work sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

// ServeHTTP passes the request on until wait is called.
func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		panic(http.ErrAbortHandler) // closes the connection without a word
	}
	g.work.Add(1)
	g.mu.Unlock()
	defer g.work.Done()
	g.next.ServeHTTP(w, r)
}

// wait blocks until no request is being worked on; none begins any more.
func (g *gate) wait() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.work.Wait()
}

// httpServer is net/http's server with every wait bounded. HTTP/2 stays off:
// its deadlines are per stream and would need guards of their own.
func (s *Server) httpServer(ctx context.Context, h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           h,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: s.opt.HeaderTimeout,
		WriteTimeout:      s.opt.WriteTimeout, // for answers of net/http's own; ours set theirs
		IdleTimeout:       s.opt.IdleTimeout,
		MaxHeaderBytes:    s.opt.MaxHeaderBytes,
		Protocols:         &protocols,
		// What it logs is the peers' doing: broken handshakes and headers.
		ErrorLog: stdlog.New(debugLog{s.opt.Log}, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.conns.Add(1)
			case http.StateClosed, http.StateHijacked:
				s.conns.Add(-1)
			}
		},
	}
}

// debugLog passes lines of net/http to the log.
type debugLog struct{ log zerolog.Logger }

func (l debugLog) Write(p []byte) (int, error) {
	l.log.Debug().Msg(strings.TrimSpace(string(p)))
	return len(p), nil
}
