package smtpd

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// auth checks AUTH (RFC 4954 §4): order and encoding; go-smtp runs the exchange.
func (s *session) auth(arg string) string {
	f := strings.Fields(arg)
	switch {
	case s.opt.Authenticator == nil:
		s.send("502 5.5.1 AUTH is not available")
		return ""
	case s.hello == "":
		s.send("503 5.5.1 EHLO first")
		return ""
	case s.tx.begun:
		s.send("503 5.5.1 AUTH within a transaction")
		return ""
	case s.user != "":
		s.send("503 5.5.1 already authenticated")
		return ""
	case len(f) == 0 || len(f) > 2:
		s.send("501 5.5.4 expected AUTH mechanism [initial-response]")
		return ""
	case s.tls == nil && !s.opt.AllowAuthWithoutTLS:
		s.send("538 5.7.11 encryption required, use STARTTLS")
		return ""
	}
	if len(f) == 2 && f[1] != "=" {
		if _, err := base64.StdEncoding.DecodeString(f[1]); err != nil {
			s.send("501 5.5.2 cannot decode initial response")
			return ""
		}
	}
	return "AUTH " + arg + "\r\n"
}

const (
	plain = "PLAIN"
	login = "LOGIN"
)

// AuthMechanisms names the mechanisms for EHLO. go-smtp asks only where AUTH is
// allowed. LOGIN is added to PLAIN, for clients that know nothing else.
func (s *session) AuthMechanisms() []string {
	if s.opt.Authenticator == nil {
		return nil
	}
	names := slices.Clone(s.opt.Authenticator.Mechanisms(s.tls))
	if slices.Contains(names, plain) && !slices.Contains(names, login) {
		names = append(names, login)
	}
	return names
}

// Auth begins an exchange.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	if !slices.Contains(s.AuthMechanisms(), mechanism) {
		return nil, &smtp.SMTPError{Code: 504, EnhancedCode: smtp.EnhancedCode{5, 5, 4}, Message: "mechanism is not offered"}
	}
	base := mechanism
	if mechanism == login && !slices.Contains(s.opt.Authenticator.Mechanisms(s.tls), login) {
		base = plain
	}
	ctx, cancel := context.WithCancel(s.hard)
	s.cancel = cancel
	x, err := s.opt.Authenticator.Start(ctx, base, s.tls)
	if err != nil {
		return nil, s.authFailed(mechanism, err)
	}
	if base != mechanism {
		x = &loginExchange{Exchange: x}
	}
	return &exchange{session: s, mechanism: mechanism, x: x}, nil
}

// endAuth ends the context of the last exchange, whether it came to its end or
// the peer broke it off.
func (s *session) endAuth() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
}

// exchange is an Exchange as go-smtp runs it.
type exchange struct {
	session   *session
	mechanism string
	x         Exchange
	proven    bool // only the empty response to the last challenge is missing
}

// Next makes one step and notes the outcome.
func (e *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	if e.proven {
		if len(response) > 0 {
			return nil, false, e.session.authFailed(e.mechanism, errors.New("response after the last challenge"))
		}
		return nil, true, e.session.authSucceeded(e.mechanism, e.x.Username())
	}
	challenge, done, err = e.step(response)
	switch {
	case err != nil:
		return nil, false, e.session.authFailed(e.mechanism, err)
	case done && len(challenge) > 0:
		// RFC 4954 §4: success carries no data, so the mechanism's last word
		// is a challenge. go-smtp would drop it, and with it the server's
		// proof in SCRAM.
		e.proven = true
		return challenge, false, nil
	case done:
		return nil, true, e.session.authSucceeded(e.mechanism, e.x.Username())
	}
	return challenge, false, nil
}

// step calls the mechanism; a panic in it is a temporary failure.
func (e *exchange) step(response []byte) (challenge []byte, done bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			e.session.panicked(p)
			challenge, done, err = nil, false, errPanic
		}
	}()
	return e.x.Next(response)
}

// authSucceeded makes name the session's user.
func (s *session) authSucceeded(mechanism, name string) error {
	if name == "" {
		return s.authFailed(mechanism, errors.New("mechanism proved no name"))
	}
	s.user = name
	s.srv.count.authSucceeded.Add(1)
	s.log.Info().Str("mechanism", mechanism).Str("user", name).Str("outcome", "accepted").Msg("auth")
	s.say = "235 2.7.0 authentication succeeded"
	return nil
}

// authFailed notes a failure and makes the reply. The peer learns nothing but
// that it failed; the last failure it may have ends the connection.
func (s *session) authFailed(mechanism string, err error) error {
	s.log.Info().Err(err).Str("mechanism", mechanism).Str("outcome", "failed").Msg("auth")
	if guess, ok := errors.AsType[*AuthError](err); ok {
		if guess.Refused {
			s.srv.count.limitGuess.Add(1)
		}
		pause(s.soft, guess.Delay)
	}
	if temporary(err) {
		return &smtp.SMTPError{Code: 454, EnhancedCode: smtp.EnhancedCode{4, 7, 0}, Message: "temporary authentication failure"}
	}
	s.srv.count.authFailed.Add(1)
	if s.failures++; s.failures >= s.srv.opt.MaxAuthFailures {
		s.srv.count.limitAuth.Add(1)
		s.after = "421 4.7.0 " + s.srv.opt.Hostname + " too many failed authentications, closing connection"
	}
	return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "authentication failed"}
}

// panicError is a panic of a mechanism.
type panicError struct{}

func (panicError) Error() string   { return "panic in the mechanism" }
func (panicError) Temporary() bool { return true }

var errPanic error = panicError{}

// loginExchange plays LOGIN (draft-murchison-sasl-login) on top of PLAIN
// (RFC 4616): it asks for name and password, and gives them to PLAIN in one
// message.
type loginExchange struct {
	Exchange
	asked bool
	name  *string
}

// Next asks for the name, then for the password.
func (l *loginExchange) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case strings.IndexByte(string(response), 0) >= 0:
		return nil, false, errors.New("login: NUL in name or password")
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case l.name == nil:
		l.asked = true
		name := string(response)
		l.name = &name
		return []byte("Password:"), false, nil
	}
	_, done, err = l.Exchange.Next([]byte("\x00" + *l.name + "\x00" + string(response)))
	if err == nil && !done {
		return nil, false, errors.New("login: plain wants more than name and password")
	}
	return nil, done, err
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
