package c2s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// handle is the life of one connection. A slot is taken for it, which it gives
// back when the negotiation is over.
func (v *Server) handle(ctx context.Context, conn net.Conn) {
	v.stats.open.Add(1)
	defer v.stats.open.Add(-1)
	log := v.o.Log.With().Stringer("peer", conn.RemoteAddr()).Logger()
	free := sync.OnceFunc(func() {
		if v.o.Slots != nil {
			v.o.Slots.Release()
		}
	})
	defer free()
	o := v.o.Connection(conn.RemoteAddr())
	s := stream.New(conn, stream.Options{
		Receiving: true, Serves: v.o.Router.Serves, Limits: o.Limits, Wire: wire(log),
	})
	defer func() {
		// One connection must not take the process, and everybody's messages, with it.
		if p := recover(); p != nil {
			_ = s.Abort()
			log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("bug: connection dropped")
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave, err := v.admit(conn.RemoteAddr())
	defer leave()

	var c *session
	if err == nil {
		v.stats.negotiating.Add(1)
		c, err = v.negotiate(ctx, cancel, s, o, log)
		v.stats.negotiating.Add(-1)
	}
	free()
	if err == nil {
		err = v.serve(ctx, c)
	} else {
		level := zerolog.InfoLevel
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			level = zerolog.DebugLevel // a port scan, or a client that thought better of it
		}
		log.WithLevel(level).Str("reason", reason(err)).Msg("connection ended before a session")
	}
	v.stats.ended(err)
	if o.Direct && s.TLS() == nil {
		_ = s.Abort() // a stream error in clear text is nothing that the client can read
		return
	}
	// Whatever ended ctx, saying so and closing has a deadline of its own.
	_ = s.End(context.WithoutCancel(ctx), err)
}

// serve runs a bound session to its end.
func (v *Server) serve(ctx context.Context, c *session) error {
	v.stats.logins.Add(1)
	v.stats.sessions.Add(1)
	defer v.stats.sessions.Add(-1)
	defer c.unbind() // run has done it, unless it panicked
	c.opened()
	err := c.run(ctx)
	c.log.Info().Str("reason", reason(err)).Dur("after", time.Since(c.began)).
		Uint64("received", c.received).Uint64("sent", c.sent.Load()).Msg("session ended")
	return err
}

// negotiate brings the connection to a bound session, which is registered with
// the router.
func (v *Server) negotiate(ctx context.Context, end context.CancelCauseFunc, s *stream.Stream, o ConnOptions, log zerolog.Logger) (*session, error) {
	switch {
	case o.Direct && o.TLS == nil:
		return nil, errors.New("tls: no certificate")
	case o.Direct:
		cfg := o.TLS.Clone()
		cfg.NextProtos = []string{"xmpp-client"} // XEP-0368 §2.1, and no other protocol's bytes
		if err := s.UpgradeTLS(ctx, cfg); err != nil {
			return nil, fmt.Errorf("tls: handshake: %w", err)
		}
	}
	login := &stream.SASL{
		Offer: sasl.Offer{
			Store: o.Accounts, Digest: o.Digest, AllowPlainWithoutTLS: o.AllowPlainWithoutTLS,
			Secret: v.o.Secret, Iterations: v.o.Iterations,
		},
		RequireTLS: o.TLSRequired, Tries: o.Tries, Delay: o.FailureDelay,
		Failed: func(mechanism string, err error) {
			v.stats.failedLogins.Add(1)
			log.Warn().Str("mechanism", mechanism).Err(err).Msg("login failed")
		},
	}
	var c *session
	bind := &stream.Bind{Assign: func(ctx context.Context, s *stream.Stream, full jid.JID) (err error) {
		c, err = v.assign(ctx, s, full, o, end, log)
		return err
	}}
	err := s.Accept(ctx, stream.StartTLS{Config: o.TLS, Required: o.TLSRequired},
		login, stream.Bindings{SASL: login}, bind, stream.Session{}, rosterVersions{v}, preApproval{v})
	if err != nil {
		if c != nil {
			c.unbind()
		}
		return nil, err
	}
	return c, nil
}

// assign makes the session and binds it. A client with a session of the same
// name takes it over: that one is likely a connection that died without our
// knowledge (RFC 6120 §7.7.2.2).
func (v *Server) assign(ctx context.Context, s *stream.Stream, full jid.JID, o ConnOptions, end context.CancelCauseFunc, log zerolog.Logger) (*session, error) {
	c := newSession(v, s, full, o, end, log)
	if old, ok := v.o.Router.Session(full).(*session); ok {
		old.retire(ctx)
	}
	if err := v.o.Router.Bind(c); err != nil {
		if errors.Is(err, router.ErrTooManySessions) {
			// §7.6.2.1: the account has reached its limit.
			return nil, &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "too many sessions"}
		}
		return nil, err
	}
	return c, nil
}

// reason is why a connection ended, in the words of the log.
func reason(err error) string {
	switch {
	case err == nil:
		return "closed"
	case errors.Is(err, io.EOF):
		return "closed by the client"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "connection lost"
	}
	return err.Error()
}
