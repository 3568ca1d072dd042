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
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// errGone is the error of what is asked of a session that is over.
var errGone = errors.New("session is over")

// unavailable stands for the priority of a session that is not available.
const unavailable = 1 << 16

// slow ends the connection of a client that does not read.
var slow = &stream.Error{Condition: stream.ResourceConstraint, Text: "you do not read"}

// session is one bound resource. It is a router.Session: what the router calls is
// safe for concurrent use, the rest belongs to the goroutine of the connection.
type session struct {
	server *Server
	writer atomic.Pointer[stream.Writer] // another one after each resumption
	full   jid.JID
	local  jid.JID // the domain, as the client addresses it
	began  time.Time
	log    zerolog.Logger
	ready  chan struct{} // closed when the answer to bind is queued
	ended  chan struct{} // closed when the session is over
	once   sync.Once     // of unbind

	life     life        // see life.go
	back     givingBack  // see manage.go
	shows    shows       // see presence.go
	contacts contacts    // see roster.go
	waiting  waiting     // see inactive.go
	carbons  atomic.Bool // see Carbons
	handed   atomic.Bool // another process has the session: see handover.go
	followed sync.Map    // of names, see Follow
	sent     atomic.Uint64

	// Only the goroutine of the connection touches these, and carryOn between two.
	s          *stream.Stream
	maxHeld    int
	location   string
	idle       time.Duration
	resumeTime time.Duration
	received   uint64
	pinged     time.Time // when silence was last probed
	sm         management

	proofs proofs
}

func newSession(v *Server, s *stream.Stream, full jid.JID, o ConnOptions, by *carrier, log zerolog.Logger) *session {
	c := &session{
		server: v, s: s, full: full, local: s.Local(), maxHeld: o.MaxHeld, location: o.Location, idle: o.IdleTime, resumeTime: o.ResumeTime, began: time.Now(),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	c.life.by = by
	c.writer.Store(s.Writer())
	c.log = log.With().Stringer("jid", full).Logger()
	c.shows.priority.Store(unavailable)
	c.proofs.c = c
	return c
}

// JID is the full JID.
func (c *session) JID() jid.JID { return c.full }

// out is the way to the client; while the session is suspended it holds stanzas.
func (c *session) out() *stream.Writer { return c.writer.Load() }

// Priority is that of the last presence (RFC 6121 §4.7.2.3). While the session is
// suspended it is not available: messages wait in custody.
func (c *session) Priority() (p int8, available bool) {
	n := c.shows.priority.Load()
	if n == unavailable || c.Suspended() {
		return 0, false
	}
	return int8(n), true
}

// Present says whether others see the client as available: while the session is
// suspended too.
func (c *session) Present() bool { return c.shows.priority.Load() != unavailable }

// Suspended says whether the session waits for its client (XEP-0198 §5).
func (c *session) Suspended() bool { return c.shows.asleep.Load() }

// Carbons says whether the client wants copies of what the account's other
// resources send and get (XEP-0280 §4).
func (c *session) Carbons() bool { return c.carbons.Load() }

// SetCarbons changes that.
func (c *session) SetCarbons(on bool) {
	if c.carbons.Swap(on) != on {
		c.server.o.Router.Changed(c)
	}
}

// Follow notes that the client has asked to be told of changes of something, such as
// its block list.
func (c *session) Follow(what string) { c.followed.Store(what, true) }

// Follows says whether Follow was called.
func (c *session) Follows(what string) bool {
	_, ok := c.followed.Load(what)
	return ok
}

// Send queues a stanza. A client that does not read for so long that its queue
// stays full is disconnected, because whoever sends to it would wait as long each time.
// A session that is suspended holds the stanza for its client, but for a message
// that custody can keep: it is router.ErrSuspended.
func (c *session) Send(ctx context.Context, st *stanza.Stanza) error {
	if c.Suspended() && router.Storable(st) {
		return router.ErrSuspended
	}
	err := c.orHold(ctx, st, func() error { return direct{c}.Send(ctx, st) })
	if err != nil {
		if next := c.successor(); next != nil {
			return next.Send(ctx, st)
		}
	}
	return err
}

// SendKept is Send for a message that custody has. See router.Session.
func (c *session) SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	if c.Suspended() {
		return false, router.ErrSuspended
	}
	err = c.orHold(ctx, st, func() error {
		return c.write(ctx, func(w *stream.Writer) error {
			had, err = w.SendKept(ctx, st, c.keptID(st))
			return err
		})
	})
	return had, err
}

