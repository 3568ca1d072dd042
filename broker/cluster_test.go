package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// These tests run several brokers on one real server, in one process or in
// processes of their own (node_test.go).

// brisk are leases for tests: a death is noticed in seconds, and a machine that
// is slow for one does not count as dead.
var brisk = leaseTimes{beat: 300 * time.Millisecond, ttl: 4 * time.Second, margin: time.Second, settle: 200 * time.Millisecond}

// natsServer is a server that listens, and can be stopped and started again.
type natsServer struct {
	t    testing.TB
	dir  string
	port int
	srv  *server.Server
}

func newServer(t testing.TB) *natsServer {
	t.Helper()
	s := &natsServer{t: t, dir: t.TempDir(), port: -1}
	s.start()
	t.Cleanup(s.stop)
	return s
}

func (s *natsServer) start() {
	s.t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: s.port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: s.dir,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(patience) {
		s.t.Fatal("server does not start")
	}
	s.srv, s.port = srv, srv.Addr().(*net.TCPAddr).Port
}

func (s *natsServer) stop() {
	if s.srv != nil {
		stopServer(s.srv)
		s.srv = nil
	}
}

func (s *natsServer) url() string { return "nats://127.0.0.1:" + strconv.Itoa(s.port) }

func (s *natsServer) options(slices int) Options {
	return Options{
		URLs: []string{s.url()}, MaxStore: 512 * mib, DiskReserve: -1, Slices: slices,
		Log: zerolog.Nop(), lease: brisk,
	}
}

// patient are leases that do not run out during a test.
var patient = leaseTimes{beat: 300 * time.Millisecond, ttl: time.Hour, margin: time.Minute, settle: 200 * time.Millisecond}

func (s *natsServer) node(o Options) *Broker {
	s.t.Helper()
	return openTest(s.t, o)
}

// eventually waits for what nobody announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := testContext(t)
	for !ok() {
		if !pause(ctx, 20*time.Millisecond) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// owners tells which node has each slice of a stage, as its Own says.
type owners struct {
	t     testing.TB
	stage Stage

	mu    sync.Mutex
	of    map[Slice]string
	taken map[string]int // by node
}

func watchOwners(t testing.TB, stage Stage) *owners {
	return &owners{t: t, stage: stage, of: make(map[Slice]string), taken: make(map[string]int)}
}

// own is ConsumeOptions.Own of one node. A slice must never have two.
func (o *owners) own(node string) func(ctx, work context.Context, s Slice, ready func()) error {
	return func(ctx, _ context.Context, s Slice, ready func()) error {
		o.mu.Lock()
		if other := o.of[s]; other != "" {
			o.t.Errorf("%s takes slice %v, which %s has", node, s, other)
		}
		o.of[s] = node
		o.taken[node]++
		o.mu.Unlock()
		ready()
		<-ctx.Done()
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.of, s)
		return nil
	}
}

func (o *owners) snapshot() map[Slice]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := make(map[Slice]string, len(o.of))
	for s, n := range o.of {
		m[s] = n
	}
	return m
}

// asWanted reports whether every slice is where it is to be.
func (o *owners) asWanted(slices int, nodes ...*Broker) bool {
	var names []string
	for _, b := range nodes {
		names = append(names, b.members.name())
	}
	got := o.snapshot()
	for i, name := range wantedOwners(o.stage, slices, names) {
		if got[Slice{i, slices}] != name {
			return false
		}
	}
	return len(got) == slices
}

// once is a handler that knows how often it got each message.
type once struct {
	mu    sync.Mutex
	seen  map[string]int
	next  map[string]int
	fault string
}

func newOnce() *once { return &once{seen: make(map[string]int), next: make(map[string]int)} }

func (o *once) handle(_ context.Context, ds []*Delivery) []Disposition {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]Disposition, len(ds))
	for i, d := range ds {
		if o.seen[d.ID]++; o.seen[d.ID] == 1 {
			if want := fmt.Sprintf("%s-%d", d.Route, o.next[d.Route]); d.ID != want && o.fault == "" {
				o.fault = fmt.Sprintf("got %s, want %s", d.ID, want)
			}
			o.next[d.Route]++
		}
		out[i] = Ack()
	}
	return out
}

// count returns how many messages came, and how many of them again.
func (o *once) count() (messages, again int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.seen {
		again += n - 1
	}
	return len(o.seen), again
}

func (o *once) inOrder(t testing.TB) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault != "" {
		t.Error(o.fault)
	}
}

