package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/backoff"
)

// PeerOptions are what holds for a peer. The zero value lets nobody in.
type PeerOptions struct {
	Tokens []Token
	// Local is what a peer on loopback or a Unix socket may do without a token.
	Local Role
	// Guesses bounds the guessing of tokens. nil: nothing does.
	Guesses Guesses
	// Rate is how many requests a second one caller may make in the long run, and
	// Burst how many at once. Zero: there is no bound.
	Rate  float64
	Burst int
}

// Token is a bearer token.
type Token struct {
	Name   string // shows in the audit log
	Secret string // empty: it opens nothing
	Role   Role
}

// Guesses bounds the guessing of tokens by one peer.
type Guesses interface {
	// Admit returns for how long no token is tried; zero: one is.
	Admit() time.Duration
	// Failed counts a wrong one, and returns for how long its answer waits.
	Failed() time.Duration
}

// caller is who has sent a request.
type caller struct {
	name string     // of the token; nobodyAsked where none was needed
	addr netip.Addr // zero: a user on a Unix socket
	role Role
}

// nobodyAsked is the name of callers on this machine without a token.
const nobodyAsked = "local"

// address is where the caller is, as it is logged.
func (c caller) address() string {
	if !c.addr.IsValid() {
		return "unix"
	}
	return c.addr.String()
}

// guard lets operators in. A browser on the operator's machine must not be
// turned against it: a request that names another host (DNS rebinding) or
// comes from another site's page is refused.
func (s *Server) guard(next func(w http.ResponseWriter, r *http.Request, who caller)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, unix := s.peerOf(r)
		o := s.peerOptions(peer)
		who, err := s.identify(r, peer, unix, o)
		if err != nil {
			s.turnAway(w, r, peer, err)
			return
		}
		if wait := s.rates.take(who, o); wait > 0 {
			s.counts.throttled.Add(1)
			tooMany(w, wait, "too many requests: wait as long as Retry-After says")
			return
		}
		if crossSite(r) {
			s.counts.otherSites.Add(1)
			s.o.Log.Warn().Str("who", who.name).Str("peer", who.address()).Str("method", r.Method).Str("path", r.URL.Path).
				Str("origin", r.Header.Get("Origin")).Msg("request of another site refused")
			problem(w, http.StatusForbidden, "requests from another site are refused")
			return
		}
		next(w, r, who)
	})
}

func (s *Server) peerOptions(peer netip.Addr) PeerOptions {
	if s.o.Config == nil {
		return PeerOptions{Local: Operate}
	}
	return s.o.Config(peer)
}

// denied is the error of a caller who is not let in.
type denied struct {
	status int
	detail string
	wait   time.Duration // until the answer to a wrong token, or until one is tried again
	token  bool          // it was one that is wrong
}

func (d *denied) Error() string { return d.detail }

// identify says who has sent a request. The error is *denied.
func (s *Server) identify(r *http.Request, peer netip.Addr, unix bool, o PeerOptions) (caller, error) {
	local := unix || peer.IsLoopback()
	authorization := r.Header.Get("Authorization")
	switch {
	case authorization != "":
		// Also on loopback, where none is needed: the client believes that it
		// matters.
		return byToken(authorization, peer, o)
	case !local:
		return caller{}, &denied{status: http.StatusUnauthorized, detail: "a bearer token is required from this address"}
	case o.Local == Nobody:
		return caller{}, &denied{status: http.StatusUnauthorized, detail: "a bearer token is required"}
	case !unix && !localName(r.Host): // no browser speaks to a Unix socket
		return caller{}, &denied{status: http.StatusForbidden, detail: "the Host header must name this machine by address or as localhost"}
	}
	return caller{nobodyAsked, peer, o.Local}, nil
}

// byToken finds whose token a field carries. The hashes make the comparison take the
// same time whatever the lengths are.
func byToken(authorization string, peer netip.Addr, o PeerOptions) (caller, error) {
	if o.Guesses != nil {
		if wait := o.Guesses.Admit(); wait > 0 {
			return caller{}, &denied{status: http.StatusTooManyRequests, detail: "too many wrong tokens from your address, try again later", wait: wait}
		}
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimSpace(token)
	got, found := sha256.Sum256([]byte(token)), -1
	for i, t := range o.Tokens {
		want := sha256.Sum256([]byte(t.Secret))
		same := subtle.ConstantTimeCompare(want[:], got[:])
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 || token == "" || !strings.EqualFold(scheme, "Bearer") {
		d := &denied{status: http.StatusUnauthorized, detail: "the bearer token is not a good one", token: true}
		if o.Guesses != nil {
			d.wait = o.Guesses.Failed()
		}
		return caller{}, d
	}
	return caller{o.Tokens[found].Name, peer, o.Tokens[found].Role}, nil
}

// turnAway answers a caller who is not let in, who waits for it where that was for a
// wrong token.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, peer netip.Addr, err error) {
	d, ok := errors.AsType[*denied](err)
	if !ok {
		d = &denied{status: http.StatusForbidden, detail: "not allowed"}
	}
	s.counts.denied(d)
	if d.token {
		s.o.Log.Warn().Str("peer", caller{addr: peer}.address()).Str("method", r.Method).Str("path", r.URL.Path).Msg("wrong token")
		if !backoff.Wait(r.Context(), d.wait) {
			return // nobody waits for the answer
		}
	}
	switch d.status {
	case http.StatusTooManyRequests:
		tooMany(w, d.wait, d.detail)
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="mcmt2xmpp"`)
		problem(w, d.status, d.detail)
	default:
		problem(w, d.status, d.detail)
	}
}

// tooMany answers who is to come back later (RFC 6585 §4).
func tooMany(w http.ResponseWriter, wait time.Duration, detail string) {
	w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))))
	problem(w, http.StatusTooManyRequests, detail)
}

// crossSite reports whether a page of another site has had the browser send the
// request. Who follows another site's link to one of our pages may: that site does
// not see the page, and nothing changes by it.
func crossSite(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
			return true
		}
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	return r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

// peerOf returns who has sent a request, or the zero Addr and true for a local user on a
// Unix socket.
func (s *Server) peerOf(r *http.Request) (addr netip.Addr, unix bool) {
	addr, unix = connOf(r)
	fields := r.Header.Values("X-Forwarded-For")
	if s.o.Forwarded == nil || len(fields) == 0 {
		return addr, unix
	}
	client := s.o.Forwarded(addr, fields)
	return client, unix && client.IsLoopback()
}

// connOf is peerOf for the connection.
func connOf(r *http.Request) (addr netip.Addr, unix bool) {
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok && local != nil {
		return netip.Addr{}, true
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	return ap.Addr().Unmap().WithZone(""), false
}

// localName reports whether a Host header names this machine in a way that no
// DNS server can make up.
func localName(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true
	}
	return strings.EqualFold(strings.TrimSuffix(host, "."), "localhost")
}
