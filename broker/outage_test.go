package broker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"mcmt2xmpp/broker/natstest"
)

var outages = flag.Int("outages", 1, "how often each test of a cluster makes its outage")

const (
	clusterRoutes = 25

	// pace is how long a producer rests between two messages.
	pace = 200 * time.Millisecond

	// flowing is how many messages of each route are a sign that everything works.
	flowing = 10
)

// The leader of the streams dies and returns.
func TestClusterKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range *outages {
		i := w.c.Leader(streamIngest)
		w.c.Kill(i)
		w.flows("without a server")
		w.c.Start(i)
		w.ready()
		w.flows("with all servers")
	}
	w.finish()
}

// A member that leads is cut off from the two others: what they hear and decide
// counts, and clients on its side find their way.
func TestClusterPartition(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range *outages {
		i := w.c.Leader(streamDeliver)
		w.c.Isolate(i)
		w.flows("beside a server that is cut off")
		w.c.Heal()
		w.ready()
		w.flows("with all servers")
	}
	w.finish()
}

// A member comes back with the folder of an earlier day. It learns from the
// others; then one of these dies.
func TestClusterOldFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range *outages {
		i := w.c.Leader(streamIngest)
		w.c.Stop(i)
		w.c.Snapshot(i)
		w.c.Start(i)
		w.ready()
		w.flows("that the old folder does not have")
		w.c.Kill(i)
		w.c.Restore(i)
		w.c.Start(i)
		w.ready()
		j := w.c.Leader(streamIngest)
		if j == i {
			j = (i + 1) % 3
		}
		w.c.Kill(j)
		w.flows("by the one with the old folder and another")
		w.c.Start(j)
		w.ready()
	}
	w.finish()
}

// Every member is restarted, one after the other.
func TestClusterRestart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range *outages {
		for i := range 3 {
			w.c.Stop(i)
			w.flows("while a server restarts")
			w.c.Start(i)
			w.ready()
		}
	}
	w.finish()
}

// world is a broker on three servers, through which messages flow on many routes
// and all ways: converted, delivered, parked and drained, given up.
type world struct {
	t *testing.T
	c *natstest.Cluster
	b *Broker

	log *tail

	end     context.CancelFunc // of the producers
	resting sync.RWMutex       // held by a producer that stores
	working sync.WaitGroup
	stop    []func() error // of the consumers

	mu       sync.Mutex
	accepted map[string][]int           // numbers of the messages, by route
	maybe    int                        // messages of which it is not known
	arrived  map[string][]int           // delivered or given up, without copies
	seen     map[string]map[int]bool    // the same
	parked   map[string]map[string]bool // ids in Park, by route
	dead     map[string]bool            // ids that must be in Dead
	total    int                        // of arrived
	copies   int
	longest  time.Duration // that a Store took
	news     chan struct{}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	c := natstest.New(t, 3, natstest.Options{TLS: true, Auth: natstest.Credentials, SyncAlways: true})
	log := new(tail)
	w := &world{
		t: t, c: c, b: openTest(t, clusterOptions(c, zerolog.New(log).With().Timestamp().Logger())), log: log,
		accepted: make(map[string][]int), arrived: make(map[string][]int), seen: make(map[string]map[int]bool),
		parked: make(map[string]map[string]bool), dead: make(map[string]bool), news: make(chan struct{}, 1),
	}
	for r := range clusterRoutes {
		w.seen[routeName(r)] = make(map[int]bool)
		w.parked[routeName(r)] = make(map[string]bool)
	}
	w.stop = append(w.stop, consume(t, w.b, Ingest, mover(Deliver), ConsumeOptions{}), consume(t, w.b, Deliver, w.deliver, ConsumeOptions{}))
	ctx, cancel := context.WithCancel(context.Background())
	w.end = cancel
	t.Cleanup(func() { cancel(); w.working.Wait() })
	for r := range clusterRoutes {
		w.working.Go(func() { w.produce(ctx, r) })
	}
	drains, stopDrains := context.WithCancel(context.Background())
	var draining sync.WaitGroup
	for r := 3; r < clusterRoutes; r += 5 {
		draining.Go(func() { w.drain(drains, routeName(r)) })
	}
	w.stop = append(w.stop, func() error { stopDrains(); draining.Wait(); return nil })
	t.Cleanup(func() { stopDrains(); draining.Wait() })
	w.flows("at first")
	return w
}

