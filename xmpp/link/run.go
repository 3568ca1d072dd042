package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"mcmt2xmpp/xmpp/stream"
)

// settled is how long a stream has to last before the next pause is the first one again:
// a server that accepts a link only to end it is not to be called without end.
const settled = 30 * time.Second

// Run holds the link up until ctx ends, and closes the stream in order. It returns nil.
func (l *Link) Run(ctx context.Context) error {
	pause := l.o.Retry
	for ctx.Err() == nil {
		l.mu.Lock()
		l.enter(Connecting, time.Time{})
		l.mu.Unlock()
		c, err := l.connect(ctx)
		if err == nil {
			began := time.Now()
			err = l.carry(ctx, c)
			if time.Since(began) >= settled {
				pause = l.o.Retry
			}
		}
		if ctx.Err() != nil {
			break
		}
		if refused(err) {
			pause = l.o.MaxRetry
		}
		// Half of it is by chance: links that broke together do not come back so.
		wait := pause/2 + rand.N(pause/2+1)
		pause = min(2*pause, l.o.MaxRetry)
		l.failed(err, time.Now().Add(wait))
		l.giveUp(ctx)
		l.sleep(ctx, wait)
	}
	l.stop(ctx)
	return nil
}

// stop is the end of Run.
func (l *Link) stop(ctx context.Context) {
	l.mu.Lock()
	l.enter(Stopped, time.Time{})
	l.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	l.giveUp(ctx)
	l.forgetOld(ctx)
}

// sleep waits. What a lost stream holds goes back to its senders when it is too old to
// be resumed.
func (l *Link) sleep(ctx context.Context, wait time.Duration) {
	t := time.NewTimer(wait)
	defer t.Stop()
	var stale <-chan time.Time
	if l.old != nil {
		st := time.NewTimer(time.Until(l.oldFrom.Add(resumable)))
		defer st.Stop()
		stale = st.C
	}
	for {
		select {
		case <-stale:
			l.forgetOld(ctx)
			stale = nil
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// carry runs a stream from its first stanza to its last. The error is why it ended.
func (l *Link) carry(ctx context.Context, c *session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.endBy(cancel)
	l.stats.connects.Add(1)
	l.log.Info().Str("sid", c.s.ID()).Str("tls", c.protection()).Bool("resumed", c.resumed()).Msg("link is up")
	if err := c.greet(ctx); err != nil {
		cancel(err)
	}
	l.publish(ctx, c)
	if l.o.OnUp != nil {
		l.o.OnUp()
	}
	err := c.read(ctx)
	l.withdraw()
	c.pings.Close()
	l.part(context.WithoutCancel(ctx), c, err)
	if errors.Is(err, io.EOF) {
		return errors.New("closed by the server")
	}
	return fmt.Errorf("stream ended: %w", err)
}

// part ends the stream as err deserves. One that broke may be resumed later.
func (l *Link) part(ctx context.Context, c *session, err error) {
	var own *stream.Error
	var theirs *stream.PeerError
	switch {
	case errors.Is(err, context.Canceled):
		_ = c.close(ctx) // whatever it says, this was the end
		l.giveBack(ctx, c)
		return
	case c.client == nil:
		_ = c.s.End(ctx, err)
		return
	case errors.As(err, &theirs), errors.Is(err, io.EOF), errors.As(err, &own) && own.Condition != stream.ConnectionTimeout, !c.client.Resumable():
		_ = c.s.End(ctx, err)
		l.giveBack(ctx, c)
		return
	}
	_ = c.s.Abort() // a closed stream would be the end of the session that waits
	l.old, l.oldFrom = c.client, time.Now()
}
