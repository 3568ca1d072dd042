// Package admin is the operator's HTTP: is the gateway alive, can it take work,
// what does it count, who has an account and whom in the roster, what waits in the
// queue, and what became of a message.
//
//	admin.go        the server and its paths
//	access.go       who may use it; role.go what for, rates.go how often
//	audit.go        /v1/audit: what operators have done
//	reload.go       /v1/reload
//	health.go       /healthz, /readyz
//	metrics.go      /metrics, for Prometheus; stats.go what the server itself counts
//	index.go        /, the numbers for a person
//	route.go        the table of all paths, and how a request goes through it
//	openapi.go      the table as a document, at /v1/openapi.json; schema.go its types
//	timeline.go     what became of a message, on that page
//	buttons.go      what can be done there
//	words.go        how it says times and numbers
//	live.go         /v1/live, the same numbers as they change
//	livequeue.go    of which what waits
//	flow.go         and how many messages pass
//	json.go         their bodies and answers
//	problem.go      refusals (RFC 9457)
//	users.go        /v1/users
//	rosters.go      /v1/rosters
//	queue.go        /v1/queue
//	queuefilter.go  which messages a request is about
//	messages.go     /v1/messages
//	messagefilter.go  which messages a search is about
//	servers.go      /v1/s2s
//	filters.go      /v1/filters
//	webhooks.go     /v1/webhooks
package admin

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"mcmt2xmpp/gateway/trace"
)

// Options of the admin server.
type Options struct {
	Version string
	// Ready names the conditions of /readyz; each returns nil when it holds.
	Ready map[string]func() error
	// Metrics lists the parts' numbers, anew for each time that all of them are read once,
	// so that some can share what takes a question; nil: there are none.
	Metrics  func() []Metric
	Trace    *trace.Bus // nil: nothing is counted by stage
	Accounts Accounts   // nil: accounts are kept elsewhere, /v1/users says so
	Queue    Queue      // nil: /v1/queue says that there is none
	History  History    // nil: /v1/messages says that there is none
	Rosters  Rosters    // nil: /v1/rosters says that there are none
	Servers  Servers    // nil: /v1/s2s says that there are none
	Filters  Filters    // nil: /v1/filters says that there are none
	Webhooks Webhooks   // nil: /v1/webhooks says that there are none
	// Config returns what holds for a peer, whose address is the zero Addr where it is
	// on a Unix socket; it is called for each request. nil: peers on this machine may
	// do all, and no others anything but /healthz and /readyz.
	Config func(peer netip.Addr) PeerOptions
	// Reload reads the configuration again. The error is *Invalid where it is refused.
	// nil: /v1/reload says that there is none.
	Reload func(context.Context) (*Reloaded, error)
	// Audit takes what operators do. nil: one of its own.
	Audit    *Audit
	Overview Overview // nil: / and /v1/live tell neither what waits nor of sessions
	// Forwarded returns whom a request of a peer comes from, by its X-Forwarded-For
	// fields: the peer itself where that is no proxy that is believed. nil: it always is.
	Forwarded func(peer netip.Addr, fields []string) netip.Addr
	// MaxConnections is how many connections may be open; further ones are
	// closed at once. Zero: 256.
	MaxConnections int
	Log            zerolog.Logger
}

// Server serves the admin HTTP. Make it with New.
type Server struct {
	o        Options
	numbers  *prometheus.Registry
	handler  http.Handler
	document object       // of the API
	open     atomic.Int64 // connections
	rates    rates
	counts   counts
	flow     *flow
	live     *live
	close    func()
}

// New returns a Server. Close frees what it subscribed to.
func New(o Options) *Server {
	if o.MaxConnections <= 0 {
		o.MaxConnections = 256
	}
	if o.Audit == nil {
		o.Audit = new(Audit)
	}
	if o.Trace == nil {
		o.Trace = new(trace.Bus)
	}
	s := &Server{o: o, flow: new(flow), live: newLive()}
	s.o.Metrics = func() []Metric {
		ready := Metric{Name: "ready", Help: "1 where all conditions of /readyz hold.", Gauge: true, Collect: Value(s.ready)}
		if o.Metrics == nil {
			return []Metric{ready}
		}
		return append(o.Metrics(), ready)
	}
	var deaf func()
	s.numbers, deaf = registry(o.Version, s.o.Metrics, o.Trace)
	blind := o.Trace.Subscribe(s.flow.note)
	s.close = func() { deaf(); blind() }
	mux := http.NewServeMux()
	routes := s.routes()
	checkRoutes(routes)
	s.mount(mux, routes)
	s.document = document(o.Version, routes)
	mux.Handle("/", s.guard(func(w http.ResponseWriter, _ *http.Request, _ caller) {
		problem(w, http.StatusNotFound, "there is nothing at this path; / lists what there is")
	}))
	s.handler = mux
	return s
}

// writeTimeout is how long a peer has to take an answer.
const writeTimeout = time.Minute

// Serve answers on l until ctx ends, then lets requests finish for a moment. It
// returns when no connection is left; the error is that of l where it fails
// before.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	hs := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second,
		WriteTimeout: writeTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: httpLog(s.o.Log), ConnState: s.count,
	}
	hs.RegisterOnShutdown(s.live.end)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := hs.Shutdown(grace); err != nil {
			_ = hs.Close() // the grace is over: nothing more to do for them
		}
	})
	err := hs.Serve(l)
	if !stop() {
		<-stopped
		return nil
	}
	_ = hs.Close() // the listener has failed: so that nothing stays behind
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("admin: %w", err)
}

// Close ends the server's subscription to the trace.
func (s *Server) Close() { s.close() }

// count bounds the open connections.
func (s *Server) count(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.open.Add(1) > int64(s.o.MaxConnections) {
			s.counts.overLimit.Add(1)
			_ = c.Close() // its end is counted like any other
		}
	case http.StateClosed, http.StateHijacked:
		s.open.Add(-1)
	}
}
