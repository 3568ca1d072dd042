package s2s

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"mcmt2xmpp/xmpp/stream"
)

// tick is how often a silent stream is looked at; keepAlive is the silence after which a
// blank shows that we are there (RFC 6120 §4.6.1).
const (
	tick      = 15 * time.Second
	keepAlive = time.Minute
)

func (c *conn) read(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("bug: stream dropped")
			err = &stream.Error{Condition: stream.InternalServerError}
		}
	}()
	for {
		reading := c.reading(ctx)
		e, err := c.s.Receive(reading, time.Now().Add(min(tick, c.patience())))
		switch {
		case errors.Is(err, errWoken):
			err = nil
		case err != nil && ctx.Err() == nil && stream.IsTimeout(err):
			err = c.silent()
		case err == nil:
			err = c.take(ctx, e)
		}
		if err != nil {
			return err
		}
	}
}

// errWoken ends the reading for a moment.
var errWoken = errors.New("woken")

// reading is the context of the next read. It takes over what others have proven
// meanwhile: only who reads the stream may change its limits.
func (c *conn) reading(ctx context.Context) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.due != nil {
		c.s.Prove(domainJID(c.due.domain), c.due.how)
		close(c.due.done)
		c.due = nil
	}
	if c.awake == nil || c.awake.Err() != nil {
		c.awake, c.wake = context.WithCancelCause(ctx)
	}
	return c.awake
}

// due is a proof that who reads the stream is to take over.
type due struct {
	domain, how string
	done        chan struct{}
}

// prove has the limits of the stream widened, before the peer is told that it may send.
// It is for other goroutines than the one that reads.
func (c *conn) prove(domain, how string) {
	c.mu.Lock()
	d := c.due
	if d == nil {
		d = &due{domain, how, make(chan struct{})}
		c.due = d
	}
	wake := c.wake
	c.mu.Unlock()
	if wake != nil {
		wake(errWoken)
	}
	select {
	case <-d.done:
	case <-c.life.Done():
	}
}

// silent is for a stream on which nothing came for a while.
func (c *conn) silent() error {
	idle := time.Since(time.Unix(0, c.used.Load()))
	switch {
	case c.incoming && !c.proven() && idle >= c.negotiation && len(c.checking) == 0:
		return &stream.Error{Condition: stream.ConnectionTimeout, Text: "no domain was proven"}
	case !c.incoming && idle >= c.pol.Idle:
		return errIdle
	case idle > keepAlive:
		c.s.Writer().KeepAlive()
	}
	return nil
}

// patience is how long a silent stream may stay so.
func (c *conn) patience() time.Duration {
	switch {
	case !c.incoming:
		return c.pol.Idle
	case !c.proven():
		return c.negotiation
	}
	return tick
}
