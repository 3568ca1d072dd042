package s2s

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// lane is the way from one of our domains to another one, on whatever stream.
type lane struct {
	p    *peer
	pair Pair

	mu      sync.Mutex // held while sending, too: it keeps the order
	c       *conn      // that carries it; nil: none
	waiting []*stanza.Stanza
	settled chan struct{} // closed when a stream is there, or not; nil: none is being made
	failure *Failure      // of the last attempt
}

// What waits for a stream to be made is bounded: by number, and by time.
const (
	maxWaiting  = 500
	makingTime  = 60 * time.Second
	sessionTime = 5 * time.Second
)

// busy does not wait for who sends: that holds l.mu, and may want what the caller has.
func (l *lane) busy() bool {
	if !l.mu.TryLock() {
		return true
	}
	defer l.mu.Unlock()
	return l.c != nil || l.settled != nil
}

// carrier is the stream that carries the lane, nil for none. What the last one gives
// back goes before anything newer, so it is waited for. l.mu is held.
func (l *lane) carrier(ctx context.Context) *conn {
	if l.c == nil || !l.c.isOver() {
		return l.c
	}
	select {
	case <-l.c.returned:
	case <-ctx.Done():
	}
	l.c = nil
	return nil
}

// send sends a stanza, or has it wait for a stream that is being made.
func (l *lane) send(ctx context.Context, st *stanza.Stanza) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.carrier(ctx); c != nil {
		err := c.Send(ctx, st)
		if !errors.Is(err, stream.ErrClosed) {
			return unsent(err)
		}
		l.carrier(ctx) // it has ended just now
	}
	if f := l.p.hindered(); f != nil {
		return f.stanzaError()
	}
	if len(l.waiting) >= maxWaiting {
		l.p.v.stats.overflows.Add(1)
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "too much waits for the server of the recipient"}
	}
	if !l.start() {
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ServiceUnavailable}
	}
	l.waiting = append(l.waiting, st)
	return nil
}

// unsent is what the sender learns of an error of a stream.
func unsent(err error) error {
	if err == nil {
		return nil
	}
	return &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout, Text: "the server of the recipient takes nothing at the moment"}
}

// start has a stream made; l.mu is held. It says whether that is so.
func (l *lane) start() bool {
	if l.settled != nil {
		return true
	}
	settled := make(chan struct{})
	if !l.p.v.spawn(func() { l.work(settled) }) {
		return false
	}
	l.settled = settled
	return true
}

func (l *lane) work(settled chan struct{}) {
	ctx, cancel := context.WithTimeout(l.p.v.life, makingTime)
	defer cancel()
	c, err := l.p.authorize(ctx, l.pair.Ours)
	l.mu.Lock()
	waiting := l.waiting
	l.waiting, l.settled, l.failure = nil, nil, nil
	if err != nil {
		l.failure = failed(StepTCP, err)
		l.p.fail(l.failure)
	} else {
		l.c = c
		for len(waiting) > 0 && c.Send(ctx, waiting[0]) == nil {
			waiting = waiting[1:]
		}
	}
	failure := l.failure
	l.mu.Unlock()
	close(settled)
	if err == nil {
		l.p.reached()
	}
	for _, st := range waiting {
		l.p.v.bounce(st, failure)
	}
}

// session waits for a stream that carries the lane.
func (l *lane) session(ctx context.Context) (*conn, error) {
	l.mu.Lock()
	if c := l.carrier(ctx); c != nil {
		l.mu.Unlock()
		return c, nil
	}
	if f := l.p.hindered(); f != nil {
		l.mu.Unlock()
		return nil, f
	}
	if !l.start() {
		l.mu.Unlock()
		return nil, stream.ErrClosed
	}
	settled := l.settled
	l.mu.Unlock()
	patience := time.NewTimer(sessionTime)
	defer patience.Stop()
	select {
	case <-settled:
	case <-patience.C:
		return nil, l.p.making()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch c := l.carrier(ctx); {
	case c != nil:
		return c, nil
	case l.failure != nil:
		return nil, l.failure
	}
	return nil, stream.ErrClosed
}

var errMaking = errors.New("a stream to the server is being made")

// making is the error of who waits no longer for a stream that is being made, with the
// reason why there was none before.
func (p *peer) making() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil || p.failures == 0 {
		return errMaking
	}
	return fmt.Errorf("%w; the last attempt: %w", errMaking, p.failure)
}

// bounce tells the sender of a stanza that it could not be sent (RFC 6120 §10.4): of an
// IQ request or a request for subscription, and of a message that says something.
func (v *Server) bounce(st *stanza.Stanza, why *Failure) {
	e := &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout, Text: "the stream to the server of the recipient has ended"}
	if why != nil {
		e = why.stanzaError()
	}
	switch {
	case st.Kind == stanza.Presence && st.Type != "subscribe":
		return
	case st.Kind == stanza.Message && st.Child("body") == nil:
		return // a chat state, or the like
	}
	if answer := st.ErrorReply(e); answer != nil {
		_ = v.o.Router.Forward(v.life, answer) // to one of ours, who may be gone
	}
}
