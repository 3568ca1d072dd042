package s2s

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// conn is a stream to or from another server after its negotiation.
type conn struct {
	v     *Server
	s     *stream.Stream
	log   zerolog.Logger
	since time.Time
	addr  netip.AddrPort
	pol   Policy

	incoming    bool
	negotiation time.Duration // how long one that came in may be silent without a proof
	bidi        bool          // stanzas go both ways (XEP-0288)
	dialback    bool          // the peer speaks it
	multiplexes bool          // and says that it takes errors of it well (XEP-0220 §2.4.2)
	manages     bool          // it offers stream management (XEP-0198)
	refused     *sasl.Failure

	used     atomic.Int64 // when a stanza or a claim last went either way, Unix ns
	sent     atomic.Uint64
	received atomic.Uint64

	// Only the goroutine that reads the stream touches these.
	managed bool // stanzas of the peer are counted
	handled uint32
	asked   int // pairs that the peer has claimed, for the limit

	end      context.CancelCauseFunc
	life     context.Context
	returned chan struct{} // closed when what was not delivered has been given back
	proofs   proofs
	checking chan struct{} // capacity: keys that are asked about at the same time

	mu        sync.Mutex
	over      bool
	unused    bool // it is about to be closed, as nobody uses it
	users     int  // who are about to ask about a key on it
	enabling  bool
	first     jid.JID         // domain that was proven first
	due       *due            // nil: nothing
	awake     context.Context // of the read that goes on
	wake      context.CancelCauseFunc
	verifying map[Pair]struct{} // claims whose keys are asked about
	in        map[Pair]string   // who may speak to whom on it, by what that is proven
	out       map[Pair]*claim   // likewise for us
	asking    map[question]chan verdict
	carries   map[*peer]struct{} // that have it among their carriers
}

var _ router.Session = (*conn)(nil)

// maxPairs bounds the pairs of domains of one stream, in each direction; maxChecks the
// keys of one stream that we ask about at the same time.
const (
	maxPairs  = 200
	maxChecks = 16
)

func newConn(v *Server, s *stream.Stream, log zerolog.Logger) *conn {
	c := &conn{
		v: v, s: s, log: log, since: time.Now(), returned: make(chan struct{}), checking: make(chan struct{}, maxChecks),
		in: make(map[Pair]string), verifying: make(map[Pair]struct{}), out: make(map[Pair]*claim), asking: make(map[question]chan verdict), carries: make(map[*peer]struct{}),
	}
	c.life, c.end = context.WithCancelCause(v.life)
	c.proofs.c = c
	c.touch()
	return c
}

func (c *conn) touch() { c.used.Store(time.Now().UnixNano()) }

// begin has the stream of a peer that we have connected to read, and used.
func (c *conn) begin(p *peer) bool {
	if !c.v.add(c) {
		return false
	}
	c.attach(p)
	started := c.v.spawn(func() { c.serve(c.life) })
	if !started {
		c.detach(stream.Shutdown)
		c.v.remove(c)
	}
	return started
}

// attach makes the stream one that can be used to reach a domain.
func (c *conn) attach(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	if _, has := c.carries[p]; !has {
		c.carries[p] = struct{}{}
		p.carry(c)
	}
}

// detach takes the stream from all that use it.
func (c *conn) detach(why error) {
	c.mu.Lock()
	c.over = true
	carries := c.carries
	claims := slices.Collect(maps.Values(c.out)) // others may be granted something still
	questions := c.asking
	c.carries, c.asking = make(map[*peer]struct{}), make(map[question]chan verdict)
	c.mu.Unlock()
	for p := range carries {
		p.ended(c, why)
	}
	ended := errEnded
	if theirs := (*stream.PeerError)(nil); errors.As(why, &theirs) {
		ended = fmt.Errorf("%w: %w", errEnded, theirs)
	}
	for _, cl := range claims {
		cl.settle(ended)
	}
	for _, q := range questions {
		q <- verdict{err: ended}
	}
}