// produce stores messages of one route. On every other route a message that was
// not taken is stored again until it is, as a server does; on the others it is
// given up.
func (w *world) produce(ctx context.Context, r int) {
	route := routeName(r)
	for n := 0; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d", route, n)
		m := Message{Stage: Ingest, Route: route, Recipient: "x@" + route, ID: id, Body: []byte(id)}
		if n%200 == 100 {
			m.Body = append([]byte(id+" "), make([]byte, maxInline)...)
		}
		for {
			w.resting.RLock()
			begin := time.Now()
			err := w.b.Store(context.WithoutCancel(ctx), m)
			w.stored(route, n, err, time.Since(begin))
			w.resting.RUnlock()
			if err == nil || r%2 == 1 || !pause(ctx, 50*time.Millisecond) {
				break
			}
		}
		pause(ctx, pace)
	}
}

func (w *world) stored(route string, n int, err error, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longest = max(w.longest, took)
	switch {
	case err == nil:
		w.accepted[route] = append(w.accepted[route], n)
	case !errors.Is(err, ErrUnavailable) || permanent(err):
		w.t.Errorf("%s-%d: %v: want a temporary ErrUnavailable", route, n, err)
	default:
		w.maybe++
	}
}

// deliver is the handler of Deliver. Each fifth route cannot take messages from
// time to time: then they are parked, until all of them are drained. On another
// fifth some messages are given up.
func (w *world) deliver(_ context.Context, ds []*Delivery) []Disposition {
	out := make([]Disposition, len(ds))
	for i, d := range ds {
		r, n := w.number(d)
		w.mu.Lock()
		switch {
		case r%5 == 3 && (n%100 == 20 || len(w.parked[d.Route]) > 0):
			w.parked[d.Route][d.ID] = true
			out[i] = Move(Message{Stage: Park, Route: d.Route, Recipient: d.Recipient, ID: d.ID, BodyOf: d})
		case r%5 == 4 && n%10 == 5:
			w.dead[d.ID] = true
			out[i] = Term("test: given up")
			w.take(d, n)
		default:
			out[i] = Ack()
			w.take(d, n)
		}
		w.mu.Unlock()
	}
	return out
}

// drain empties a route of Park again and again.
func (w *world) drain(ctx context.Context, route string) {
	h := HandlerFunc(func(_ context.Context, ds []*Delivery) []Disposition {
		out := make([]Disposition, len(ds))
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, d := range ds {
			_, n := w.number(d)
			delete(w.parked[d.Route], d.ID)
			w.take(d, n)
			out[i] = Ack()
		}
		return out
	})
	for ctx.Err() == nil {
		w.mu.Lock()
		n := len(w.parked[route])
		w.mu.Unlock()
		if n > 0 {
			// What it does not get to now it will the next time.
			if _, err := w.b.Drain(ctx, Park, route, h); err != nil {
				w.b.log.Warn().Err(err).Str("route", route).Msg("drain")
			}
		}
		pause(ctx, 500*time.Millisecond)
	}
}

// number takes the id of a message apart.
func (w *world) number(d *Delivery) (route, n int) {
	cut := strings.LastIndexByte(d.ID, '-')
	n, err := strconv.Atoi(d.ID[cut+1:])
	if err != nil || d.ID[:cut] != d.Route {
		w.t.Errorf("message %q of route %s", d.ID, d.Route)
	}
	if text, _, _ := strings.Cut(string(d.Body), " "); text != d.ID {
		w.t.Errorf("%s has the body %.40q", d.ID, d.Body)
	}
	_, _ = fmt.Sscanf(d.Route, "user%d@", &route) // ours
	return route, n
}

// take notes an arrival. w.mu is held.
func (w *world) take(d *Delivery, n int) {
	route := d.Route
	if w.seen[route][n] {
		w.copies++
		return
	}
	w.seen[route][n] = true
	w.arrived[route] = append(w.arrived[route], n)
	w.total++
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// flows waits until messages arrive that are stored after the call.
func (w *world) flows(when string) {
	w.t.Helper()
	begin := time.Now()
	w.mu.Lock()
	want := make(map[string]int)
	for route := range w.seen {
		want[route] = len(w.accepted[route]) + flowing
	}
	w.mu.Unlock()
	w.until("messages "+when, func() string {
		for route, n := range want {
			switch {
			case len(w.accepted[route]) < n:
				return fmt.Sprintf("%s has accepted %d, not %d", route, len(w.accepted[route]), n)
			case !w.seen[route][w.accepted[route][n-1]]:
				return fmt.Sprintf("%s-%d has not arrived, %d others have", route, w.accepted[route][n-1], len(w.arrived[route]))
			}
		}
		return ""
	})
	w.t.Logf("%s: messages flow after %v", when, time.Since(begin).Round(time.Millisecond))
}

// ready waits until a server that has come back has got everything. The producers
// rest meanwhile: on a machine that has much to do the server (2.15.2) might never
// catch up with them.
func (w *world) ready() {
	w.t.Helper()
	w.resting.Lock()
	defer w.resting.Unlock()
	w.c.WaitReady()
}

// until waits until missing, which is called with w.mu held, returns nothing.
func (w *world) until(what string, missing func() string) {
	w.t.Helper()
	timeout := time.After(natstest.Patience)
	for {
		w.mu.Lock()
		m := missing()
		w.mu.Unlock()
		if m == "" {
			return
		}
		select {
		case <-w.news:
		case <-time.After(100 * time.Millisecond):
		case <-timeout:
			w.t.Errorf("waited for %s: %s", what, m)
			w.tellStages()
			w.checkDead()
			w.t.FailNow()
		}
	}
}

// tellStages says what the stages hold, and what the broker has said lately.
func (w *world) tellStages() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	for _, stage := range []Stage{Ingest, Deliver, Park} {
		for r := range clusterRoutes {
			held, _, err := w.b.Peek(ctx, stage, routeName(r), 0, 5)
			for _, m := range held {
				w.t.Logf("%s holds %s at %d", stage, m.ID, m.Seq)
			}
			if err != nil {
				w.t.Logf("%s of %s: %v", stage, routeName(r), err)
			}
		}
	}
	w.t.Logf("parked, as far as the handler knows: %v", w.parked)
	w.t.Logf("the end of the log:\n%s", w.log.String())
}

