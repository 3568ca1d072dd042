package c2s

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// available is initial presence or a change of it (RFC 6121 §4.2, §4.4).
func (c *session) available(ctx context.Context, st *stanza.Stanza) error {
	p, ok := priority(st)
	if !ok {
		return c.reply(ctx, st.ErrorReply(&stanza.Error{Condition: stanza.BadRequest, Text: "bad priority"}))
	}
	old, was := c.Priority()
	dressed := c.server.o.Router.Dress(st)
	c.shows.own.Store(st)
	if !c.shows.set(dressed, int32(p)) {
		return nil
	}
	c.server.o.Router.Changed(c)
	c.broadcast(ctx, dressed)
	if !was {
		c.introduce(ctx)
		c.arrived(ctx)
	}
	if p >= 0 && (!was || old < 0) {
		c.server.o.Router.Available(c)
	}
	return nil
}

// shows is what others know of a session's presence. It has a mutex because a
// session that takes over a JID ends that of the old one.
type shows struct {
	priority atomic.Int32                  // or unavailable; changed with mu held
	last     atomic.Pointer[stanza.Stanza] // while available; likewise
	own      atomic.Pointer[stanza.Stanza] // the last as the client has sent it; set by its reader

	asleep atomic.Bool // the session is suspended; likewise

	mu       sync.Mutex
	since    time.Time            // when the priority became what it is, or the session was resumed
	slept    time.Time            // when it was suspended; zero: it is not
	directed map[jid.JID]struct{} // who was sent directed presence (RFC 6121 §4.6.3)
	retired  bool                 // nothing may be shown any more
}

// Presence is what the client has sent last, as others see it; nil while it is not
// available.
func (c *session) Presence() *stanza.Stanza { return c.shows.last.Load() }

// set makes the session available. It returns false for one that is retired.
func (s *shows) set(st *stanza.Stanza, priority int32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.retired {
		return false
	}
	s.last.Store(st)
	if s.priority.Swap(priority) != priority {
		s.since = time.Now()
	}
	return true
}

// redress has the presence shown as dress makes it of what the client has sent, and
// returns it, nil where that changes nothing.
func (s *shows) redress(dress func(*stanza.Stanza) *stanza.Stanza) *stanza.Stanza {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.Load() == nil {
		return nil
	}
	st := dress(s.own.Load())
	s.last.Store(st)
	return st
}

// sleep notes that the session is suspended, or is not any more. What others know
// of its presence stays.
func (s *shows) sleep(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asleep.Store(on)
	if s.slept = time.Now(); !on {
		s.since, s.slept = s.slept, time.Time{}
	}
}

// Shows returns the presence that others see of the session, nil for none. It must
// not be changed.
func (c *session) Shows() *stanza.Stanza { return c.shows.last.Load() }

// freshTime is more than it takes until all processes know of a session.
const freshTime = 5 * time.Second

// Fresh says whether the client has become available so lately that a process may not
// have known of it when a contact's presence was sent.
func (c *session) Fresh() bool {
	c.shows.mu.Lock()
	defer c.shows.mu.Unlock()
	return time.Since(c.shows.since) < freshTime
}

// sendSlack is more than may pass between the choice of the sessions for a message
// and its sending to the last of them.
const sendSlack = 30 * time.Second

// got says whether a message that went, at some time, to all sessions with a
// priority went to this one too. In doubt it did not.
func (s *shows) got(priority int32, at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.priority.Load() == priority && s.since.Before(at.Add(-sendSlack)) &&
		(s.slept.IsZero() || s.slept.After(at.Add(sendSlack)))
}

// maxDirected bounds the addresses to remember for directed presence. Beyond
// it the client's absence is told to those that are remembered.
const maxDirected = 1000

// direct notes who gets directed presence, to whom the end of the session is told
// (RFC 6121 §4.6.3). It returns false for a session that is retired.
func (s *shows) direct(st *stanza.Stanza) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.retired:
		return false
	case st.Type == "unavailable":
		delete(s.directed, st.To)
	case st.Type == "" && len(s.directed) < maxDirected:
		if s.directed == nil {
			s.directed = make(map[jid.JID]struct{})
		}
		s.directed[st.To] = struct{}{}
	}
	return true
}

// Occupants are the addresses within a room that the client has sent presence to: those
// by which it is there, or was, and has another nickname now.
func (c *session) Occupants(room jid.JID) (all []jid.JID) {
	c.shows.mu.Lock()
	defer c.shows.mu.Unlock()
	for to := range c.shows.directed {
		if !to.IsBare() && to.Bare() == room {
			all = append(all, to)
		}
	}
	return all
}

