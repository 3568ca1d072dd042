package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// sessionPatience bounds what must happen; only a failure waits so long.
const sessionPatience = 3 * time.Minute

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), sessionPatience)
	t.Cleanup(cancel)
	return ctx
}

// become waits until is returns true.
func become(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(sessionPatience)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within %v", what, sessionPatience)
		}
	}
}

// poll is the pause between two looks.
func poll() <-chan time.Time { return time.After(5 * time.Millisecond) }

// outside is a NATS server of its own, which may be restarted.
type outside struct {
	t   testing.TB
	o   server.Options
	now *server.Server
}

func startOutside(t testing.TB) *outside {
	t.Helper()
	n := &outside{t: t, o: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	n.start()
	n.o.Port = n.now.Addr().(*net.TCPAddr).Port // the same one when it starts again
	t.Cleanup(n.stop)
	return n
}

func (n *outside) start() {
	n.t.Helper()
	o := n.o // the server changes its options
	s, err := server.NewServer(&o)
	if err != nil {
		n.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(sessionPatience) {
		n.t.Fatal("the server does not start")
	}
	n.now = s
}

func (n *outside) stop() {
	n.now.Shutdown()
	n.now.WaitForShutdown()
}

// gate is a connection to the server that can be held up, as that of a process
// that is stopped or cut off.
type gate struct {
	ln    net.Listener
	to    string
	flow  sync.RWMutex // held by hold
	conns sync.WaitGroup

	mu   sync.Mutex
	near map[net.Conn]bool
}

func newGate(t testing.TB, to string) *gate {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{ln: ln, to: to, near: make(map[net.Conn]bool)}
	g.conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			g.conns.Go(func() { g.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		g.conns.Wait()
	})
	return g
}

func (g *gate) carry(near net.Conn) {
	defer near.Close()
	g.mu.Lock()
	g.near[near] = true
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.near, near)
	}()
	far, err := net.Dial("tcp", g.to)
	if err != nil {
		return
	}
	defer far.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		both.Go(func() {
			defer near.Close()
			defer far.Close()
			_, _ = io.Copy(way[0], gated{way[1], &g.flow})
		})
	}
	both.Wait()
}

// gated reads nothing on while the gate is held.
type gated struct {
	io.Reader
	flow *sync.RWMutex
}

func (r gated) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.flow.RLock()
	defer r.flow.RUnlock()
	return n, err
}

// hold stops everything until release.
func (g *gate) hold() (release func()) {
	g.flow.Lock()
	return sync.OnceFunc(g.flow.Unlock)
}

// cut loses all connections that there are.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.near {
		_ = c.Close()
	}
}

// living are the Members of all nodes of a test.
type living struct {
	mu      sync.Mutex
	nodes   map[string]bool
	changed chan struct{}
}

func newLiving() *living { return &living{nodes: make(map[string]bool), changed: make(chan struct{})} }

func (l *living) Members() (all []broker.Member, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for node, live := range l.nodes {
		if live {
			all = append(all, broker.Member{Node: node})
		}
	}
	return all, l.changed
}

func (l *living) set(node string, live bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes[node] = live
	close(l.changed)
	l.changed = make(chan struct{})
}

// cluster is a server and the nodes on it.
type cluster struct {
	t      testing.TB
	nats   *outside
	living *living
	times  sessionTimes
	// rosters are known to all nodes; nil: there are none.
	rosters router.Rosters
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	return &cluster{t: t, nats: startOutside(t), living: newLiving(), times: sessionTimes{
		ask: sessionPatience, check: 50 * time.Millisecond, reap: 300 * time.Millisecond, retry: 20 * time.Millisecond,
		borrow: 20 * time.Second, loan: 20 * time.Second,
	}}
}

// node is one process: what it shares, and its router.
type node struct {
	t        testing.TB
	cluster  *cluster
	gate     *gate
	broker   *broker.Broker
	sessions *Sessions
	router   *router.Router

	mu   sync.Mutex
	able []jid.JID // calls of OnAvailable

	came atomic.Int32 // calls of OnCome
}