var (
	errEnded = errors.New("the stream has ended")
	errIdle  = errors.New("nothing was sent for a while")
)

func (c *conn) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// serve reads the stream to its end, which it then is for everybody.
func (c *conn) serve(ctx context.Context) {
	defer c.end(nil)
	err := c.read(ctx)
	defer c.v.remove(c)
	c.detach(err)
	c.proofs.close()
	c.giveBack(ctx)
	close(c.returned) // what is newer need not wait for the peer to close
	event := c.log.Info()
	if errors.Is(err, errIdle) {
		event = c.log.Debug()
	}
	event.Str("domain", c.JID().Domain()).Bool("incoming", c.incoming).Uint64("sent", c.sent.Load()).Uint64("received", c.received.Load()).Str("reason", reason(err)).Msg("stream with server ended")
	c.v.stats.ended(err)
	end := err
	if errors.Is(err, errIdle) || errors.Is(err, errUnmanaged) || errors.Is(err, context.Canceled) {
		end = nil
	}
	_ = c.s.End(context.WithoutCancel(ctx), end) // it has its own deadline
}

// reason is why a stream ended, for a person.
func reason(err error) string {
	if errors.Is(err, io.EOF) {
		return "closed by the peer"
	}
	return err.Error()
}

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

// take deals with one element.
func (c *conn) take(ctx context.Context, e *xmlwire.Element) error {
	switch {
	case stanza.Is(e.Name) && e.Name.Space == stanza.Server:
		return c.stanza(ctx, e)
	case e.Name.Space == stanza.Dialback:
		c.touch()
		return c.takeDialback(ctx, e)
	case e.Name.Space == stream.NSManagement:
		return c.manage(ctx, e)
	case e.Name == xmlwire.Name{Space: nsBidi, Local: "bidi"} && c.incoming && c.becomeBidi():
		return nil
	}
	return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not an element to send now"}
}

// becomeBidi has stanzas go both ways, unless there is a proof already (XEP-0288 §2.2).
func (c *conn) becomeBidi() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bidi = c.bidi || len(c.in) == 0
	return c.bidi
}

// isBidi is for goroutines that do not read the stream.
func (c *conn) isBidi() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bidi
}

// proven says whether any domain of the peer is.
func (c *conn) proven() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.in) > 0
}

// stanza takes a stanza if its pair is authorised (RFC 6120 §8.1.1.2, §8.1.2.2).
func (c *conn) stanza(ctx context.Context, e *xmlwire.Element) error {
	st, err := stanza.Parse(e)
	var bad *stanza.Error
	switch {
	case errors.As(err, &bad) && (st.From.IsZero() || st.To.IsZero()) && bad.Condition == stanza.JIDMalformed:
		return &stream.Error{Condition: stream.ImproperAddressing, Text: bad.Text}
	case err != nil && bad == nil:
		return &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "not a stanza"}
	case st.From.IsZero() || st.To.IsZero():
		return &stream.Error{Condition: stream.ImproperAddressing, Text: "from and to are needed between servers"} // §4.9.3.7
	}
	if err := c.authorised(Pair{st.To.Domain(), st.From.Domain()}); err != nil {
		return err
	}
	c.touch()
	c.received.Add(1)
	c.v.stats.received.Add(1)
	if st.Lang == "" {
		st.Lang = c.s.Lang() // RFC 6120 §4.7.4
	}
	switch {
	case bad != nil:
		if answer := st.ErrorReply(bad); answer != nil {
			_ = c.v.Route(ctx, answer) // it cannot be helped
		}
	case !c.v.pings.answered(st):
		c.v.o.Router.Receive(ctx, st)
	}
	c.handled++
	return nil
}

