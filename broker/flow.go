package broker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// flow is one slice in the hands of this process: the messages that it holds,
// sorted into routes, which the workers of the pool run. Messages outlive an
// epoch: the next one delivers them again, and they are recognised by their
// position in the stream.
type flow struct {
	b     *Broker
	stage Stage
	h     Handler
	o     ConsumeOptions
	c     *counters
	pool  *pool
	log   zerolog.Logger
	over  <-chan struct{} // closed when no further run is to begin

	right   atomic.Pointer[right] // to the slice; nil: a lease is enough
	last    atomic.Uint64         // number of the last delivery of this epoch
	since   atomic.Int64          // when it began, in nanoseconds since 1970
	workers sync.WaitGroup        // runs of routes, and the goroutine that settles
	purges  bool                  // a Drain: what is settled is purged run by run, see drain.go

	mu        sync.Mutex
	created   time.Time // of the stream that done speaks of
	recovered uint64    // up to there another process may have handed messages over
	routes    map[string]*route
	held      map[uint64]*item
	done      seqSet // settled, but the server may not know
	bytes     int64  // of held messages in memory
	stopping  bool
	lag       uint64  // what the server has for us, as counted in the statistics
	idle      bool    // likewise: nobody asks for what waits
	lastAck   string  // where the last acknowledgement went
	later     []*item // to be acknowledged after what is due before, see ack.go
	settling  bool    // a goroutine does so
}

// route is the actor of one route: its messages in order, run by one worker at
// a time. It exists while it has messages. Guarded by flow.mu, except the last
// four fields, which belong to who runs it.
type route struct {
	key   string
	queue []*item
	state routeState
	timer *time.Timer // while waiting

	fails  int   // failures in a row
	single int   // messages to hand over one by one, after a panic
	err    error // why the store or the server made it wait; nil: the handler did
	again  bool  // they had made it wait the time before as well
}

type routeState uint8

const (
	idle routeState = iota // just made
	ready
	running
	waiting
)

func newFlow(b *Broker, stage Stage, h Handler, o ConsumeOptions, over <-chan struct{}) *flow {
	return &flow{
		b: b, stage: stage, h: h, o: o, c: b.counts[stage], over: over,
		pool:      newPool(o.Workers),
		recovered: b.recovered[stage],
		log:       b.log.With().Str("stage", string(stage)).Logger(),
		routes:    make(map[string]*route), held: make(map[uint64]*item), done: make(seqSet),
	}
}

// right is that to work on a slice, until it is lost or the lease runs out.
type right struct {
	lease context.Context // ends with the lease that the slice was taken under
	gone  atomic.Bool
}

// entitled returns nil while what follows from a message may be done, errNotOurs
// afterwards. It is asked right before: a process that was stopped for a while
// goes on in the midst of anything.
func (f *flow) entitled() error {
	if f == nil {
		return nil // not out of a slice
	}
	valid := f.b.lease.valid() // before the lease's end: see lease.renew
	if r := f.right.Load(); !valid || r != nil && (r.gone.Load() || !f.b.lease.forever && r.lease.Err() != nil) {
		return errNotOurs
	}
	return nil
}

// accept takes a delivery. It never blocks: what does not fit into memory is
// only noted.
func (f *flow) accept(work context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata) {
	seq := meta.Sequence.Stream
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopping {
		return
	}
	if it := f.held[seq]; it != nil {
		it.reply, it.alive, it.cseq = m.Reply(), time.Now(), meta.Sequence.Consumer
		return
	}
	if f.done.has(seq) {
		// The acknowledgement went to a consumer that was being deleted.
		f.sendAck(m.Reply())
		return
	}
	it := &item{
		seq: seq, reply: m.Reply(), alive: time.Now(), cseq: meta.Sequence.Consumer,
		doubt:  f.b.o.Replicas > 1 && time.Since(time.Unix(0, f.since.Load())) < catchUp,
		stored: meta.Timestamp, redelivered: meta.NumDelivered > 1 || seq <= f.recovered,
	}
	if f.bytes < f.pool.share(f.o.HeldBytes) {
		it.raw = &rawMsg{m.Subject(), m.Headers(), m.Data()}
		it.size = int64(len(m.Data())) + itemOverhead
		f.bytes += it.size
	}
	f.held[seq] = it
	f.enqueue(work, routeKey(m.Subject()), it)
}