func (c *cluster) node() *node {
	c.t.Helper()
	n := &node{t: c.t, cluster: c, gate: newGate(c.t, c.nats.now.Addr().String())}
	b, err := broker.Open(soon(c.t), broker.Options{
		URLs: []string{"nats://" + n.gate.ln.Addr().String()}, MaxStore: 1 << 30, Log: zerolog.Nop(),
	})
	if err != nil {
		c.t.Fatal(err)
	}
	n.broker = b
	c.living.set(b.Node(), true)
	n.sessions = NewSessions(SessionsOptions{Broker: b, Members: c.living, times: c.times, OnAvailable: n.noteAble,
		Forward: func(ctx context.Context, st *stanza.Stanza) { _ = n.router.Forward(ctx, st) },
		OnLost:  func(ctx context.Context, full jid.JID) { n.router.Lost(ctx, full) },
		OnCome: func(ctx context.Context, s router.Session, back bool) {
			n.came.Add(1)
			n.router.Come(ctx, s, back)
		},
	})
	n.router = router.New(router.Options{
		Domains: func(d string) bool { return d == "localhost" }, Registry: n.sessions, MaxSessions: 4, Rosters: c.rosters,
	})
	if err := n.sessions.Open(soon(c.t)); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { n.close() })
	return n
}

// close ends the node as it should end.
func (n *node) close() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = n.sessions.Close(ctx) // fails where the server is down
	closeBroker(n.t, n.broker)
	n.cluster.living.set(n.broker.Node(), false)
}

func (n *node) noteAble(bare jid.JID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.able = append(n.able, bare)
}

// wasAble says whether OnAvailable was called for bare since the last time.
func (n *node) wasAble(bare jid.JID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.Index(n.able, bare)
	if i < 0 {
		return false
	}
	n.able = nil
	return true
}

// die ends the node as a killed process ends: nothing is said to anybody.
func (n *node) die() {
	n.sessions.end()
	closeBroker(n.t, n.broker)
	n.cluster.living.set(n.broker.Node(), false)
}

// client is a session of a test. It has presence as c2s has it.
type client struct {
	node *node
	full jid.JID
	rank atomic.Int32

	mu      sync.Mutex
	show    *stanza.Stanza // its last presence
	got     []*stanza.Stanza
	had     map[string]bool // stanza ids that the client has had
	gone    error           // of Send, when set
	closed  []*stream.Error
	prove   func(ctx context.Context) (router.Proof, error)
	taking  func(ctx context.Context) error // before a stanza is queued
	discard bool                            // it keeps nothing of what it gets
	ends    bool                            // Close ends it, as it ends a client of the real server
}

func (n *node) client(full string) *client {
	c := &client{node: n, full: jid.MustParse(full)}
	c.rank.Store(away)
	return c
}

// bind binds a session that is not available.
func (n *node) bind(full string) *client {
	n.t.Helper()
	c := n.client(full)
	if err := n.router.Bind(c); err != nil {
		n.t.Fatal(err)
	}
	return c
}

// online binds a session with a priority.
func (n *node) online(full string, priority int8) *client {
	n.t.Helper()
	c := n.bind(full)
	c.available(priority)
	return c
}

func (c *client) JID() jid.JID { return c.full }

func (c *client) Priority() (int8, bool) {
	if r := c.rank.Load(); r != away {
		return int8(r), true
	}
	return 0, false
}

// available is presence from the client.
func (c *client) available(priority int8) {
	c.mu.Lock()
	c.show = stanza.NewPresence(c.full.Bare(), c.full, "")
	c.show.ID = fmt.Sprint(priority)
	c.rank.Store(int32(priority))
	c.mu.Unlock()
	c.node.router.Changed(c)
	c.node.router.Available(c)
}

func (c *client) unavailable() {
	c.mu.Lock()
	c.show = nil
	c.rank.Store(away)
	c.mu.Unlock()
	c.node.router.Changed(c)
}

func (c *client) Introduce(ctx context.Context, to router.Session) {
	c.mu.Lock()
	show := c.show
	c.mu.Unlock()
	if show != nil {
		_ = to.Send(ctx, show)
	}
}

func (c *client) Retire(context.Context) { c.unavailable() }

func (c *client) Send(ctx context.Context, st *stanza.Stanza) error {
	_, err := c.take(ctx, st)
	return err
}