// authorised returns the stream error for a stanza of a pair that is not: the peer has
// sent it on a stream on which it never proved that it may.
func (c *conn) authorised(p Pair) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in[p] != "" {
		return nil
	}
	c.v.stats.unauthorised.Add(1)
	switch {
	case len(c.in) == 0:
		return &stream.Error{Condition: stream.NotAuthorized, Text: "no domain is proven on this stream"} // §4.9.3.12
	case !c.v.o.Serves(p.Ours):
		return &stream.Error{Condition: stream.HostUnknown, Text: "to is no domain of ours"} // §4.9.3.6
	}
	for other := range c.in {
		if other.Theirs == p.Theirs {
			return &stream.Error{Condition: stream.NotAuthorized, Text: "the pair of domains of the stanza is not proven on this stream"}
		}
	}
	return &stream.Error{Condition: stream.InvalidFrom, Text: "from is not proven on this stream"} // §4.9.3.9
}

// allow records that a domain of the peer is proven towards one of ours, and how.
func (c *conn) allow(p Pair, how string) {
	c.mu.Lock()
	c.in[p] = how
	inverse := c.incoming && c.bidi
	if c.first.IsZero() {
		c.first = domainJID(p.Theirs)
	}
	c.mu.Unlock()
	c.v.stats.proven.Add(1)
	c.log.Info().Str("domain", p.Theirs).Str("to", p.Ours).Str("by", how).Bool("tls", c.s.TLS() != nil).Msg("server proven")
	other, err := c.v.peer(p.Theirs)
	if err != nil {
		return
	}
	if inverse {
		// XEP-0288 §2.2: the inverse of what was proven, and nothing else.
		c.granted(p, how)
		c.attach(other)
	}
	other.heard()
}

func domainJID(domain string) jid.JID {
	j, _ := jid.New("", domain, "") // it was taken from a JID
	return j
}

// JID implements router.Session: the domain that the stream leads to. For one that came
// in that is the first that was proven, zero before: its header may say what it likes.
func (c *conn) JID() jid.JID {
	if !c.incoming {
		return c.s.Peer()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

// Priority implements router.Session.
func (c *conn) Priority() (int8, bool) { return 0, !c.isOver() }

// Send implements router.Session.
func (c *conn) Send(ctx context.Context, st *stanza.Stanza) error {
	c.count()
	return c.s.Writer().SendStanza(ctx, st)
}

// SendKept implements router.Session.
func (c *conn) SendKept(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	c.count()
	return c.s.Writer().SendKept(ctx, st, st.ID)
}

func (c *conn) count() {
	c.touch()
	c.sent.Add(1)
	c.v.stats.sent.Add(1)
}

// Close implements router.Session.
func (c *conn) Close(why *stream.Error) {
	if why == nil {
		c.end(errIdle)
		return
	}
	c.end(why)
}

// hold says that the stream is used until release, if it can be.
func (c *conn) hold() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.unused {
		return false
	}
	c.users++
	return true
}

func (c *conn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
}

// closeUnused ends a stream that we opened for a pair that was refused, if there is no
// other use of it.
func (c *conn) closeUnused() {
	c.mu.Lock()
	used := len(c.in) > 0 || c.users > 0
	for _, cl := range c.out {
		used = used || !cl.settled() || cl.valid()
	}
	c.unused = c.unused || !used
	c.mu.Unlock()
	if !used {
		c.end(errIdle)
	}
}

// giveBackTime bounds how long the end of a stream waits for custody.
const giveBackTime = 10 * time.Second

// giveBack returns to the router what the peer has not acknowledged (XEP-0198 §4).
func (c *conn) giveBack(ctx context.Context) {
	left := c.s.Writer().Release()
	if len(left) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	for _, u := range left {
		if u.Stanza.Kind == stanza.Message && router.Storable(u.Stanza) {
			if err := c.v.o.Router.Return(ctx, u.Stanza, u.Sent); err != nil {
				c.log.Warn().Err(err).Str("id", u.Stanza.ID).Msg("message not kept, its sender is told")
			}
			continue
		}
		c.v.bounce(u.Stanza, nil)
	}
	c.log.Info().Int("stanzas", len(left)).Msg("unacknowledged stanzas given back")
}