// feed stores messages on routes one after the other until stop, which returns
// how many were stored on each.
func feed(t testing.TB, b *Broker, stage Stage, routes int) (stop func() map[string]int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stored := make(map[string]int)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			route := routeName(i % routes)
			m := Message{Stage: stage, Route: route, Recipient: "x", ID: fmt.Sprintf("%s-%d", route, stored[route]), Body: []byte("hello")}
			if err := b.Store(context.Background(), m); err != nil {
				pause(ctx, 50*time.Millisecond) // the same once more
				i--
				continue
			}
			stored[route]++
			pause(ctx, 3*time.Millisecond) // a stream of messages, not a flood
		}
	}()
	var once sync.Once
	stop = func() map[string]int {
		once.Do(func() { cancel(); <-done })
		return stored
	}
	t.Cleanup(func() { stop() })
	return stop
}

func sum(m map[string]int) (n int) {
	for _, v := range m {
		n += v
	}
	return n
}

// Slices are spread evenly over the members, also when one more comes, and messages flow
// on meanwhile, each once.
func TestJoin(t *testing.T) {
	t.Parallel()
	const slices = 6
	s := newServer(t)
	o := s.options(slices)
	o.lease = patient
	w, h := watchOwners(t, Deliver), newOnce()
	start := func(b *Broker) func() error {
		return consume(t, b, Deliver, h.handle, ConsumeOptions{Own: w.own(b.members.name())})
	}
	a, b := s.node(o), s.node(o)
	start(a)
	start(b)
	eventually(t, "two members with their slices", func() bool { return w.asWanted(slices, a, b) })
	stop := feed(t, a, Deliver, 40)

	c := s.node(o)
	start(c)
	eventually(t, "three members with their slices", func() bool { return w.asWanted(slices, a, b, c) })
	loads := make(map[string]int)
	for _, owner := range w.snapshot() {
		loads[owner]++
	}
	for name, n := range loads {
		if n != slices/3 {
			t.Errorf("%s has %d of %d slices", name, n, slices)
		}
	}
	total := sum(stop())
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n == total })
	if _, again := h.count(); again > 0 {
		t.Errorf("%d of %d messages came again", again, total)
	}
	h.inOrder(t)
	eventually(t, "three members that are known with their stage", func() bool {
		members, _ := a.Members()
		n := 0
		for _, m := range members {
			if len(m.Stages) == 1 && m.Stages[0] == Deliver && m.Node != "" && m.Name != "" && !m.Started.IsZero() {
				n++
			}
		}
		return n == 3 && len(members) == 3
	})
}

// A member that ends hands its slices over at once and in order: nothing that
// it has acknowledged comes again, and nobody waits for its lease to run out.
func TestLeave(t *testing.T) {
	t.Parallel()
	const slices = 4
	s := newServer(t)
	o := s.options(slices)
	o.lease = patient
	w, h := watchOwners(t, Deliver), newOnce()
	a, b := s.node(o), s.node(o)
	stopA := consume(t, a, Deliver, h.handle, ConsumeOptions{Own: w.own(a.members.name())})
	consume(t, b, Deliver, h.handle, ConsumeOptions{Own: w.own(b.members.name())})
	eventually(t, "both with their slices", func() bool { return w.asWanted(slices, a, b) })
	stop := feed(t, b, Deliver, 40)
	eventually(t, "messages", func() bool { n, _ := h.count(); return n > 200 })
	if err := stopA(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other with all slices", func() bool { return w.asWanted(slices, b) })
	closeTest(t, a)
	eventually(t, "one member", func() bool { m, _ := b.Members(); return len(m) == 1 })
	total := sum(stop())
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n == total })
	if _, again := h.count(); again > 0 {
		t.Errorf("%d of %d messages came again", again, total)
	}
	h.inOrder(t)
	st := a.Stats().Stages[Deliver]
	if st.Owned != 0 || st.Handovers != st.Takeovers || st.Losses != 0 {
		t.Errorf("stats of who left: %+v", st)
	}
	if st := b.Stats().Stages[Deliver]; st.Owned != slices || st.Slices != slices || st.Orphaned != 0 || st.Losses != 0 {
		t.Errorf("stats of who stays: %+v", st)
	}
}

// lateBeat is a connection on which something is done when the bucket is opened.
type lateBeat struct {
	jetstream.JetStream
	beat func()
}

func (l lateBeat) KeyValue(ctx context.Context, bucket string) (jetstream.KeyValue, error) {
	l.beat()
	return l.JetStream.KeyValue(ctx, bucket)
}

