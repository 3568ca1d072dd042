package c2s

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// handoverVersion is that of handover. A process that knows another one leaves the session
// where it is.
const handoverVersion = 1

// maxHandover is the longest handover: with what is around it, it is within the megabyte
// that a NATS server takes unless it is told otherwise.
const maxHandover = 1000 << 10

// handover is what a session is made of, on its way to the process that its client has come
// to (XEP-0198 §5). What waits while nobody looks (XEP-0352) is sent by then, since a
// session that is resumed is active.
type handover struct {
	Version  int             `json:"version"`
	JID      string          `json:"jid"`
	Wait     time.Duration   `json:"wait"` // how long the client may be gone, as it was told
	Began    time.Time       `json:"began"`
	Received uint64          `json:"received"`
	Sent     uint64          `json:"sent"`
	Handled  uint32          `json:"handled"`
	Stream   stream.Handover `json:"stream"`

	Priority int32     `json:"priority"` // or unavailable
	Since    time.Time `json:"since"`    // as in shows
	Shown    string    `json:"shown,omitempty"`
	Own      string    `json:"own,omitempty"` // as the client has sent it
	Directed []string  `json:"directed,omitempty"`

	Interested bool     `json:"interested,omitempty"`
	Pushes     int      `json:"pushes,omitempty"`
	Carbons    bool     `json:"carbons,omitempty"`
	Followed   []string `json:"followed,omitempty"`
}

// errTooLarge is for a session that is too large to be handed over.
var errTooLarge = errors.New("too much waits for the client to be handed over")

// lent is a session while another process may take it over.
type lent struct {
	c     *session
	state []byte
	over  chan struct{} // closed when it is decided
}

// Lend suspends the session, if its SM-ID is previd, for another process to take it over.
// Its connection is ended, which is likely dead. See router.Lender.
func (c *session) Lend(ctx context.Context, previd string, h uint32) (router.Lent, error) {
	if !c.named(previd) {
		return nil, nil
	}
	l := &c.life
	l.mu.Lock()
	defer l.mu.Unlock()
	switch err := c.detach(ctx); {
	case err == errLate:
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("lend %s: %w", c.full, err)
	}
	state, err := c.handover(h)
	if err != nil {
		return nil, fmt.Errorf("lend %s: %w", c.full, err)
	}
	l.lent = make(chan struct{})
	return &lent{c, state, l.lent}, nil
}

// handover writes down what the session is made of; life.mu is held, and it is suspended.
func (c *session) handover(h uint32) ([]byte, error) {
	o := handover{
		Version: handoverVersion, JID: c.full.String(), Wait: c.life.wait, Began: c.began,
		Received: c.received, Sent: c.sent.Load(), Handled: c.sm.handled,
		Interested: c.Interested(), Carbons: c.Carbons(),
	}
	var err error
	if o.Stream, err = c.out().HandOver(h); err != nil {
		return nil, err
	}
	c.shows.handOver(&o)
	c.contacts.mu.Lock()
	o.Pushes = c.contacts.pushes
	c.contacts.mu.Unlock()
	c.followed.Range(func(what, _ any) bool {
		o.Followed = append(o.Followed, what.(string))
		return true
	})
	state, err := encode(o)
	switch {
	case err != nil:
		return nil, err
	case len(state) > maxHandover:
		return nil, errTooLarge
	}
	return state, nil
}

// encode is json.Marshal without its escapes for web pages, which would double the stanzas.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

// handOver adds what is known of the presence.
func (s *shows) handOver(o *handover) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.Priority, o.Since = s.priority.Load(), s.since
	o.Shown, o.Own = written(s.last.Load()), written(s.own.Load())
	for to := range s.directed {
		o.Directed = append(o.Directed, to.String())
	}
}

// restore is the reverse. The session is suspended.
func (s *shows) restore(o handover) error {
	shown, err := read(o.Shown)
	if err != nil {
		return err
	}
	own, err := read(o.Own)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last.Store(shown)
	s.own.Store(own)
	s.priority.Store(o.Priority)
	s.asleep.Store(true)
	s.since, s.slept = o.Since, time.Now()
	for _, text := range o.Directed {
		to, err := jid.Parse(text)
		if err != nil {
			return err
		}
		if s.directed == nil {
			s.directed = make(map[jid.JID]struct{})
		}
		s.directed[to] = struct{}{}
	}
	return nil
}

// handedOver has the session say nothing of its presence any more, since another process
// does; whoever is about to show it shows what is still true.
func (s *shows) handedOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired, s.directed = true, nil
	s.priority.Store(unavailable)
}

// written is a stanza as text, empty for none.
func written(st *stanza.Stanza) string {
	if st == nil {
		return ""
	}
	return string(st.Append(nil, ""))
}

// read is the reverse. The stanza was within the limits of a listener once.
func read(text string) (*stanza.Stanza, error) {
	if text == "" {
		return nil, nil
	}
	n := len(text) + 1
	st, err := stanza.ParseBytes([]byte(text), xmlwire.Limits{Bytes: n, Depth: n, Attrs: n, Children: n})
	if err != nil {
		return nil, fmt.Errorf("presence: %w", err)
	}
	return st, nil
}

// State is the handover.
func (g *lent) State() []byte { return g.state }

