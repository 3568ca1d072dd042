package c2s

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// life is which connection carries a session, and how long the session waits for
// another where that one is lost (XEP-0198 §5):
//
//	carried ── connection lost ──> suspended ── <resume/> ──> carried
//	   └─ closed, in error ─> over <─ too late, no room ─┘
//
// One that is suspended may be lent to another process, to be resumed there: then it is
// over, or it goes on here.
type life struct {
	mu     sync.Mutex
	by     *carrier      // nil: the session is suspended or over
	id     string        // SM-ID; empty: it may not be resumed
	wait   time.Duration // how long it waits; zero: it may not be resumed
	until  time.Time     // while suspended: how long
	wake   chan struct{} // while suspended: closed when it is so no longer, or not to be; another one each time
	lent   chan struct{} // while suspended and lent: closed when it is decided whose it is
	closed bool          // Close was called: it is not suspended any more
	over   bool
}

// carrier is one connection while it carries a session.
type carrier struct {
	end context.CancelCauseFunc
	// done is closed when it has let go of the session.
	done chan struct{}
}

func newCarrier(end context.CancelCauseFunc) *carrier {
	return &carrier{end: end, done: make(chan struct{})}
}

// resumedElsewhere ends a connection whose session goes on with another (§5).
var resumedElsewhere = &stream.Error{Condition: stream.Conflict, Text: "resumed on a new stream"}

// letGo is the end of the connection by err, with the stream not closed yet. wake
// is that of a session which is suspended now; nil: it is over.
func (c *session) letGo(err error) (wake chan struct{}) {
	l := &c.life
	l.mu.Lock()
	by := l.by
	l.by = nil
	var evicted *session
	if l.wait > 0 && !l.closed && unfinished(err) {
		var ok bool
		if evicted, ok = c.server.o.Hibernation.enter(c); ok {
			wake = make(chan struct{})
			l.until = time.Now().Add(l.wait)
			c.server.stats.suspended.Add(1)
			c.shows.sleep(true)
			// Who waits for the client's acknowledgements learns of it now, and finds
			// the session unavailable. Nothing of the connection stays.
			c.writer.Store(c.out().Suspend())
			c.s = nil
		}
	}
	l.wake, l.over = wake, wake == nil
	close(by.done)
	l.mu.Unlock()
	if evicted != nil {
		evicted.lapse()
	}
	return wake
}

// unfinished says whether a stream that ended by err was not closed (§7): the
// connection was lost, or the client did not give an answer. A client that closes
// its stream, or breaks the rules, ends its session.
func unfinished(err error) bool {
	var own *stream.Error
	var theirs *stream.PeerError
	switch {
	case err == nil, errors.Is(err, io.EOF), errors.As(err, &theirs):
		return false
	case errors.As(err, &own):
		return own == resumedElsewhere || own == slow || own.Condition == stream.ConnectionTimeout
	}
	return true
}

// errBusy is for a session whose connection does not let go of it.
var errBusy = &stream.Failed{Condition: stanza.InternalServerError}

// errLate is for a session that is over, or was never here.
var errLate = &stream.Failed{Condition: stanza.ItemNotFound}

// carryOn has by carry the session from now on, with the stream s: h is how many
// stanzas its client has received. The connection that has it is ended.
func (c *session) carryOn(ctx context.Context, s *stream.Stream, by *carrier, o ConnOptions, h uint32) error {
	l := &c.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := c.detach(ctx); err != nil {
		return err
	}
	err := s.Resume(c.out(), c.full, l.id, c.sm.handled, h, managing(by, l.wait, c.server.o.ProofTime))
	if err != nil {
		return err
	}
	c.awake()
	close(l.wake)
	l.by, l.wake = by, nil
	c.s, c.idle = s, o.IdleTime
	c.writer.Store(s.Writer())
	c.shows.sleep(false)
	return nil
}

// detach ends the connection that has the session, and waits where it is lent. It is
// suspended then. life.mu is held, but not all the time.
func (c *session) detach(ctx context.Context) error {
	l := &c.life
	for l.by != nil || l.lent != nil {
		done, by := l.lent, l.by
		if by != nil {
			done = by.done
		}
		l.mu.Unlock()
		if by != nil {
			by.end(resumedElsewhere)
		}
		err := await(ctx, done, c.server.o.ProofTime)
		l.mu.Lock()
		if err != nil {
			return err
		}
	}
	if l.over || l.closed {
		return errLate
	}
	return nil
}

// awake takes the session out of hibernation.
func (c *session) awake() {
	c.server.o.Hibernation.leave(c)
	c.server.stats.suspended.Add(-1)
}

// await waits until a connection has let go of its session.
func await(ctx context.Context, done <-chan struct{}, limit time.Duration) error {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
		return nil
	case <-t.C:
		return errBusy
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close ends the session. The goroutine that has it does that.
func (c *session) Close(reason *stream.Error) {
	l := &c.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wake != nil && !l.closed {
		close(l.wake)
	}
	l.closed = true
	switch {
	case l.by != nil && reason != nil:
		l.by.end(reason)
	case l.by != nil:
		l.by.end(nil)
	}
}

// lapse ends the session if it is suspended.
func (c *session) lapse() {
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	if c.life.wake != nil && !c.life.closed {
		close(c.life.wake)
		c.life.closed = true
	}
}

// end ends the connection that carries the session, if there is one.
func (c *session) end(err error) {
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	if c.life.by != nil {
		c.life.by.end(err)
	}
}

// resumable says whether the session waits for its client where the connection is
// lost.
func (c *session) resumable() bool {
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	return c.life.wait > 0 && !c.life.closed
}

// named says whether previd is the SM-ID of the session.
func (c *session) named(previd string) bool {
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	return c.life.id != "" && same(c.life.id, previd)
}

// hibernate waits for the client of a session that letGo has suspended with wake,
// and ends it where the client does not come in time, somebody ends it, or the
// server does, with ctx.
func (v *Server) hibernate(ctx context.Context, c *session, wake chan struct{}) {
	l := &c.life
	l.mu.Lock()
	until := l.until
	l.mu.Unlock()
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	why := "closed"
	select {
	case <-wake:
	case <-t.C:
		why = "not resumed in time"
	case <-ctx.Done():
		why = stream.Shutdown.Error()
	}
	l.mu.Lock()
	for l.lent != nil {
		lent := l.lent
		l.mu.Unlock()
		<-lent // the registry decides it before long
		l.mu.Lock()
	}
	mine := l.wake == wake
	if mine {
		l.wake, l.over = nil, true
		c.awake()
	}
	l.mu.Unlock()
	if !mine {
		return // another connection carries it on
	}
	c.server.o.Hibernation.remember(l.id, c.full.Bare(), c.sm.handled)
	c.finish(ctx)
	v.stats.expired.Add(1)
	c.tellEnd(why)
}
