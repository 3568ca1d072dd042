package component

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/ping"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// errGone is the error of what is asked of a session that is over.
var errGone = errors.New("component is gone")

// slow ends the stream of a component that does not read.
var slow = &stream.Error{Condition: stream.ResourceConstraint, Text: "you do not read"}

// session is the stream of a component. It is a router.Session: those methods may be
// called from any goroutine, the others belong to that of the connection.
type session struct {
	v      *Server
	s      *stream.Stream
	o      ConnOptions
	end    context.CancelCauseFunc
	log    zerolog.Logger
	domain jid.JID // zero before it has joined
	pings  *ping.Prover
	pinged time.Time // when silence was last probed

	joinedNow bool // guarded by Domains.mu
}

func (v *Server) newSession(s *stream.Stream, o ConnOptions, end context.CancelCauseFunc, log zerolog.Logger) *session {
	return &session{v: v, s: s, o: o, end: end, log: log}
}

// joins says which domain the component is.
func (c *session) joins(domain jid.JID) {
	c.domain = domain
	c.log = c.log.With().Stringer("domain", domain).Logger()
	c.pings = ping.New(ping.Options{
		From: c.v.o.Host, To: domain, Patience: c.v.o.ProofTime,
		Send: c.s.Writer().SendStanza, Flush: c.s.Writer().Flush,
		Dead: func() { c.end(&stream.Error{Condition: stream.ConnectionTimeout, Text: "ping was not answered"}) },
	})
}

// JID is the component's domain.
func (c *session) JID() jid.JID { return c.domain }

// Priority is that of something which takes messages.
func (c *session) Priority() (p int8, available bool) { return 0, true }

// Send queues a stanza.
func (c *session) Send(ctx context.Context, st *stanza.Stanza) error {
	err := c.s.Writer().SendStanza(ctx, st)
	switch {
	case err == nil:
		c.v.stats.sent.Add(1)
	case errors.Is(err, stream.ErrSlow):
		c.end(slow)
	}
	return err
}

// SendKept is Send: the stream knows nothing of what went before it.
func (c *session) SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	return false, c.Send(ctx, st)
}

// Prove returns how it is known that the component has received what was sent before.
func (c *session) Prove(ctx context.Context) (router.Proof, error) {
	answered, err := c.pings.Prove(ctx)
	if errors.Is(err, ping.ErrClosed) {
		err = errGone
	}
	return router.ProofOf(answered, err)
}

// Close ends the stream. It does not wait.
func (c *session) Close(reason *stream.Error) {
	if reason == nil {
		c.end(errGone)
		return
	}
	c.end(reason)
}

// answer sends something that the component gets from us; nil: nothing.
func (c *session) answer(ctx context.Context, st *stanza.Stanza) {
	if st != nil {
		_ = c.Send(ctx, st) // an error ends the stream
	}
}

// deadline is when silence becomes suspicious, once: a probe has its own end. Zero: never.
func (c *session) deadline() time.Time {
	last := c.s.LastRead()
	if c.o.IdleTime <= 0 || c.pinged.After(last) {
		return time.Time{}
	}
	return last.Add(c.o.IdleTime)
}

// probe asks a component that has been silent for the idle time (RFC 6120 §4.6.4).
func (c *session) probe() {
	if time.Now().Before(c.deadline()) {
		return // white space came meanwhile
	}
	c.pinged = time.Now()
	c.pings.Probe()
}