// TestLateHeartbeat: a heartbeat that is stored while its process says goodbye does not
// stay behind.
func TestLateHeartbeat(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.options(4)
	o.lease = patient
	o.lease.beat, o.lease.ttl = time.Hour, 3*time.Hour // none but that one
	a, b := s.node(o), s.node(o)
	beats := 0
	a.leases.js = lateBeat{a.leases.js, func() {
		if beats++; beats > 1 {
			return
		}
		if err := (&heart{b: a, joined: true}).write(testContext(t)); err != nil {
			t.Error(err)
		}
	}}
	closeTest(t, a)
	if value, _, err := b.lastLease(testContext(t), nodePrefix+a.members.name()); value != nil || err != nil || beats < 2 {
		t.Fatalf("its last heartbeat is %q, %v, and %d were tried", value, err, beats)
	}
	eventually(t, "one member", func() bool { m, _ := b.Members(); return len(m) == 1 })
}

// Copies of a node's folder give two processes one name: one of them takes
// another, and both work.
func TestTwins(t *testing.T) {
	t.Parallel()
	const slices = 4
	s := newServer(t)
	o := s.options(slices)
	o.lease, o.NodeDir = patient, t.TempDir()
	a := s.node(o)
	stopA := consume(t, a, Ingest, mover(Deliver), ConsumeOptions{})
	eventually(t, "all slices", func() bool { return a.Stats().Stages[Ingest].Owned == slices })
	name := a.members.name()
	o.NodeDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(o.NodeDir, "node"), []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
	b := s.node(o)
	consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	stop := feed(t, b, Ingest, 12)
	eventually(t, "a name of its own for each", func() bool {
		m, _ := a.Members()
		n, _ := b.Members()
		return len(m) == 2 && len(n) == 2 && a.members.name() != name && b.members.name() == name
	})
	names := []string{a.members.name(), name}
	spread := func(br *Broker) bool {
		n := 0
		for _, name := range wantedOwners(Ingest, slices, names) {
			if name == br.members.name() {
				n++
			}
		}
		return br.Stats().Stages[Ingest].Owned == n
	}
	eventually(t, "slices as wanted", func() bool { return spread(a) && spread(b) })
	eventually(t, "messages", func() bool { return b.Stats().Stages[Ingest].Stored > 100 })
	if err := a.Healthy(); err != nil {
		t.Error(err)
	}
	if err := stopA(); err != nil {
		t.Fatal(err)
	}
	stored := stop()
	arrived(t, b, stored)
}

// A server whose clock jumps drops the heartbeats of all; nothing moves.
func TestClockJump(t *testing.T) {
	t.Parallel()
	const slices = 4
	s := newServer(t)
	o := s.options(slices)
	o.lease = patient
	a, b := s.node(o), s.node(o)
	h, w := newOnce(), watchOwners(t, Deliver)
	consume(t, a, Deliver, h.handle, ConsumeOptions{Own: w.own(a.members.name())})
	consume(t, b, Deliver, h.handle, ConsumeOptions{Own: w.own(b.members.name())})
	eventually(t, "both with their slices", func() bool { return w.asWanted(slices, a, b) })
	stop := feed(t, a, Deliver, 12)
	kv, err := a.leaseKV(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	echoes := func(br *Broker) uint64 {
		br.members.mu.Lock()
		defer br.members.mu.Unlock()
		return br.members.echoes
	}
	for range 3 {
		for _, br := range []*Broker{a, b} {
			if err := kv.Purge(testContext(t), nodePrefix+br.members.name()); err != nil {
				t.Fatal(err)
			}
			before := echoes(br)
			eventually(t, "the heartbeat again", func() bool { return echoes(br) > before })
		}
	}
	total := sum(stop())
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n == total })
	if _, again := h.count(); again > 0 {
		t.Errorf("%d messages came again", again)
	}
	for _, br := range []*Broker{a, b} {
		st := br.Stats().Stages[Deliver]
		if st.Losses > 0 || st.Handovers > 0 || st.Takeovers != uint64(st.Owned) {
			t.Errorf("slices have moved: %+v", st)
		}
		if m, _ := br.Members(); len(m) != 2 {
			t.Errorf("members %v", m)
		}
	}
}

