package link

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/ping"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// errGone is the error of what is asked of a session that is over.
var errGone = errors.New("session of the link is over")

// slow ends the stream of a server that does not read.
var slow = &stream.Error{Condition: stream.ResourceConstraint, Text: "you do not read"}

// session is a stream that is ready. It is a router.Session: those methods may be called
// from any goroutine, the others belong to Run.
type session struct {
	l      *Link
	s      *stream.Stream
	client *stream.Client // nil: a component
	pings  *ping.Prover
	pinged time.Time // when silence was last probed

	mu     sync.Mutex
	cancel context.CancelCauseFunc // nil: it is not read yet
	why    error                   // it is to end at once
}

// newSession makes a session whose pings go to an address, from one of ours that may be
// zero where the server stamps it.
func (l *Link) newSession(s *stream.Stream, client *stream.Client, from, to jid.JID) *session {
	c := &session{l: l, s: s, client: client}
	c.pings = ping.New(ping.Options{
		From: from, To: to, Patience: l.o.ProofTime,
		Send: s.Writer().SendAnswer, Flush: s.Writer().Flush,
		Dead: func() { c.Close(&stream.Error{Condition: stream.ConnectionTimeout, Text: "ping was not answered"}) },
	})
	return c
}

// endBy says how the session is ended.
func (c *session) endBy(cancel context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel = cancel; c.why != nil {
		cancel(c.why)
	}
}

// end ends the session; the first reason counts.
func (c *session) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = why
	}
	if c.cancel != nil {
		c.cancel(c.why)
	}
}

// JID is the account or the component.
func (c *session) JID() jid.JID { return c.l.o.JID.Bare() }

// Priority is that of something which takes messages.
func (c *session) Priority() (p int8, available bool) { return 0, true }

// Send queues a stanza. An error that is no *stanza.Error means that the stream is over,
// or about to be.
func (c *session) Send(ctx context.Context, st *stanza.Stanza) error {
	out, err := c.outgoing(st)
	if err != nil {
		return err
	}
	return c.sent(c.s.Writer().SendAnswer(ctx, out))
}

// SendKept is Send for a message that the caller keeps until Prove tells.
func (c *session) SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	out, err := c.outgoing(st)
	if err != nil {
		return false, err
	}
	had, err = c.s.Writer().SendKept(ctx, out, st.ID)
	return had, c.sent(err)
}

func (c *session) sent(err error) error {
	switch {
	case err == nil:
		c.l.stats.sent.Add(1)
	case errors.Is(err, stream.ErrSlow):
		c.end(slow)
	}
	return err
}

// Prove returns how it is known that the server has received what was sent before.
func (c *session) Prove(ctx context.Context) (router.Proof, error) {
	if w := c.s.Writer(); w.Managed() {
		switch err := w.Prove(ctx); {
		case err == nil:
			return router.ProofAck, nil
		case errors.Is(err, stream.ErrClosed):
			return "", errGone
		default:
			return "", err
		}
	}
	answered, err := c.pings.Prove(ctx)
	if errors.Is(err, ping.ErrClosed) {
		err = errGone
	}
	return router.ProofOf(answered, err)
}

// Close ends the session; another one follows. It does not wait.
func (c *session) Close(reason *stream.Error) {
	if reason == nil {
		c.end(errGone)
		return
	}
	c.end(reason)
}

// outgoing is a stanza as the server is to get it.
func (c *session) outgoing(st *stanza.Stanza) (*stanza.Stanza, error) {
	if c.client == nil {
		return st, nil
	}
	return c.l.disguise(st)
}

// read takes what the server sends until the stream or ctx ends.
func (c *session) read(ctx context.Context) error {
	c.pings.Probe() // whether it answers shall be known when it matters
	for {
		st, err := c.receive(ctx)
		switch {
		case stream.IsTimeout(err) && ctx.Err() == nil:
			c.probe()
		case err != nil:
			return err
		case st == nil || c.pings.Answered(st):
		default:
			c.l.stats.received.Add(1)
			c.l.take(ctx, c, st)
		}
	}
}

// receive returns the next stanza, nil for something that is none.
func (c *session) receive(ctx context.Context) (*stanza.Stanza, error) {
	if c.client != nil {
		return c.client.ReceiveUntil(ctx, c.deadline())
	}
	e, err := c.s.Receive(ctx, c.deadline())
	if err != nil {
		return nil, err
	}
	st, err := stanza.Parse(e)
	if err != nil {
		c.l.log.Debug().Err(err).Msg("not a stanza that can be passed on")
		return nil, nil
	}
	return st, nil
}

// deadline is when silence becomes suspicious, once: a probe has its own end. Zero: never.
func (c *session) deadline() time.Time {
	last := c.s.LastRead()
	if c.pinged.After(last) {
		return time.Time{}
	}
	return last.Add(c.l.o.Idle)
}

// probe asks a server that has been silent for the idle time (RFC 6120 §4.6.4).
func (c *session) probe() {
	if time.Now().Before(c.deadline()) {
		return // white space came meanwhile
	}
	c.pinged = time.Now()
	if w := c.s.Writer(); w.Managed() {
		w.Probe()
		return
	}
	c.pings.Probe()
}

// protection is the version of TLS, empty for none.
func (c *session) protection() string {
	if st := c.s.TLS(); st != nil {
		return tls.VersionName(st.Version)
	}
	return ""
}

func (c *session) resumed() bool { return c.client != nil && c.client.Resumed() }

// greet is the first that is said on the stream.
func (c *session) greet(ctx context.Context) error {
	if c.client == nil || c.client.Resumed() {
		return nil
	}
	return c.client.Available(ctx, 0) // or the server keeps messages for later (RFC 6121 §8.5.2.1)
}

// close says goodbye.
func (c *session) close(ctx context.Context) error {
	if c.client != nil {
		return c.client.Close(ctx)
	}
	return c.s.Close(ctx)
}
