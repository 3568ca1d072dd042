package httpd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/mcmt"
)

// exchange is one request while it is answered. It belongs to the goroutine
// that runs ServeHTTP.
type exchange struct {
	w     http.ResponseWriter
	r     *http.Request
	rc    *http.ResponseController
	peer  netip.AddrPort
	proxy netip.AddrPort // whose connection it is, if that is another's
	opt   PeerOptions
	user  string
	start time.Time
	size  int64 // bytes of the body read
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	x := &exchange{w: w, r: r, rc: http.NewResponseController(w), start: time.Now()}
	s.identify(x)
	// Also bounds what net/http reads of a body that nobody wanted.
	_ = x.rc.SetReadDeadline(x.start.Add(s.opt.ReadTimeout))
	if m := s.mounted(r.URL.Path); m != nil && !x.opt.Deny {
		_ = x.rc.SetWriteDeadline(x.start.Add(s.opt.WriteTimeout))
		m.ServeHTTP(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	handle, err := s.route(x)
	if err != nil {
		s.fail(x, err)
		return
	}
	if handle == nil { // OPTIONS
		w.WriteHeader(http.StatusNoContent)
		return
	}
	leave, err := s.enter(x)
	if err != nil {
		s.fail(x, err)
		return
	}
	defer leave()
	handle(x)
}

// identify finds who has sent the request, and what holds for it.
func (s *Server) identify(x *exchange) {
	x.peer = peerOf(x.r.RemoteAddr)
	x.opt = s.opt.Config(x.peer)
	if x.opt.Forwarded != nil {
		if client := x.opt.Forwarded(x.r.Header.Values("X-Forwarded-For")); client != x.peer.Addr() {
			x.proxy, x.peer = x.peer, netip.AddrPortFrom(client, x.peer.Port())
			x.opt = s.opt.Config(x.peer)
		}
	}
	x.opt = x.opt.withDefaults()
}

// mounted is what answers for a path that is not of the message API, of several what is
// nearest to it; nil for nothing.
func (s *Server) mounted(path string) (h http.Handler) {
	nearest := ""
	for prefix, mounted := range s.opt.Mounted {
		if strings.HasPrefix(path, prefix) && len(prefix) > len(nearest) {
			nearest, h = prefix, mounted
		}
	}
	return h
}

// route finds what handles the request, nil for an OPTIONS that is answered by
// its header alone.
func (s *Server) route(x *exchange) (func(*exchange), error) {
	var handle func(*exchange)
	var accepts string
	switch x.r.URL.Path {
	case "/v1/messages":
		handle, accepts = s.single, singleTypes
	case "/v1/messages:batch":
		handle, accepts = s.batch, batchTypes
	default:
		return nil, newProblem(http.StatusNotFound, "", "post messages to /v1/messages or /v1/messages:batch")
	}
	const allow = "OPTIONS, POST"
	switch x.r.Method {
	case http.MethodPost:
		return handle, nil
	case http.MethodOptions:
		// No field of the Fetch standard goes with it: a page of another origin
		// that asks whether it may post is told nothing, which is no.
		x.w.Header().Set("Allow", allow)
		x.w.Header().Set("Accept-Post", accepts)
		return nil, nil
	default:
		return nil, newProblem(http.StatusMethodNotAllowed, "", "%s is not allowed here", x.r.Method).with("Allow", allow)
	}
}

// enter lets the request in, or says why not, before any of its body is read:
// a client that waits for 100 Continue need not send it (RFC 9110 §10.1.1).
// Whoever got no error calls leave once.
func (s *Server) enter(x *exchange) (leave func(), err error) {
	select {
	case s.busy <- struct{}{}:
	default:
		s.throttled.Add(1)
		return nil, newProblem(http.StatusServiceUnavailable, "", "too many requests are being worked on")
	}
	free := func() { <-s.busy }
	ctx, cancel := context.WithTimeout(x.r.Context(), s.opt.SinkTimeout)
	defer cancel()
	if err := s.admit(ctx, x); err != nil {
		free()
		return nil, err
	}
	st := s.peers.get(x.peer.Addr())
	if !st.begin(x.opt.MaxRequests) {
		free()
		s.throttled.Add(1)
		return nil, newProblem(http.StatusTooManyRequests, "", "more than %d requests at once from this address", x.opt.MaxRequests)
	}
	return func() { st.end(); free() }, nil
}

// single answers POST /v1/messages.
func (s *Server) single(x *exchange) {
	msg, err := s.receive(x)
	if msg != nil {
		defer msg.release()
	}
	if err != nil {
		s.fail(x, err)
		return
	}
	res := s.submit(x, msg)
	s.logMessage(x, msg, res)
	s.count(res.problem)
	x.writable(s.opt.WriteTimeout)
	if res.problem != nil {
		res.problem.write(x.w, s.opt.RetryAfter)
		return
	}
	writeJSON(x.w, http.StatusAccepted, "application/json", res.answer)
}

// receive reads the message of a request. The message may be there beside an
// error: its memory is to be released.
func (s *Server) receive(x *exchange) (*message, error) {
	kind, params, err := contentType(x.r, singleTypes)
	if err != nil {
		return nil, err
	}
	q, err := parseQuery(x.r, kind)
	if err != nil {
		return nil, err
	}
	key, err := idempotencyKey(x.r)
	if err != nil {
		return nil, err
	}
	if err := s.throttle(x); err != nil {
		return nil, err
	}
	body, err := s.readBody(x, x.opt.MaxMessageSize)
	msg := &message{body: body, key: key}
	if err != nil {
		return msg, err
	}
	switch kind {
	case mcmt.Type:
		err = msg.fromMultipart(x, params, q)
	case typeRFC822:
		err = msg.fromRFC822(x, body.b, q, "")
	default:
		err = msg.fromJSON(s, x, body.b)
	}
	return msg, err
}

// throttle takes one message off the peer's rate.
func (s *Server) throttle(x *exchange) error {
	limiter := s.peers.get(x.peer.Addr()).limiter(x.opt)
	if limiter == nil {
		return nil
	}
	r := limiter.Reserve()
	wait := r.Delay()
	if wait == 0 {
		return nil
	}
	r.Cancel()
	s.throttled.Add(1)
	return newProblem(http.StatusTooManyRequests, "", "more than %g messages a second from this address", x.opt.Rate).
		with("Retry-After", seconds(wait))
}

// writable gives the next writes their time.
func (x *exchange) writable(d time.Duration) {
	_ = x.rc.SetWriteDeadline(time.Now().Add(d))
}

// fail answers a request that was not understood or not let in, and logs it.
func (s *Server) fail(x *exchange, err error) {
	p := asProblem(err)
	s.count(p)
	pause(x.r.Context(), p.delay) // nothing is held meanwhile that others wait for
	x.writable(s.opt.WriteTimeout)
	if x.size == 0 && x.r.Header.Get("Expect") != "" {
		// net/http closes this connection, but would first wait for the body
		// that the client was just told to keep.
		_ = x.rc.SetReadDeadline(longAgo)
	}
	p.write(x.w, s.opt.RetryAfter)
	outcome := "refused"
	if temporary(p.Status) {
		outcome = "deferred"
	}
	event := s.logEvent(x).Int("status", p.Status).Str("outcome", outcome)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		event = event.Bool("cut", true)
	}
	event.AnErr("error", err).Msg("request")
}

// count counts the outcome of one message; nil is stored.
func (s *Server) count(p *problem) {
	switch {
	case p == nil:
		s.accepted.Add(1)
	case temporary(p.Status):
		s.deferred.Add(1)
	default:
		s.refused.Add(1)
	}
}

// logEvent begins a log line with what is known of every request.
func (s *Server) logEvent(x *exchange) *zerolog.Event {
	e := s.opt.Log.Info().Stringer("peer", x.peer).Str("method", x.r.Method).Str("path", x.r.URL.Path)
	if x.proxy.IsValid() {
		e = e.Stringer("proxy", x.proxy)
	}
	if x.user != "" {
		e = e.Str("user", x.user)
	}
	return e.Int64("size", x.size).Dur("took", time.Since(x.start))
}

// logMessage writes the one line of a message that reached the sink.
func (s *Server) logMessage(x *exchange, msg *message, res result) {
	e := s.logEvent(x)
	if msg.line > 0 {
		e = e.Int("line", msg.line)
	}
	outcome, status := "accepted", http.StatusAccepted
	if res.problem != nil {
		status, outcome = res.problem.Status, "refused"
		if temporary(status) {
			outcome = "deferred"
		}
		e = e.AnErr("error", res.problem)
	}
	if res.answer.ID != "" {
		e = e.Str("id", res.answer.ID)
	}
	e.Str("from", msg.from).Int("rcpts", len(msg.to)).Int("refused", res.refused()).
		Int("status", status).Str("outcome", outcome).Msg("message")
}

// pause waits until d has passed or ctx ends, and reports whether ctx is alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