// While the server is away for longer than a lease nothing is done; then all go
// on with what they had, and what was handled before is not handled again.
func TestServerGone(t *testing.T) {
	t.Parallel()
	const slices = 4
	s := newServer(t)
	o := s.options(slices)
	o.lease.margin = 3 * time.Second // all have stopped long before one counts as dead
	a, b := s.node(o), s.node(o)
	h := newOnce()
	consume(t, a, Deliver, h.handle, ConsumeOptions{})
	consume(t, b, Deliver, h.handle, ConsumeOptions{})
	owned := func() int { return a.Stats().Stages[Deliver].Owned + b.Stats().Stages[Deliver].Owned }
	eventually(t, "slices owned", func() bool { return owned() == slices })
	stop := feed(t, a, Deliver, 12)
	for round := range 2 {
		before, _ := h.count()
		eventually(t, "messages", func() bool { n, _ := h.count(); return n > before+100 })
		s.stop()
		if round == 0 {
			// Longer than the leases.
			eventually(t, "leases run out", func() bool { return !a.lease.valid() && !b.lease.valid() })
			if a.Healthy() == nil {
				t.Error("healthy without a server")
			}
		}
		s.start()
	}
	total := sum(stop())
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n == total })
	eventually(t, "slices owned", func() bool { return owned() == slices })
	h.inOrder(t)
	lost := a.Stats().Stages[Deliver].Losses + b.Stats().Stages[Deliver].Losses
	if _, again := h.count(); again > 0 && lost == 0 {
		t.Errorf("%d of %d messages were handled again", again, total)
	}
}

// The number of slices changes when nobody lives; until then all use the one
// that is stored. What the old layout has left does not stand in the way.
func TestSliceCount(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	start := func(b *Broker, h *once) func() error { return consume(t, b, Mail, h.handle, ConsumeOptions{}) }
	o := s.options(1)
	o.lease = patient
	a := s.node(o)
	before := newOnce()
	stopA := start(a, before)
	fill(t, a, Mail, 30, 4)
	eventually(t, "messages in one slice", func() bool { n, _ := before.count(); return n == 120 })

	o.Slices = 8
	late := s.node(o)
	if n := late.Stats().Stages[Mail].Slices; n != 1 {
		t.Errorf("%d slices while another process has 1", n)
	}
	if err := stopA(); err != nil {
		t.Fatal(err)
	}
	closeTest(t, late)
	closeTest(t, a)

	// A process of the old layout was killed: its consumer is there.
	b := s.node(o)
	if _, err := b.beginEpoch(testContext(t), Mail, Slice{0, 1}, 1, 10); err != nil {
		t.Fatal(err)
	}
	fill(t, b, Mail, 30, 6) // of these two each are new
	after := newOnce()
	for r := range 30 {
		after.next[routeName(r)] = 4
	}
	start(b, after)
	eventually(t, "all slices", func() bool { return b.Stats().Stages[Mail].Owned == 8 })
	eventually(t, "messages in eight slices", func() bool { n, _ := after.count(); return n == 60 })
	after.inOrder(t)
	if _, again := after.count(); again > 0 {
		t.Errorf("%d messages came again", again)
	}
	names, err := b.epochs(testContext(t), Mail, Slice{0, 1})
	if err != nil || len(names) != 8 {
		t.Errorf("consumers %v, %v", names, err)
	}

	// A member that knows it otherwise adopts, and shares.
	o.Slices = 3
	c := s.node(o)
	start(c, after)
	eventually(t, "slices shared", func() bool {
		m, n := b.Stats().Stages[Mail], c.Stats().Stages[Mail]
		return m.Owned+n.Owned == 8 && n.Slices == 8 && n.Owned == countWanted(c, 8, b, c)
	})
	// Somebody changes it while all live: it is taken up without an overlap.
	kv, err := b.leaseKV(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(testContext(t), countKey, "5"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "five slices", func() bool {
		m, n := b.Stats().Stages[Mail], c.Stats().Stages[Mail]
		return m.Owned+n.Owned == 5 && n.Owned == countWanted(c, 5, b, c)
	})
	fill(t, b, Mail, 30, 7)
	eventually(t, "messages in five slices", func() bool { n, _ := after.count(); return n == 90 })
	after.inOrder(t)
	if _, again := after.count(); again > 0 {
		t.Errorf("%d messages came again", again)
	}
}

// countWanted is how many slices of Mail are to be b's.
func countWanted(b *Broker, slices int, nodes ...*Broker) (n int) {
	var names []string
	for _, o := range nodes {
		names = append(names, o.members.name())
	}
	for _, name := range wantedOwners(Mail, slices, names) {
		if name == b.members.name() {
			n++
		}
	}
	return n
}

// A slice that another process takes is let go of at once: handlers and what
// runs beside it are told, and what they still decide comes to nothing.
func TestTakenAway(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.options(1)
	o.lease = patient
	b := s.node(o)
	ctx := testContext(t)
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "r", Recipient: "x", ID: "1"}); err != nil {
		t.Fatal(err)
	}
	begun, taken, told := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var calls, owns atomic.Int32
	consume(t, b, Ingest, func(ctx context.Context, ds []*Delivery) []Disposition {
		if calls.Add(1) > 1 {
			return mover(Deliver)(ctx, ds)
		}
		close(begun)
		<-taken
		<-ctx.Done()
		return []Disposition{Move(Message{Stage: Deliver, Route: "r", ID: "too late", BodyOf: ds[0]})}
	}, ConsumeOptions{Grace: time.Hour, Own: func(ctx, work context.Context, _ Slice, ready func()) error {
		ready()
		if owns.Add(1) == 1 {
			<-ctx.Done()
			<-work.Done() // without the hour of grace
			close(told)
		}
		<-ctx.Done()
		return nil
	}})
	await(t, "handler", begun)
	kv, err := b.leaseKV(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.PutString(ctx, sliceKey{Ingest, 0}.String(), `{"node":"OTHER","name":"OTHER","of":1}`); err != nil {
		t.Fatal(err)
	}
	close(taken)
	await(t, "what runs beside the slice", told)
	// The other one is nobody: the slice comes back.
	eventually(t, "the message", func() bool { d, err := b.Last(ctx, Deliver, "r"); return err == nil && d != nil })
	if d, _ := b.Last(ctx, Deliver, "r"); d.ID != "1" {
		t.Errorf("moved as %q by who had lost the slice", d.ID)
	}
	if st := b.Stats().Stages[Ingest]; st.Losses != 1 || st.Takeovers != 2 {
		t.Errorf("stats %+v", st)
	}
}