func (c *client) SendKept(ctx context.Context, st *stanza.Stanza) (bool, error) {
	return c.take(ctx, st)
}

func (c *client) take(ctx context.Context, st *stanza.Stanza) (had bool, err error) {
	c.mu.Lock()
	taking := c.taking
	c.mu.Unlock()
	if taking != nil {
		if err := taking(ctx); err != nil {
			return false, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.gone != nil:
		return false, c.gone
	case c.had[st.ID]:
		return true, nil
	case c.discard:
		return false, nil
	}
	c.got = append(c.got, st)
	return false, nil
}

func (c *client) Prove(ctx context.Context) (router.Proof, error) {
	c.mu.Lock()
	prove := c.prove
	c.mu.Unlock()
	if prove == nil {
		return router.ProofAnswer, nil
	}
	return prove(ctx)
}

func (c *client) Close(reason *stream.Error) {
	c.mu.Lock()
	c.closed = append(c.closed, reason)
	c.mu.Unlock()
	if c.ends {
		c.node.router.Unbind(c)
	}
}

// conflicted says whether it was closed because another one has its JID.
func (c *client) conflicted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.closed, func(e *stream.Error) bool { return e != nil && e.Condition == stream.Conflict })
}

// texts are the bodies of the messages that it got.
func (c *client) texts() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.got {
		if b := st.Child("body"); b != nil {
			all = append(all, b.Text())
		}
	}
	return all
}

// presences are those that it got, as "resource type".
func (c *client) presences() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.got {
		if st.Kind == stanza.Presence {
			all = append(all, st.From.Resource()+" "+st.Type)
		}
	}
	return all
}

func message(to, id, text string) *stanza.Stanza {
	st := stanza.NewMessage(jid.MustParse(to), jid.MustParse("news@corp.example"), stanza.TypeChat, text)
	st.ID = id
	return st
}

// sees waits until a node knows exactly these sessions of an account, as
// "resource priority", in this order.
func (n *node) sees(bare string, want ...string) {
	n.t.Helper()
	var got []string
	become(n.t, fmt.Sprintf("%s is known as %q", bare, want), func() bool {
		got = n.list(bare)
		return slices.Equal(got, want)
	})
}

func (n *node) list(bare string) (all []string) {
	for _, s := range n.sessions.Sessions(jid.MustParse(bare)) {
		text := s.JID().Resource()
		if p, ok := s.Priority(); ok {
			text += fmt.Sprintf(" %d", p)
		}
		all = append(all, text)
	}
	return all
}

// keys waits until the bucket has that many entries.
func (n *node) keys(want int) {
	n.t.Helper()
	become(n.t, fmt.Sprintf("%d entries", want), func() bool {
		l, err := n.sessions.bucket().ListKeys(soon(n.t))
		if err != nil {
			return false
		}
		got := 0
		for range l.Keys() {
			got++
		}
		return got == want
	})
}

// revision is that of a session's entry.
func (n *node) revision(full string) uint64 {
	n.t.Helper()
	e, err := n.sessions.bucket().Get(soon(n.t), sessionKey(jid.MustParse(full)))
	if err != nil {
		n.t.Fatal(err)
	}
	return e.Revision()
}

