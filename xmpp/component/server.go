// Package component lets external components join: programs that are a domain of their
// own, such as a gateway to another network (XEP-0114, the server's side of accept).
//
//	server.go   who may join, and one connection from its first byte to its last
//	remote.go   what the router asks: the stream of a domain, its queue
//	session.go  the stream that has joined; stats.go what is counted
package component

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// ConnOptions hold for one connection, and may differ by where it comes from.
type ConnOptions struct {
	// TLS has the connection begin with TLS: the component protocol has nothing to ask
	// for it. Nil: clear text.
	TLS *tls.Config
	// IdleTime is the silence after which a component is pinged. Zero: never.
	IdleTime time.Duration
	// Limits of the stream; zero fields mean the defaults.
	Limits stream.Limits
}

// Options are what a server is made of. Connection, Domains, Receive and Host are
// needed.
type Options struct {
	// Connection says what holds for a connection from addr.
	Connection func(addr net.Addr) ConnOptions
	// Domains are those that may join, shared by the servers of the process.
	Domains *Domains
	// Receive takes what a component sends. It may block for a while: the stream is not
	// read meanwhile.
	Receive func(ctx context.Context, st *stanza.Stanza)
	// Host is who pings a component: one of our domains.
	Host jid.JID
	// Slots and PerAddress are those of [stream.Door].
	Slots      stream.Slots
	PerAddress int
	// ProofTime is how long a component that has answered pings may take to answer one.
	// Zero: 30 s.
	ProofTime time.Duration
	Log       zerolog.Logger
	// Observer sees the stanzas of all connections. Nil: nobody looks.
	Observer stream.Observer
}

// Server serves components, on any number of listeners.
type Server struct {
	o     Options
	door  stream.Door
	stats counters
}

// New returns a server; Serve makes it work.
func New(o Options) *Server {
	if o.ProofTime <= 0 {
		o.ProofTime = 30 * time.Second
	}
	return &Server{o: o, door: stream.Door{Slots: o.Slots, PerAddress: o.PerAddress}}
}

// Serve accepts connections from ln until ctx ends. Then it closes ln, ends every stream
// with system-shutdown, and returns when the last is gone. The error is that of ln where
// it fails before.
func (v *Server) Serve(ctx context.Context, ln net.Listener) error {
	err := v.door.Serve(ctx, ln, func(ctx context.Context, conn net.Conn, _ func(func())) { v.handle(ctx, conn) })
	if err != nil {
		return fmt.Errorf("component: %w", err)
	}
	return nil
}

// handle is the life of one connection. A bug that it brings out does not take the process
// with it.
func (v *Server) handle(ctx context.Context, conn net.Conn) {
	log := v.o.Log.With().Stringer("peer", conn.RemoteAddr()).Logger()
	free := sync.OnceFunc(v.door.Free)
	defer free()
	v.stats.open.Add(1)
	defer v.stats.open.Add(-1)
	o := v.o.Connection(conn.RemoteAddr())
	s := stream.New(conn, stream.Options{
		Content: stanza.Component, Receiving: true, Serves: v.o.Domains.Serves, Limits: o.Limits, Wire: stream.WireLog(log), Observer: v.o.Observer,
		Throttled: func(time.Duration) { v.stats.throttled.Add(1) },
	})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := v.newSession(s, o, cancel, log)
	ended := false
	defer func() {
		p := recover()
		c.drop()
		if p != nil {
			log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("bug: connection dropped")
		}
		if !ended {
			_ = s.Abort()
		}
	}()
	leave, err := v.door.Admit(conn.RemoteAddr())
	defer leave()
	if err == nil {
		err = c.negotiate(ctx)
	}
	free()
	if err == nil {
		err = c.run(ctx)
	} else {
		c.log.Info().Str("reason", stream.Reason(err, "component")).Msg("component refused")
	}
	v.stats.ended(err)
	ended = true
	if o.TLS != nil && s.TLS() == nil {
		_ = s.Hangup(context.WithoutCancel(ctx)) // a stream error is nothing that the component can read
		return
	}
	_ = s.End(context.WithoutCancel(ctx), err)
}

// negotiate brings a connection to a stream that has joined.
func (c *session) negotiate(ctx context.Context) error {
	if c.o.TLS != nil {
		if err := c.s.UpgradeTLS(ctx, c.o.TLS); err != nil {
			return fmt.Errorf("tls: handshake: %w", err)
		}
	}
	return c.s.AcceptComponent(ctx, c.v.o.Domains.secret, func(domain jid.JID) error {
		c.joins(domain)
		return c.v.o.Domains.join(c)
	})
}

// drop takes the component out, if it was in, whatever has become of its stream.
func (c *session) drop() {
	if !c.domain.IsZero() {
		c.v.o.Domains.leave(c)
		c.pings.Close()
	}
}

// run takes what the component sends until the stream ends.
func (c *session) run(ctx context.Context) error {
	c.log.Info().Str("sid", c.s.ID()).Msg("component joined")
	c.v.stats.joined.Add(1)
	c.v.stats.components.Add(1)
	defer c.v.stats.components.Add(-1)
	c.v.o.Domains.joined(c)
	err := c.read(ctx)
	c.drop()
	c.log.Info().Str("reason", stream.Reason(err, "component")).Msg("component left")
	return err
}

func (c *session) read(ctx context.Context) error {
	c.pings.Probe() // whether it answers shall be known when it matters
	for {
		e, err := c.s.Receive(ctx, c.deadline())
		if stream.IsTimeout(err) && ctx.Err() == nil {
			c.probe()
			continue
		}
		if err != nil {
			return err
		}
		st, err := stanza.Parse(e)
		if st == nil {
			return &stream.Error{Condition: stream.UnsupportedStanzaType} // RFC 6120 §4.9.3.24
		}
		c.v.stats.received.Add(1)
		if err := c.take(ctx, st, err); err != nil {
			return err
		}
	}
}

// take deals with one stanza; bad is what is wrong with it. XEP-0114 §3: both addresses
// are there, and the sender is in the domain that has joined.
func (c *session) take(ctx context.Context, st *stanza.Stanza, bad error) error {
	var refused *stanza.Error
	switch {
	case st.From.Domain() != c.domain.Domain():
		return &stream.Error{Condition: stream.InvalidFrom} // RFC 6120 §4.9.3.9
	case errors.As(bad, &refused):
		c.answer(ctx, st.ErrorReply(refused))
	case st.To.IsZero():
		return &stream.Error{Condition: stream.ImproperAddressing} // RFC 6120 §4.9.3.7
	case !c.pings.Answered(st):
		c.v.o.Receive(ctx, st)
	}
	return nil
}