// clear makes the session unavailable, for good with retire. It returns whether it
// was available, and who else has to be told.
func (s *shows) clear(retire bool) (was bool, directed map[jid.JID]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = s.retired || retire
	s.last.Store(nil)
	directed, s.directed = s.directed, nil
	return s.priority.Swap(unavailable) != unavailable, directed
}

// priority reads the priority: from -128 to 127, 0 if it is not there (RFC 6121
// §4.7.2.3).
func priority(st *stanza.Stanza) (p int8, ok bool) {
	e := st.Child("priority")
	if e == nil {
		return 0, true
	}
	n, err := strconv.ParseInt(strings.Trim(e.Text(), " \t\r\n"), 10, 8)
	return int8(n), err == nil
}

// broadcast sends presence to the contacts, and to all available resources of the
// account, this one included (RFC 6121 §4.2.2, §4.4.2, §4.5.2).
func (c *session) broadcast(ctx context.Context, st *stanza.Stanza) {
	c.server.o.Router.Broadcast(ctx, st)
	out := *st
	out.To = c.full.Bare()
	for _, s := range c.server.o.Router.Sessions(out.To) {
		if s == router.Session(c) {
			s = self{c}
		}
		if router.Present(s) {
			// One that is going away needs no presence any more.
			_ = s.Send(ctx, &out)
		}
	}
}

// Redress shows the client's presence anew, since its user has another photo
// (XEP-0398 §3). What the client itself sends meanwhile may have been overtaken, and is
// sent again.
func (c *session) Redress() {
	ctx := context.Background() // the patience of whom it is sent to bounds it
	sent := (*stanza.Stanza)(nil)
	for st := c.shows.redress(c.server.o.Router.Dress); st != nil && st != sent; st = c.shows.last.Load() {
		sent = st
		c.broadcast(ctx, st)
	}
}

// introduce sends the presence of the account's other resources to a new one.
// Those of another process are introduced by it when it learns of this one.
func (c *session) introduce(ctx context.Context) {
	for _, s := range c.server.o.Router.Sessions(c.full.Bare()) {
		if other, ok := s.(*session); ok && other != c {
			other.Introduce(ctx, self{c})
		}
	}
}

// Introduce sends the session's presence to another resource of its account, if
// it has any (RFC 6121 §4.2.2). What changes while it does so may have overtaken
// it, and is sent again.
func (c *session) Introduce(ctx context.Context, to router.Session) {
	c.present(ctx, to.JID(), to.Send)
}

// present sends the session's presence, and again what it has become meanwhile, until send
// fails: who it is for is going away, or there is no way to him.
func (c *session) present(ctx context.Context, to jid.JID, send func(context.Context, *stanza.Stanza) error) {
	for sent := (*stanza.Stanza)(nil); ; {
		st := c.shows.last.Load()
		if st == sent {
			return
		}
		sent = st
		if st == nil {
			st = stanza.NewPresence(to, c.full, "unavailable")
		}
		out := *st
		out.To = to
		if send(ctx, &out) != nil {
			return
		}
	}
}

// Retire says that the resource is gone, for a client that did not (RFC 6121
// §4.5.2). It does so once, whoever calls it first: the session at its end, or
// the one that takes over its JID, whose own presence must come after it.
func (c *session) Retire(ctx context.Context) {
	c.leave(ctx, stanza.NewPresence(c.full.Bare(), c.full, "unavailable"), true)
}

// leave makes the session unavailable: to the account's other resources, and to
// whoever got directed presence (§4.6.3).
func (c *session) leave(ctx context.Context, st *stanza.Stanza, retire bool) {
	was, directed := c.shows.clear(retire)
	if was {
		c.server.o.Router.Changed(c)
		if !c.succeeded() {
			c.broadcast(ctx, st)
		}
	}
	for to := range directed {
		if was && c.subscribed(to) {
			continue // the broadcast has told it
		}
		out := *st
		out.To = to
		_ = c.server.o.Router.Route(ctx, self{c}, &out) // nobody waits for an answer
	}
}

// succeeded says whether another session has the JID and is available: two
// processes have bound it without knowing of each other, and this one had to
// yield. To the others the resource is there all the time.
func (c *session) succeeded() bool {
	s := c.server.o.Router.Session(c.full)
	if s == nil || s == router.Session(c) {
		return false
	}
	_, available := s.Priority()
	return available
}
