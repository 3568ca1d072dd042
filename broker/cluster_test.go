package broker

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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

// asWanted reports whether every slice is where rendezvous hashing has it.
func (o *owners) asWanted(slices int, nodes ...*Broker) bool {
	var names []string
	for _, b := range nodes {
		names = append(names, b.members.name())
	}
	got := o.snapshot()
	for i := range slices {
		if got[Slice{i, slices}] != wantedOwner(o.stage, i, names) {
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

// Slices are spread over the members as rendezvous hashing has it; one that
// comes takes only its own, and messages flow on meanwhile, each once.
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
	before := w.snapshot()
	stop := feed(t, a, Deliver, 40)

	c := s.node(o)
	start(c)
	eventually(t, "three members with their slices", func() bool { return w.asWanted(slices, a, b, c) })
	for sl, owner := range w.snapshot() {
		if owner != before[sl] && owner != c.members.name() {
			t.Errorf("slice %v went from %s to %s, who did not join", sl, before[sl], owner)
		}
	}
	total := sum(stop())
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n == total })
	if _, again := h.count(); again > 0 {
		t.Errorf("%d of %d messages came again", again, total)
	}
	h.inOrder(t)
	members, _ := a.Members()
	if len(members) != 3 {
		t.Errorf("members %v", members)
	}
	for _, m := range members {
		if len(m.Stages) != 1 || m.Stages[0] != Deliver || m.Node == "" || m.Name == "" || m.Started.IsZero() {
			t.Errorf("member %+v", m)
		}
	}
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