// Give ends the session, since the node to has it. See router.Lent.
func (g *lent) Give(to string, move func() bool) (rest []byte, ok bool) {
	c, l := g.c, &g.c.life
	c.active(context.Background()) // it is held then, and waits for nobody
	if rest, ok = g.give(l, move); !ok {
		return nil, false
	}
	c.shows.handedOver()
	c.drop()
	c.tellEnd("resumed by " + to)
	return rest, true
}

func (g *lent) give(l *life, move func() bool) (rest []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lent != g.over || l.closed || !move() {
		return nil, false
	}
	// Who finds the writer closed has been too late to find the session elsewhere.
	g.c.handed.Store(true)
	rest, err := encode(g.c.out().HandedOver())
	if err != nil {
		rest = nil // strings and times
	}
	l.over, l.lent = true, nil
	g.c.awake()
	close(l.wake)
	close(g.over)
	l.wake = nil
	return rest, true
}

// Keep has the session go on here.
func (g *lent) Keep() {
	l := &g.c.life
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lent == g.over {
		close(g.over)
		l.lent = nil
	}
}

// successor is the session that another process has made of this one; nil for none.
func (c *session) successor() router.Session {
	if !c.handed.Load() {
		return nil
	}
	if next := c.server.o.Router.Session(c.full); next != router.Session(c) {
		return next
	}
	return nil
}

// borrow resumes the session with that SM-ID of another process. The error is errLate where
// no process has it.
func (n *negotiation) borrow(ctx context.Context, s *stream.Stream, previd string, h uint32) error {
	loan, err := n.v.o.Router.Borrow(ctx, s.User(), previd, h)
	switch {
	case err != nil:
		return err
	case loan == nil:
		return errLate
	}
	c, err := n.restore(s, previd, loan.State())
	if err != nil {
		loan.Return()
		return fmt.Errorf("session of %s: %w", loan.Node(), err)
	}
	wake := c.life.wake
	err = c.takeOver(ctx, loan)
	switch {
	case err == nil:
		err = c.carryOn(ctx, s, n.by, n.o, h)
	case !errors.Is(err, router.ErrInDoubt):
		c.discard()
		return err
	}
	if err != nil {
		c.abandon()
		n.v.hibernate(context.WithoutCancel(ctx), c, wake)
		return fmt.Errorf("session of %s: %w", loan.Node(), err)
	}
	n.c, n.resumed = c, true
	n.log.Info().Stringer("jid", c.full).Str("node", loan.Node()).Msg("session taken over")
	return nil
}

// restore makes a session of what another process has handed over. It is suspended, and
// lent until takeOver is over.
func (n *negotiation) restore(s *stream.Stream, previd string, state []byte) (*session, error) {
	var o handover
	if err := json.Unmarshal(state, &o); err != nil {
		return nil, err
	}
	full, err := jid.Parse(o.JID)
	switch {
	case err != nil:
		return nil, err
	case o.Version != handoverVersion:
		return nil, fmt.Errorf("of version %d", o.Version)
	case full.IsBare() || full.Bare() != s.User():
		return nil, fmt.Errorf("of %s, not of %s", full, s.User())
	}
	c := newSession(n.v, s, full, n.o, nil, n.log)
	c.s = nil // until carryOn
	c.writer.Store(s.Restore(o.Stream))
	if err := c.shows.restore(o); err != nil {
		return nil, err
	}
	c.life.id, c.life.wait, c.life.until = previd, o.Wait, time.Now().Add(o.Wait)
	c.life.wake, c.life.lent = make(chan struct{}), make(chan struct{})
	c.began, c.received, c.sm = o.Began, o.Received, management{enabled: true, handled: o.Handled}
	c.sent.Store(o.Sent)
	c.contacts.interested.Store(o.Interested)
	c.contacts.pushes = o.Pushes
	c.carbons.Store(o.Carbons)
	for _, what := range o.Followed {
		c.Follow(what)
	}
	close(c.ready)
	n.v.stats.suspended.Add(1)
	return c, nil
}

// takeOver binds the session here, and has the other process let go of it.
func (c *session) takeOver(ctx context.Context, loan router.Loan) error {
	rest, err := loan.Take(ctx, c)
	if err == nil {
		var sent []stream.Sent
		err = json.Unmarshal(rest, &sent)
		c.out().Insert(sent)
	}
	c.life.mu.Lock()
	defer c.life.mu.Unlock()
	close(c.life.lent)
	c.life.lent = nil
	return err
}

// discard ends a session that the other process has kept: it says nothing, and gives nothing
// back.
func (c *session) discard() {
	c.life.mu.Lock()
	c.life.over, c.life.wake = true, nil
	c.life.mu.Unlock()
	c.awake()
	c.out().HandedOver()
	c.shows.handedOver()
	c.drop()
}

// abandon has hibernate end a session that is suspended, unless yet another process takes it
// over.
func (c *session) abandon() {
	l := &c.life
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.lent != nil {
		lent := l.lent
		l.mu.Unlock()
		<-lent
		l.mu.Lock()
	}
	if l.wake != nil && !l.closed {
		close(l.wake)
		l.closed = true
	}
}

var _ router.Lender = (*session)(nil)
