package link

import (
	"context"
	"errors"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// maxWaiting is how many stanzas wait for a stream that is being made.
const maxWaiting = 256

// down refuses a stanza for which there is no stream now.
func (l *Link) down() *stanza.Error {
	return &stanza.Error{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout, Text: "the link to the server is down"}
}

// Route sends a stanza that nobody keeps, or has it wait while the stream is being made.
// A *stanza.Error goes to its sender.
func (l *Link) Route(ctx context.Context, st *stanza.Stanza) error {
	l.mu.Lock()
	c := l.up
	if c == nil && l.state.Phase == Connecting {
		defer l.mu.Unlock()
		if len(l.waiting) >= maxWaiting {
			return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint}
		}
		l.waiting = append(l.waiting, st)
		return nil
	}
	l.mu.Unlock()
	if c == nil {
		return l.down()
	}
	return l.refusal(c.Send(ctx, st))
}

// refusal is what the sender of a stanza learns of an error.
func (l *Link) refusal(err error) error {
	var refused *stanza.Error
	switch {
	case err == nil, errors.As(err, &refused):
		return err
	case errors.Is(err, stream.ErrUnacked), errors.Is(err, stream.ErrSlow):
		return &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint}
	}
	return l.down()
}

// Session returns the stream that is ready, and waits for one that is being made. The
// error is a *Down, or that of ctx.
func (l *Link) Session(ctx context.Context) (router.Session, error) {
	patience := time.NewTimer(l.o.Wait)
	defer patience.Stop()
	for {
		l.mu.Lock()
		c, changed, state := l.up, l.changed, l.state
		l.mu.Unlock()
		switch {
		case c != nil:
			return c, nil
		case state.Phase == Stopped, state.Phase == Waiting && time.Until(state.NextTry) > l.o.Wait:
			return nil, &Down{state}
		}
		select {
		case <-changed:
		case <-patience.C:
			return nil, &Down{state}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Ready says whether a stanza would be sent at once.
func (l *Link) Ready() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up != nil
}

// reachable says whether Session may have one in a moment.
func (l *Link) reachable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.Phase == Up || l.state.Phase == Connecting
}

// publish sends what waits for the stream, in its order, and lets all others at it.
func (l *Link) publish(ctx context.Context, c *session) {
	var err error
	for {
		l.mu.Lock()
		batch := l.waiting
		l.waiting = nil
		if len(batch) == 0 {
			l.up = c
			l.enter(Up, time.Time{})
			l.state.TLS = c.protection()
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for _, st := range batch {
			if err == nil {
				err = c.Send(ctx, st)
			}
			if err != nil {
				l.tell(ctx, st, err)
			}
		}
	}
}

// tell has the sender of a stanza that was waiting learn why it is not sent.
func (l *Link) tell(ctx context.Context, st *stanza.Stanza, err error) {
	var refused *stanza.Error
	if !errors.As(l.refusal(err), &refused) {
		return
	}
	if answer := st.ErrorReply(refused); answer != nil {
		l.o.Receive(ctx, answer)
	}
}

// withdraw takes the stream back that was published; who waits for another one learns
// that there is none.
func (l *Link) withdraw() {
	l.mu.Lock()
	l.up = nil
	l.mu.Unlock()
}

// giveUp refuses what waits for a stream that could not be made.
func (l *Link) giveUp(ctx context.Context) {
	l.mu.Lock()
	batch := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	for _, st := range batch {
		l.tell(ctx, st, l.down())
	}
}
