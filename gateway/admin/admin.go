// Package admin is the operator's HTTP: is the gateway alive, can it take work,
// what does it count, and who has an account.
package admin

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"

	"mcmt2xmpp/gateway/trace"
)

// Options of the admin server.
type Options struct {
	Version string
	// Ready names the conditions of /readyz; each returns nil when it holds.
	Ready    map[string]func() error
	Metrics  []Metric
	Trace    *trace.Bus
	Accounts Accounts // nil: accounts are kept elsewhere, /v1/users says so
	// Tokens are the bearer tokens of which every request except /healthz and
	// /readyz must carry one, unless its peer is on loopback or a Unix socket.
	// nil or none: no other peer is served.
	Tokens func() []string
	Log    zerolog.Logger
}

// Server serves the admin HTTP. Make it with New.
type Server struct {
	o       Options
	handler http.Handler
	close   func()
}

// New returns a Server. Close frees what it subscribed to.
func New(o Options) *Server {
	s := &Server{o: o}
	reg, cancel := registry(o.Metrics, o.Trace)
	s.close = cancel
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", s.guard(promhttp.HandlerFor(reg, promhttp.HandlerOpts{})))
	mux.Handle("GET /{$}", s.guard(http.HandlerFunc(s.index)))
	s.users(mux)
	s.handler = mux
	return s
}

// Serve answers on l until ctx ends, then lets requests finish for a moment.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	hs := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := hs.Shutdown(grace); err != nil {
			_ = hs.Close() // the grace is over: nothing more to do for them
		}
	}()
	err := hs.Serve(l)
	if ctx.Err() == nil {
		return fmt.Errorf("admin: %w", err)
	}
	<-stopped
	return nil
}

// Close ends the server's subscription to the trace.
func (s *Server) Close() { s.close() }

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintln(w, "ok")
}

// readyz answers 503 with the reasons while the gateway cannot do its work.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	names := make([]string, 0, len(s.o.Ready))
	for name := range s.o.Ready {
		names = append(names, name)
	}
	slices.Sort(names)
	var failed []string
	for _, name := range names {
		if err := s.o.Ready[name](); err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, err))
		}
	}
	if len(failed) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.Join(failed, "\n"))
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, "mcmt2xmpp %s\n\n/healthz   alive\n/readyz    able to take and deliver messages\n/metrics   for Prometheus\n/v1/users  accounts of the built-in store\n", s.o.Version)
}

// guard lets operators in. A browser on the operator's machine must not be
// turned against it: a request that names another host (DNS rebinding) or
// comes from another site's page is refused.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.authorized(r):
		case !local(r.RemoteAddr):
			w.Header().Set("WWW-Authenticate", `Bearer realm="mcmt2xmpp"`)
			problem(w, http.StatusUnauthorized, "a bearer token is required from this address")
			return
		case !localName(r.Host):
			problem(w, http.StatusForbidden, "the Host header must name this machine by address or as localhost")
			return
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				problem(w, http.StatusForbidden, "requests from another site are refused")
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// authorized reports whether r carries one of the tokens.
func (s *Server) authorized(r *http.Request) bool {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || s.o.Tokens == nil {
		return false
	}
	found := 0
	for _, t := range s.o.Tokens() {
		found |= subtle.ConstantTimeCompare([]byte(t), []byte(token))
	}
	return found == 1
}

// local reports whether the peer is on this machine. A Unix socket has no
// address.
func local(remote string) bool {
	addr, err := netip.ParseAddrPort(remote)
	return err != nil || addr.Addr().Unmap().IsLoopback()
}

func localName(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return host == "localhost"
}

// problem answers in the form of RFC 9457.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the peer is gone when this fails
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
}

var errNoAccounts = errors.New("accounts are not kept by the built-in store here")
