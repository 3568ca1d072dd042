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

// flow is one Consume: the messages it holds, sorted into routes, and the
// workers that run the routes. Messages outlive an epoch: the next one delivers
// them again, and they are recognised by their position in the stream.
type flow struct {
	b     *Broker
	stage Stage
	h     Handler
	o     ConsumeOptions
	c     *counters
	log   zerolog.Logger
	over  <-chan struct{} // closed when no further run is to begin

	last    atomic.Uint64  // number of the last delivery of this epoch
	since   atomic.Int64   // when it began, in nanoseconds
	workers sync.WaitGroup // goroutines in work

	mu       sync.Mutex
	created  time.Time // of the stream that done speaks of
	routes   map[string]*route
	held     map[uint64]*item
	done     seqSet   // settled, but the server may not know
	ready    []*route // have messages and nobody runs them
	busy     int      // workers
	bytes    int64    // of held messages in memory
	stopping bool
	fenced   bool    // the stage is another's
	lastAck  string  // where the last acknowledgement went
	lastSeq  uint64  // for which message
	unsynced []*item // to be acknowledged after the next sync
	syncing  bool    // a goroutine does so
	syncErr  error   // why some were not
	drained  mark    // of a Drain: what earlier ones have settled
}

// route is the actor of one route: its messages in order, run by one worker at
// a time. It exists while it has messages. Guarded by flow.mu, except the last
// three fields, which belong to who runs it.
type route struct {
	key   string
	queue []*item
	state routeState
	timer *time.Timer // while waiting

	fails  int   // failures in a row
	single int   // messages to hand over one by one, after a panic
	err    error // why the store or the server made it wait; nil: the handler did
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
		log:    b.log.With().Str("stage", string(stage)).Logger(),
		routes: make(map[string]*route), held: make(map[uint64]*item), done: make(seqSet),
	}
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
		stored: meta.Timestamp, redelivered: meta.NumDelivered > 1 || seq <= f.b.recovered[f.stage],
	}
	it.doubt = f.b.o.Replicas > 1 && time.Since(time.Unix(0, f.since.Load())) < catchUp
	if f.bytes < f.o.HeldBytes {
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
	parts := strings.SplitN(subject, ".", 4)
	if len(parts) < 4 {
		return ""
	}
	return parts[2]
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

// makeReady queues r for the workers and starts one if there may be another.
// f.mu is held.
func (f *flow) makeReady(work context.Context, r *route) {
	r.state = ready
	f.ready = append(f.ready, r)
	if f.busy < f.o.Workers && !f.stopping {
		f.busy++
		f.workers.Go(func() { f.work(work) })
	}
}

// work runs routes until none is ready.
func (f *flow) work(work context.Context) {
	for {
		r, items := f.next()
		if r == nil {
			return
		}
		n, wait := f.run(work, r, items)
		f.putBack(work, r, n, wait)
	}
}

// next takes a route and the run of its messages that is to be handled.
func (f *flow) next() (*route, []*item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.over:
		f.stopping = true
	default:
	}
	if f.stopping || len(f.ready) == 0 {
		f.busy--
		return nil, nil
	}
	r := f.ready[0]
	f.ready[0] = nil
	f.ready = f.ready[1:]
	r.state = running
	n := min(len(r.queue), f.o.Batch)
	if r.single > 0 {
		n = 1
	}
	for i, it := range r.queue[:n] {
		it.behind = len(r.queue) - i - 1
	}
	return r, r.queue[:n:n]
}

// putBack returns a route of which n messages are settled and which rests for wait.
func (f *flow) putBack(work context.Context, r *route, n int, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(r.queue[:n])
	r.queue = r.queue[n:]
	switch {
	case len(r.queue) == 0:
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
	scarce := f.bytes > f.o.HeldBytes/2
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

// wakeFailed wakes the routes that wait for the server, which is back.
func (f *flow) wakeFailed(work context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.routes {
		if r.state == waiting && r.err != nil && r.timer != nil && r.timer.Stop() {
			r.timer = nil
			f.makeReady(work, r)
		}
	}
}