// The slices of a Consume share what it may hold.
func TestShares(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.options(4)
	o.lease = patient
	b := s.node(o)
	var running, most atomic.Int32
	release := make(chan struct{})
	fill(t, b, Deliver, 40, 1)
	h := newOnce()
	consume(t, b, Deliver, func(ctx context.Context, ds []*Delivery) []Disposition {
		n := running.Add(1)
		defer running.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		return h.handle(ctx, ds)
	}, ConsumeOptions{MaxAckPending: 100, Workers: 7})
	eventually(t, "the workers", func() bool { return running.Load() == 7 })
	eventually(t, "a quarter each", func() bool {
		names, err := b.epochs(testContext(t), Deliver, Slice{0, 1})
		if err != nil || len(names) != 4 {
			return false
		}
		for name := range names {
			c, err := b.admin.js.Consumer(testContext(t), streamDeliver, name)
			if err != nil || c.CachedInfo().Config.MaxAckPending != 25 {
				return false
			}
		}
		return true
	})
	close(release)
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n == 40 })
	if n := most.Load(); n != 7 {
		t.Errorf("%d routes at a time, want 7", n)
	}
}

// A claim that was left behind is given back: its release was not taken.
func TestStaleClaim(t *testing.T) {
	t.Parallel()
	const count = 4
	s := newServer(t)
	o := s.options(count)
	o.lease = patient
	a, b := s.node(o), s.node(o)
	for _, br := range []*Broker{a, b} {
		consume(t, br, Mail, newOnce().handle, ConsumeOptions{})
	}
	spread := func() bool {
		return a.Stats().Stages[Mail].Owned == countWanted(a, count, a, b) && b.Stats().Stages[Mail].Owned == countWanted(b, count, a, b)
	}
	eventually(t, "slices as wanted", spread)
	loser, left := b, a
	index := slices.Index(wantedOwners(Mail, count, []string{a.members.name(), b.members.name()}), loser.members.name())
	kv, err := a.leaseKV(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	key := sliceKey{Mail, index}.String()
	claim := fmt.Sprintf(`{"node":%q,"name":%q,"of":%d}`, left.Node(), left.members.name(), count)
	if _, err := kv.PutString(testContext(t), key, claim); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the slice lost", func() bool { return loser.Stats().Stages[Mail].Losses == 1 })
	eventually(t, "slices as wanted", spread)
}

// What its last owner has handed over without a decision is not new to the next.
func TestUndecided(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.options(1)
	o.lease = patient
	a, b := s.node(o), s.node(o)
	fill(t, b, Mail, 1, 1) // neither was there when it was opened
	begun := make(chan struct{})
	var once sync.Once
	stop := consume(t, a, Mail, func(_ context.Context, ds []*Delivery) []Disposition {
		if ds[0].Redelivered {
			t.Error("the first that is handed over is not new")
		}
		once.Do(func() { close(begun) })
		return []Disposition{Retry(time.Hour)}
	}, ConsumeOptions{})
	await(t, "the first handler", begun)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	again := make(chan bool, 1)
	consume(t, b, Mail, func(_ context.Context, ds []*Delivery) []Disposition {
		again <- ds[0].Redelivered
		return []Disposition{Ack()}
	}, ConsumeOptions{})
	if !<-again {
		t.Error("a message that another has handed over looks new")
	}
}
