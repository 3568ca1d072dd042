package s2s

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/ping"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stream"
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
	checking chan struct{} // capacity: keys that are asked about at the same time

	mu        sync.Mutex
	pings     *ping.Prover // nil: nothing was to be proven yet
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
	c.closePings()
	c.giveBack(ctx)
	close(c.returned) // what is newer need not wait for the peer to close
	event := c.log.Info()
	if errors.Is(err, errIdle) {
		event = c.log.Debug()
	}
	event.Str("domain", c.JID().Domain()).Bool("incoming", c.incoming).Uint64("sent", c.sent.Load()).Uint64("received", c.received.Load()).Str("reason", stream.Reason(err, "peer")).Msg("stream with server ended")
	c.v.stats.ended(err)
	end := err
	if errors.Is(err, errIdle) || errors.Is(err, errUnmanaged) || errors.Is(err, context.Canceled) {
		end = nil
	}
	_ = c.s.End(context.WithoutCancel(ctx), end) // it has its own deadline
}