// keptID names a message that custody sends again: by its id, and by the origin id
// and the one that our domain has given it too, since a careless sender uses an id
// twice (XEP-0359 §3.1).
func (c *session) keptID(st *stanza.Stanza) string {
	if st.ID == "" {
		return ""
	}
	id := st.ID
	for e := range st.Element.Elements() {
		if e.Name == stanza.OriginID || e.Name == stanza.StanzaID && e.Attr("by") == c.full.Domain() {
			id += "\x00" + e.Attr("id")
		}
	}
	return id
}

// write queues a stanza by f and does with the session what f's error asks for.
func (c *session) write(ctx context.Context, f func(*stream.Writer) error) error {
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
	err := f(c.out())
	if errors.Is(err, stream.ErrSlow) && ctx.Err() == nil {
		c.end(slow)
		if c.resumable() {
			c.out().Suspend()
			err = f(c.out()) // which is held now
		}
	}
	switch {
	case err == nil:
		c.sent.Add(1)
		c.server.stats.sent.Add(1)
	case errors.Is(err, stream.ErrUnacked):
		c.overflow()
	}
	return err
}

// self is the session as its own reader sends to it, who must not wait for
// acknowledgements that nobody else reads.
type self struct{ *session }

// Send queues an answer to the client.
func (c self) Send(ctx context.Context, st *stanza.Stanza) error {
	return c.write(ctx, func(w *stream.Writer) error { return w.SendAnswer(ctx, st) })
}

// overflow ends a session for whose client more waits than may. It is not resumed
// then, because it could only be with something missing: what waits goes back to
// custody and to its senders instead, and the client begins anew, knowing that it
// does.
func (c *session) overflow() {
	c.Close(&stream.Error{Condition: stream.PolicyViolation, Text: "you do not acknowledge"})
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
		c.returning()
		c.server.o.Router.Unbind(c)
		close(c.ended)
		c.proofs.close()
	})
}

// drop is the end of a session that nothing comes back from.
func (c *session) drop() {
	c.unbind()
	c.returned()
}

// depart is the end of the connection by err: a stream error is still to be sent. wake is
// that of a session which is suspended then, nil for one that is over.
func (c *session) depart(ctx context.Context, err error) (wake chan struct{}) {
	if wake = c.letGo(err); wake != nil {
		c.proofs.fail(router.ErrSuspended)
		c.changed()
		return wake
	}
	c.lastAck(ctx)
	c.finish(ctx)
	return nil
}

// finish ends the session: first nobody finds it, then those who had presence from
// it learn that it is gone, and then what has not arrived goes elsewhere.
func (c *session) finish(ctx context.Context) {
	defer c.returned()
	priority := c.shows.priority.Load()
	c.unbind()
	c.Retire(context.WithoutCancel(ctx))
	c.proofs.wait()
	c.giveBack(ctx, priority)
}

// tellEnd says in the log that the session is over.
func (c *session) tellEnd(why string) {
	c.log.Info().Str("reason", why).Dur("after", time.Since(c.began)).
		Uint64("received", c.received).Uint64("sent", c.sent.Load()).Msg("session ended")
}

// changed tells the router that Priority has.
func (c *session) changed() {
	c.server.o.Router.Changed(c)
	c.server.o.Router.Available(c)
}

// silentAfter is how long a client says nothing before its goroutine rests.
const silentAfter = time.Second

// errSilent says that nothing has come for a while, and nothing is half read.
var errSilent = errors.New("client is silent")

// read carries the client's stanzas until the connection ends. The error says how:
// errSilent, that it has not.
func (c *session) read(ctx context.Context) error {
	for {
		until, rest := c.deadline(), time.Now().Add(silentAfter)
		if !until.IsZero() && until.Before(rest) {
			rest = time.Time{}
		} else {
			until = rest
		}
		e, err := c.s.Receive(ctx, until)
		switch {
		case ctx.Err() != nil:
			return ended(ctx)
		case stream.IsTimeout(err) && !rest.IsZero():
			if c.s.Buffered() == 0 {
				return errSilent
			}
			continue
		case stream.IsTimeout(err):
			if err := c.probe(); err != nil {
				return err
			}
			continue
		case err != nil:
			if dead := c.out().Err(); dead != nil {
				return dead // the writer closed the connection: its reason is the reason
			}
			return fmt.Errorf("receive: %w", err)
		}
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