// catchUp is how long after the begin of an epoch a server of a cluster may hand
// messages over that it has not heard were acknowledged: one that has just come
// back, or has much to do. The leader is asked about each of these.
const catchUp = 10 * time.Second

// itemOverhead is roughly what a message takes in memory beside its body.
const itemOverhead = 1 << 10

// routeKey is the subject's token for the route.
func routeKey(subject string) string {
	_, rest, _ := strings.Cut(subject, ".")
	_, rest, _ = strings.Cut(rest, ".")
	route, _, ok := strings.Cut(rest, ".")
	if !ok {
		return ""
	}
	return route
}

// enqueue puts it at the end of its route. f.mu is held.
func (f *flow) enqueue(work context.Context, key string, it *item) {
	r := f.routes[key]
	if r == nil {
		r = &route{key: key}
		f.routes[key] = r
	}
	r.queue = append(r.queue, it)
	if r.state == idle {
		f.makeReady(work, r)
	}
}

// makeReady queues r for the workers; while the flow stops it waits for resume.
// f.mu is held.
func (f *flow) makeReady(work context.Context, r *route) {
	r.state = ready
	if !f.stopping {
		f.pool.push(work, f, r)
	}
}

// serve runs r once, on a worker of the pool.
func (f *flow) serve(work context.Context, r *route) {
	items := f.begin(r)
	if items == nil {
		return
	}
	defer f.workers.Done()
	n, wait := f.run(work, r, items)
	f.putBack(work, r, n, wait)
}

// begin returns the run of r's messages that is to be handled, and counts it
// among f.workers; nil when there is none to begin. A route may be queued twice,
// after the flow has rested.
func (f *flow) begin(r *route) []*item {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.over:
		f.stopping = true
	default:
	}
	if f.stopping || r.state != ready {
		return nil
	}
	f.workers.Add(1)
	r.state = running
	n := min(len(r.queue), f.o.Batch)
	if r.single > 0 {
		n = 1
	}
	for i, it := range r.queue[:n] {
		it.behind = len(r.queue) - i - 1
	}
	return r.queue[:n:n]
}

// resume lets a flow go on that has stopped, or begins it: for handlers with the
// context work, until over is closed.
func (f *flow) resume(work context.Context, r *right, over <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.right.Store(r)
	f.over, f.stopping = over, false
	f.settleOn(work) // what was cut off when the right lapsed
	for _, r := range f.routes {
		f.makeReady(work, r)
	}
}

// putBack returns a route of which n messages are settled and which rests for wait.
func (f *flow) putBack(work context.Context, r *route, n int, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(r.queue[:n])
	r.queue = r.queue[n:]
	switch {
	case len(r.queue) == 0:
		r.state = idle
		delete(f.routes, r.key)
	case wait > 0:
		r.state = waiting
		f.unload(r)
		if !f.stopping {
			r.timer = time.AfterFunc(wait, func() { f.wake(work, r) })
		}
	default:
		f.makeReady(work, r)
	}
}

// unload drops messages of a waiting route from memory: all when it is scarce,
// else those that had no place before. f.mu is held.
func (f *flow) unload(r *route) {
	scarce := f.bytes > f.pool.share(f.o.HeldBytes)/2
	for _, it := range r.queue {
		if it.decided == nil && (scarce || it.size == 0) {
			f.bytes -= it.size
			it.size, it.raw, it.del, it.inline = 0, nil, nil, nil
		}
	}
}

func (f *flow) wake(work context.Context, r *route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stopping && r.state == waiting {
		r.timer = nil
		f.makeReady(work, r)
	}
}

// wakeFailed wakes the routes, and what is to be settled, that wait for the
// server, which is back.
func (f *flow) wakeFailed(work context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settleOn(work)
	for _, r := range f.routes {
		if r.state == waiting && r.err != nil && r.timer != nil && r.timer.Stop() {
			r.timer = nil
			f.makeReady(work, r)
		}
	}
}