// tail is the last that was written.
type tail struct {
	mu  sync.Mutex
	end []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.end = append(t.end, b...); len(t.end) > 64<<10 {
		t.end = slices.Clone(t.end[len(t.end)-32<<10:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.end)
}

// finish ends the producers and compares what was accepted with what arrived.
func (w *world) finish() {
	w.t.Helper()
	w.end()
	w.working.Wait()
	w.until("all that was accepted", func() string {
		for route, ns := range w.accepted {
			for _, n := range ns {
				if !w.seen[route][n] {
					return fmt.Sprintf("%s-%d of %d, %d have arrived", route, n, len(ns), len(w.arrived[route]))
				}
			}
		}
		return ""
	})
	for _, stop := range w.stop {
		if err := stop(); err != nil {
			w.t.Error(err)
		}
	}
	for route, ns := range w.accepted {
		r := 0
		_, _ = fmt.Sscanf(route, "user%d@", &r) // ours
		w.checkOrder(route, ns, r%2 == 0)
	}
	w.checkDead()
	if limit := w.b.o.StoreTimeout + patience; w.longest > limit {
		w.t.Errorf("a Store took %v, more than %v", w.longest, limit)
	}
	w.t.Logf("%d messages accepted, %d refused or unknown, %d arrived, %d given up, %d copies, the longest Store took %v",
		count(w.accepted), w.maybe, w.total, len(w.dead), w.copies, w.longest.Round(time.Millisecond))
}

func count(m map[string][]int) (n int) {
	for _, l := range m {
		n += len(l)
	}
	return n
}

// checkOrder compares the accepted messages of a route with those that arrived.
// Those of which it was not known, and that nobody has stored again, may stand
// anywhere.
func (w *world) checkOrder(route string, accepted []int, all bool) {
	w.t.Helper()
	next := 0
	for _, n := range w.arrived[route] {
		switch {
		case next < len(accepted) && n == accepted[next]:
			next++
		case all && next < len(accepted):
			w.t.Errorf("%s: %d arrived, want %d", route, n, accepted[next])
			return
		}
	}
	if next < len(accepted) {
		w.t.Errorf("%s: %d did not arrive in the order of acceptance", route, accepted[next])
	}
}

// checkDead reads the stage Dead, which must hold all that was given up and
// nothing else.
func (w *world) checkDead() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	missing := maps.Clone(w.dead)
	for m := range w.all(ctx, streamDead) {
		id, reason := m.Headers().Get(hdrID), m.Headers().Get(hdrReason)
		if !w.dead[id] {
			w.t.Errorf("%s is in Dead: %s", id, reason)
		}
		delete(missing, id)
	}
	for id := range missing {
		w.t.Errorf("%s is not in Dead", id)
	}
}

// all are the messages of a stream.
func (w *world) all(ctx context.Context, stream string) iter.Seq[jetstream.Msg] {
	return func(yield func(jetstream.Msg) bool) {
		cons, err := w.b.admin.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{})
		if err != nil {
			w.t.Error(err)
			return
		}
		info, err := cons.Info(ctx)
		if err != nil {
			w.t.Error(err)
			return
		}
		msgs, err := cons.Messages()
		if err != nil {
			w.t.Error(err)
			return
		}
		defer msgs.Stop()
		for n := info.NumPending; n > 0; n-- {
			m, err := msgs.Next(jetstream.NextContext(ctx))
			if err != nil {
				w.t.Errorf("%d messages of %s are missing: %v", n, stream, err)
				return
			}
			if !yield(m) {
				return
			}
		}
	}
}
