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

// handle is the life of one connection, and of its session while that waits for
// another. A slot is taken for it, which it gives back when the negotiation is over.
func (v *Server) handle(ctx context.Context, conn net.Conn) {
	log := v.o.Log.With().Stringer("peer", conn.RemoteAddr()).Logger()
	var c *session
	var wake chan struct{}
	survive(log, func() { c, wake = v.connection(ctx, conn, log) }, func() { _ = conn.Close() })
	if wake != nil {
		survive(log, func() { v.hibernate(ctx, c, wake) }, c.unbind)
	}
}

// survive keeps a bug that one connection brings out from taking the process, and
// everybody's messages, with it.
func survive(log zerolog.Logger, f, otherwise func()) {
	defer func() {
		if p := recover(); p != nil {
			otherwise()
			log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("bug: connection dropped")
		}
	}()
	f()
}

// connection negotiates, and runs the session. It returns a session that is
// suspended with what letGo has made.
func (v *Server) connection(ctx context.Context, conn net.Conn, log zerolog.Logger) (c *session, wake chan struct{}) {
	v.stats.open.Add(1)
	defer v.stats.open.Add(-1)
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
	closed := false
	defer func() {
		if !closed {
			_ = s.Abort() // a panic
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave, err := v.admit(conn.RemoteAddr())
	defer leave()

	n := negotiation{v: v, s: s, o: o, log: log, by: newCarrier(cancel)}
	if err == nil {
		v.stats.negotiating.Add(1)
		err = n.run(ctx)
		v.stats.negotiating.Add(-1)
	}
	free()
	if err == nil {
		if n.resumed {
			n.c.log = log.With().Stringer("jid", n.c.full).Logger() // it has another peer now
		}
		wake, err = v.serve(ctx, n.c, n.resumed)
	} else {
		level := zerolog.InfoLevel
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			level = zerolog.DebugLevel // a port scan, or a client that thought better of it
		}
		log.WithLevel(level).Str("reason", reason(err)).Msg("connection ended before a session")
	}
	v.stats.ended(err)
	closed = true
	if o.Direct && s.TLS() == nil {
		_ = s.Abort() // a stream error in clear text is nothing that the client can read
		return n.c, wake
	}
	// Whatever ended ctx, saying so and closing has a deadline of its own.
	_ = s.End(context.WithoutCancel(ctx), err)
	return n.c, wake
}

// serve runs a session to the end of the connection.
func (v *Server) serve(ctx context.Context, c *session, resumed bool) (wake chan struct{}, err error) {
	v.stats.sessions.Add(1)
	defer v.stats.sessions.Add(-1)
	defer func() {
		if wake == nil {
			c.unbind() // run has done it, unless it panicked
		}
	}()
	if resumed {
		v.stats.resumed.Add(1)
		c.log.Info().Str("sid", c.s.ID()).Msg("session resumed")
		c.active(ctx)
		c.changed()
	} else {
		v.stats.logins.Add(1)
		c.opened()
	}
	log := c.log // a connection that carries the session on changes it
	wake, err = c.run(ctx)
	if wake == nil {
		c.tellEnd(reason(err))
	} else {
		log.Info().Str("reason", reason(err)).Msg("session suspended")
	}
	return wake, err
}

// negotiation brings a connection to a session that is registered with the router.
type negotiation struct {
	v   *Server
	s   *stream.Stream
	o   ConnOptions
	log zerolog.Logger
	by  *carrier

	c       *session // nil: not yet
	resumed bool     // it is that of a former connection
}

func (n *negotiation) run(ctx context.Context) error {
	switch {
	case n.o.Direct && n.o.TLS == nil:
		return errors.New("tls: no certificate")
	case n.o.Direct:
		cfg := n.o.TLS.Clone()
		cfg.NextProtos = []string{"xmpp-client"} // XEP-0368 §2.1, and no other protocol's bytes
		if err := n.s.UpgradeTLS(ctx, cfg); err != nil {
			return fmt.Errorf("tls: handshake: %w", err)
		}
	}
	login := n.login()
	manage := new(stream.Management)
	if n.o.ResumeTime >= time.Second {
		manage.Resume = n.resume
	}
	err := n.s.Accept(ctx, stream.StartTLS{Config: n.o.TLS, Required: n.o.TLSRequired},
		login, stream.Bindings{SASL: login}, &stream.Bind{Assign: n.assign}, stream.Session{}, rosterVersions{n.v}, preApproval{n.v}, caps{n.v}, clientState{n.o}, manage)
	if err != nil && n.c != nil {
		n.c.unbind()
	}
	return err
}

func (n *negotiation) login() *stream.SASL {
	return &stream.SASL{
		Offer: sasl.Offer{
			Store: n.o.Accounts, Digest: n.o.Digest, AllowPlainWithoutTLS: n.o.AllowPlainWithoutTLS,
			Secret: n.v.o.Secret, Iterations: n.v.o.Iterations,
		},
		RequireTLS: n.o.TLSRequired, Tries: n.o.Tries, Delay: n.o.FailureDelay,
		Failed: func(mechanism string, err error) {
			n.v.stats.failedLogins.Add(1)
			n.log.Warn().Str("mechanism", mechanism).Err(err).Msg("login failed")
		},
	}
}

// assign makes the session and binds it. A client with a session of the same
// name takes it over: that one is likely a connection that died without our
// knowledge (RFC 6120 §7.7.2.2).
func (n *negotiation) assign(ctx context.Context, s *stream.Stream, full jid.JID) error {
	c := newSession(n.v, s, full, n.o, n.by, n.log)
	// Of this process or of another one.
	if old, ok := n.v.o.Router.Session(full).(interface{ Retire(ctx context.Context) }); ok {
		old.Retire(ctx)
	}
	err := n.v.o.Router.Bind(c)
	if errors.Is(err, router.ErrTooManySessions) {
		// A client that does not come back must not keep its own account out.
		if old := n.v.o.Hibernation.oldest(full.Bare()); old != nil {
			old.lapse()
			old.unbind()
			err = n.v.o.Router.Bind(c)
		}
	}
	switch {
	case errors.Is(err, router.ErrTooManySessions):
		// §7.6.2.1: the account has reached its limit.
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "too many sessions"}
	case err != nil:
		return err
	}
	n.c = c
	return nil
}

// resume finds the session that the client wants to resume among those of its
// account (XEP-0198 §5): nobody can take over that of another.
func (n *negotiation) resume(ctx context.Context, s *stream.Stream, previd string, h uint32) error {
	bare := s.User()
	for _, other := range n.v.o.Router.Sessions(bare) {
		c, ok := other.(*session)
		if !ok || !c.named(previd) {
			continue
		}
		err := c.carryOn(ctx, s, n.by, n.o, h)
		if err == nil {
			n.c, n.resumed = c, true
			return nil
		}
		if !errors.Is(err, errLate) {
			n.v.stats.resumeFailed.Add(1)
			n.log.Info().Stringer("jid", bare).Err(err).Msg("resumption refused")
			return err
		}
	}
	n.v.stats.resumeFailed.Add(1)
	why := "the session is over"
	if !n.v.o.Hibernation.ours(previd) {
		why = "the session is none of this process, or from before its start"
	}
	n.log.Info().Stringer("jid", bare).Str("reason", why).Msg("resumption refused")
	handled, known := n.v.o.Hibernation.recall(previd, bare)
	if !known {
		handled, known = n.v.handledElsewhere(ctx, previd, bare)
	}
	return &stream.Failed{Condition: errLate.Condition, H: handled, Known: known}
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
