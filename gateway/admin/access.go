package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard lets operators in. A browser on the operator's machine must not be
// turned against it: a request that names another host (DNS rebinding) or
// comes from another site's page is refused.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, unix := s.peerOf(r)
		local := unix || peer.IsLoopback()
		switch authorization := r.Header.Get("Authorization"); {
		case s.authorized(peer, authorization):
		case authorization != "":
			// Also on loopback, where none is needed: the client believes that
			// it matters.
			unauthorized(w, "the bearer token is not a good one")
			return
		case !local:
			unauthorized(w, "a bearer token is required from this address")
			return
		case !unix && !localName(r.Host): // no browser speaks to a Unix socket
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

// authorized reports whether the field carries one of the peer's tokens. The
// hashes make the comparison take the same time whatever the lengths are.
func (s *Server) authorized(peer netip.Addr, authorization string) bool {
	scheme, token, _ := strings.Cut(authorization, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || s.o.Tokens == nil {
		return false
	}
	got, found := sha256.Sum256([]byte(token)), 0
	for _, t := range s.o.Tokens(peer) {
		want := sha256.Sum256([]byte(t))
		found |= subtle.ConstantTimeCompare(want[:], got[:])
	}
	return found == 1
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

func unauthorized(w http.ResponseWriter, detail string) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="mcmt2xmpp"`)
	problem(w, http.StatusUnauthorized, detail)
}
