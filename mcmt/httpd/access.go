package httpd

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrDenied is what an Authenticator answers for wrong credentials.
var ErrDenied error = denied{}

type denied struct{}

func (denied) Error() string   { return "wrong credentials" }
func (denied) Temporary() bool { return false }

// Tokens is an Authenticator of bearer tokens alone. Whoever shows one of them is
// the user "bearer".
type Tokens []string

// Basic answers ErrDenied.
func (Tokens) Basic(context.Context, string, string) (string, error) { return "", ErrDenied }

// Bearer compares with every token, in a time that does not depend on how many
// characters are right, nor on which token it is.
func (t Tokens) Bearer(_ context.Context, token string) (string, error) {
	got, found := sha256.Sum256([]byte(token)), 0
	for _, want := range t {
		sum := sha256.Sum256([]byte(want))
		found |= subtle.ConstantTimeCompare(got[:], sum[:])
	}
	if found == 0 || token == "" {
		return "", ErrDenied
	}
	return "bearer", nil
}

// admit decides whether the peer may post, and fills in who it is.
func (s *Server) admit(ctx context.Context, x *exchange) error {
	if x.opt.Deny {
		return newProblem(http.StatusForbidden, "", "this address may not post here")
	}
	if err := checkOrigin(x.r, x.opt.Origins); err != nil {
		return err
	}
	authorization := x.r.Header.Values("Authorization")
	open := x.peer.Addr().IsLoopback() || x.opt.Trusted
	switch {
	case len(authorization) > 1:
		return newProblem(http.StatusBadRequest, "header Authorization", "the field is there %d times", len(authorization))
	case len(authorization) == 1:
		return s.authenticate(ctx, x, authorization[0])
	case open:
		return nil
	case !confidential(x):
		return newProblem(http.StatusForbidden, "", "this address is not in relay_hosts, and credentials are taken under TLS only")
	default:
		return challenge("credentials are needed from this address")
	}
}

// authenticate checks the credentials of the Authorization field. Wrong ones are
// refused even where none were needed: the client believes they matter.
func (s *Server) authenticate(ctx context.Context, x *exchange, field string) error {
	if !confidential(x) {
		return newProblem(http.StatusForbidden, "header Authorization", "credentials are taken under TLS only")
	}
	if x.opt.Authenticator == nil {
		return challenge("no credentials are known here")
	}
	logins := s.peers.get(x.peer.Addr())
	if !logins.mayLogin(s.opt.MaxFailedLogins) {
		s.guarded.Add(1)
		return tooManyLogins(time.Minute)
	}
	name, err := checkCredentials(ctx, x.opt.Authenticator, field)
	guess, guarded := errors.AsType[*AuthError](err)
	var verdict interface{ Temporary() bool }
	switch {
	case err == nil:
		x.user = name
		return nil
	case guarded && guess.Refused:
		s.guarded.Add(1)
		return tooManyLogins(guess.RetryAfter).because(err)
	case guarded && !guess.Temporary():
		s.authFailed.Add(1)
		return challenge("the credentials are not good").because(err).after(guess.Delay)
	case errors.As(err, &verdict) && !verdict.Temporary():
		logins.loginFailed()
		s.authFailed.Add(1)
		return challenge("the credentials are not good").because(err)
	default:
		return newProblem(http.StatusServiceUnavailable, "header Authorization", "credentials cannot be checked now").because(err)
	}
}

// tooManyLogins refuses credentials unseen (RFC 6585 §4). It does not say whether it is
// for the name or for the address.
func tooManyLogins(after time.Duration) *problem {
	return newProblem(http.StatusTooManyRequests, "header Authorization", "too many wrong credentials, try again later").
		with("Retry-After", seconds(max(after, time.Second)))
}

// checkCredentials hands the credentials to the Authenticator. A field that
// cannot be read is as wrong as a wrong password.
func checkCredentials(ctx context.Context, a Authenticator, field string) (string, error) {
	scheme, rest, _ := strings.Cut(field, " ")
	rest = strings.Trim(rest, " ")
	switch {
	case strings.EqualFold(scheme, "Bearer"):
		return a.Bearer(ctx, rest)
	case strings.EqualFold(scheme, "Basic"):
		b, err := base64.StdEncoding.DecodeString(rest)
		user, password, ok := strings.Cut(string(b), ":")
		if err != nil || !ok || user == "" || !utf8.Valid(b) {
			return "", ErrDenied
		}
		return a.Basic(ctx, user, password)
	default:
		return "", ErrDenied
	}
}

// challenge asks for credentials (RFC 9110 §11.6.1).
func challenge(detail string) *problem {
	return newProblem(http.StatusUnauthorized, "header Authorization", "%s", detail).
		with("WWW-Authenticate", `Basic realm="mcmt2xmpp", charset="UTF-8"`).
		with("WWW-Authenticate", `Bearer realm="mcmt2xmpp"`)
}

// confidential reports whether a secret may travel here. Behind a proxy it has come two
// ways: the one to the proxy is the proxy's to tell of.
func confidential(x *exchange) bool {
	switch {
	case x.r.TLS != nil || x.opt.AllowPlainWithoutTLS:
		return true
	case x.proxy.IsValid():
		protos := x.r.Header.Values("X-Forwarded-Proto")
		return x.proxy.Addr().IsLoopback() && len(protos) == 1 && strings.EqualFold(protos[0], "https")
	}
	return x.peer.Addr().IsLoopback()
}

// checkOrigin refuses requests that a web page made without being ours or on the
// list. Loopback is open to every program of this machine, and a browser is one
// that runs strangers' code.
func checkOrigin(r *http.Request, allowed []string) error {
	refusal := newProblem(http.StatusForbidden, "header Origin", "web pages of other origins may not post here")
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
			refusal.Where = "header Sec-Fetch-Site"
			return refusal
		}
		return nil
	}
	if len(origins) > 1 {
		return refusal
	}
	if slices.ContainsFunc(allowed, func(o string) bool { return strings.EqualFold(o, origins[0]) }) {
		return nil
	}
	// Host is compared only where it is no name: a name can be made to point
	// here (DNS rebinding), and then Origin and Host agree on the attacker's.
	u, err := url.Parse(origins[0])
	if err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
		return refusal
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !strings.EqualFold(u.Hostname(), "localhost") {
		return refusal
	}
	return nil
}