// TestSessionElsewhere: a message reaches a client on another node, with all that
// is in it, and its proof comes back.
func TestSessionElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	bob := b.online("bob@localhost/ä / .*", 5)
	a.sees("bob@localhost", "ä / .* 5")
	if !a.wasAble(jid.MustParse("bob@localhost")) || b.wasAble(jid.MustParse("bob@localhost")) {
		t.Error("a session elsewhere that becomes available is not told of, or one here is")
	}
	st := message("bob@localhost", "m1", "hello & <good> day")
	st.Lang = "de"
	took, had, err := a.router.DeliverKept(soon(t), st)
	if err != nil || had || len(took) != 1 || took[0].JID() != bob.full {
		t.Fatalf("taken by %v, had %v, %v", took, had, err)
	}
	if got := bob.got; len(got) != 1 || got[0].String() != st.String() {
		t.Errorf("got %v, want %s", got, st)
	}
	if proof, err := took[0].Prove(soon(t)); err != nil || proof != router.ProofAnswer {
		t.Errorf("proof %q, %v", proof, err)
	}
	bob.had = map[string]bool{"m2": true}
	if took, had, err = a.router.DeliverKept(soon(t), message("bob@localhost", "m2", "again")); err != nil || !had || len(took) != 0 {
		t.Errorf("a message that the client has had: %v, %v, %v", took, had, err)
	}
	if _, err := a.router.Deliver(soon(t), message(bob.full.String(), "m3", "to the full JID")); err != nil {
		t.Error(err)
	}
	if got := bob.texts(); !slices.Equal(got, []string{"hello & <good> day", "to the full JID"}) {
		t.Errorf("got %q", got)
	}
	if !b.router.Unbind(bob) {
		t.Error("it was not bound")
	}
	a.sees("bob@localhost")
	if _, err := a.router.Deliver(soon(t), message("bob@localhost", "m4", "gone")); !errors.Is(err, router.ErrOffline) {
		t.Errorf("after its end: %v, want ErrOffline", err)
	}
	if s := a.sessions.Stats(); s.Sent != 3 || s.SendFailed != 0 || s.Proven != 1 || s.Remote != 0 {
		t.Errorf("counted %+v", s)
	}
	b.keys(0)
}

// TestPrioritiesElsewhere is RFC 6121 §8.5.2.1.1 for resources on several nodes.
func TestPrioritiesElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b, d := c.node(), c.node(), c.node()
	low := a.online("bob@localhost/low", 1)
	high := b.online("bob@localhost/high", 5)
	d.sees("bob@localhost", "low 1", "high 5") // oldest first
	twin := d.online("bob@localhost/twin", 5)
	never := a.online("bob@localhost/never", -1)
	for _, n := range []*node{a, b, d} {
		n.sees("bob@localhost", "low 1", "high 5", "twin 5", "never -1")
	}
	send := func(n *node, text string, err error) {
		t.Helper()
		if _, got := n.router.Deliver(soon(t), message("bob@localhost", text, text)); !errors.Is(got, err) {
			t.Errorf("%s: %v, want %v", text, got, err)
		}
	}
	want := func(c *client, texts ...string) {
		t.Helper()
		if got := c.texts(); !slices.Equal(got, texts) {
			t.Errorf("%s got %q, want %q", c.full.Resource(), got, texts)
		}
	}
	for i, n := range []*node{a, b, d} {
		send(n, fmt.Sprint("to both ", i), nil)
	}
	high.available(0)
	twin.unavailable()
	for i, n := range []*node{a, b, d} {
		n.sees("bob@localhost", "low 1", "high 0", "twin", "never -1")
		send(n, fmt.Sprint("to low ", i), nil)
	}
	low.available(-5)
	b.router.Unbind(high)
	for i, n := range []*node{a, b, d} {
		n.sees("bob@localhost", "low -5", "twin", "never -1")
		send(n, fmt.Sprint("to nobody ", i), router.ErrOffline)
	}
	want(high, "to both 0", "to both 1", "to both 2")
	want(twin, "to both 0", "to both 1", "to both 2")
	want(low, "to low 0", "to low 1", "to low 2")
	want(never)
}

// TestMaxElsewhere counts the sessions of an account on all nodes.
func TestMaxElsewhere(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	a, b := c.node(), c.node()
	for i := range 2 {
		a.bind(fmt.Sprint("bob@localhost/a", i))
		b.bind(fmt.Sprint("bob@localhost/b", i))
	}
	for _, n := range []*node{a, b} {
		become(t, "all are known", func() bool { return len(n.list("bob@localhost")) == 4 })
		if err := n.router.Bind(n.client("bob@localhost/more")); !errors.Is(err, router.ErrTooManySessions) {
			t.Errorf("a fifth session: %v", err)
		}
	}
	// One that takes the place of another is none more, wherever that is.
	for _, full := range []string{"bob@localhost/a0", "bob@localhost/b0"} {
		if err := a.router.Bind(a.client(full)); err != nil {
			t.Errorf("%s: %v", full, err)
		}
	}
}

// outsideJetStream looks at the server as somebody else does.
func outsideJetStream(t testing.TB, n *node) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(n.cluster.nats.now.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
