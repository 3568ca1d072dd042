package c2s

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// errGone is the error of what is asked of a session that is over.
var errGone = errors.New("session is over")

// unavailable stands for the priority of a session that is not available.
const unavailable = 1 << 16

// session is one bound resource. It is a router.Session: what the router calls is
// safe for concurrent use, the rest belongs to the goroutine of run.
type session struct {
	server *Server
	s      *stream.Stream
	out    *stream.Writer
	full   jid.JID
	idle   time.Duration
	began  time.Time
	log    zerolog.Logger
	end    context.CancelCauseFunc
	ready  chan struct{} // closed when the answer to bind is queued
	ended  chan struct{} // closed when run is over
	once   sync.Once     // of unbind

	shows    shows    // see presence.go
	contacts contacts // see roster.go
	sent     atomic.Uint64

	// Only run touches these.
	received uint64
	pinged   time.Time // when silence was last probed

	proofs proofs
}

func newSession(v *Server, s *stream.Stream, full jid.JID, o ConnOptions, end context.CancelCauseFunc, log zerolog.Logger) *session {
	c := &session{
		server: v, s: s, out: s.Writer(), full: full, idle: o.IdleTime, began: time.Now(), end: end,
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	c.log = log.With().Stringer("jid", full).Logger()
	c.shows.priority.Store(unavailable)
	c.proofs.c = c
	return c
}

// JID is the full JID.
func (c *session) JID() jid.JID { return c.full }

// Priority is that of the last presence (RFC 6121 §4.7.2.3).
func (c *session) Priority() (p int8, available bool) {
	n := c.shows.priority.Load()
	if n == unavailable {
		return 0, false
	}
	return int8(n), true
}

// Send queues a stanza. A client that does not read for so long that its queue
// stays full is disconnected, because whoever sends to it would wait as long each time.
func (c *session) Send(ctx context.Context, st *stanza.Stanza) error {
	select {
	case <-c.ready:
	default:
		// A client may not get a stanza before it knows its address.
		select {
		case <-c.ready:
		case <-c.ended:
			return errGone
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := c.out.SendStanza(ctx, st)
	switch {
	case err == nil:
		c.sent.Add(1)
		c.server.stats.sent.Add(1)
	case errors.Is(err, stream.ErrSlow) && ctx.Err() == nil:
		c.end(&stream.Error{Condition: stream.ResourceConstraint, Text: "you do not read"})
	}
	return err
}

// SendKept is Send: a session that has ended is not resumed.
func (c *session) SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	return false, c.Send(ctx, st)
}

// Close ends the session. The goroutine of run does it.
func (c *session) Close(reason *stream.Error) {
	if reason == nil {
		c.end(nil)
		return
	}
	c.end(reason)
}

// opened lets stanzas in and says so in the log.
func (c *session) opened() {
	close(c.ready)
	version := "none"
	if t := c.s.TLS(); t != nil {
		version = tls.VersionName(t.Version)
	}
	c.log.Info().Str("sid", c.s.ID()).Str("mechanism", c.s.Mechanism()).Str("tls", version).Msg("session opened")
}

// unbind makes the session unreachable and ends all waiting for it. Only the
// first call does anything.
func (c *session) unbind() {
	c.once.Do(func() {
		c.server.o.Router.Unbind(c)
		close(c.ended)
		c.proofs.close()
	})
}

// run carries the client's stanzas until the stream ends. The error says how: an
// *stream.Error is still to be sent.
func (c *session) run(ctx context.Context) error {
	err := c.read(ctx)
	// First nobody finds the session, then those who had presence from it learn
	// that it is gone.
	c.unbind()
	c.retire(context.WithoutCancel(ctx))
	c.proofs.wait()
	return err
}

func (c *session) read(ctx context.Context) error {
	for {
		e, err := c.s.Receive(ctx, c.deadline())
		switch {
		case ctx.Err() != nil:
			return ended(ctx)
		case stream.IsTimeout(err):
			if err := c.probe(); err != nil {
				return err
			}
			continue
		case err != nil:
			if dead := c.out.Err(); dead != nil {
				return dead // the writer closed the connection: its reason is the reason
			}
			return fmt.Errorf("receive: %w", err)
		}
		c.received++
		c.server.stats.received.Add(1)
		if err := c.take(ctx, e); err != nil {
			if ctx.Err() != nil {
				return ended(ctx)
			}
			return err
		}
	}
}

// ended is why somebody ended the session, nil for no reason.
func ended(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
