package delivery

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

var histories = flag.Int("histories", 6, "how many random histories TestHistories plays; 200 in the long run")

// nodes are processes of a cluster, in one process: each has its own connection
// to the same server, which can be cut as a kill would, its own conversion and its
// own delivery. The sessions of the clients outlive them all.
type nodes struct {
	t      testing.TB
	dir    string
	server *server.Server
	router *router.Router
	rules  Rules

	mu  sync.Mutex
	all []*node
}

type node struct {
	name   string
	wire   *wire
	gate   *gate
	broker *broker.Broker
	dl     *Delivery
	stop   func() // gracefully
}

func newNodes(t testing.TB, n int) *nodes {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	c := &nodes{t: t, dir: t.TempDir(), server: s, rules: rules(t), router: router.New(router.Options{
		Domains: func(domain string) bool { return domain == "localhost" },
	})}
	c.router.OnAvailable(func(bare jid.JID) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, n := range c.all {
			if n != nil {
				n.dl.Wake(bare)
			}
		}
	})
	c.all = make([]*node, n)
	for i := range c.all {
		c.start(i)
	}
	t.Cleanup(func() {
		for i := range c.all {
			c.leave(i)
		}
	})
	return c
}

// start begins a node that does not run.
func (c *nodes) start(i int) {
	c.t.Helper()
	n := &node{name: fmt.Sprintf("n%d", i), wire: newWire(c.t, c.server.Addr().String())}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dir := filepath.Join(c.dir, n.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	b, err := broker.Open(ctx, broker.Options{URLs: []string{"nats://" + n.wire.addr()}, NodeDir: dir, Slices: 4, Name: n.name, MaxStore: 1 << 30, Log: zerolog.Nop()})
	if err != nil {
		c.t.Fatal(err)
	}
	n.broker = b
	n.gate = &gate{Router: c.router}
	n.dl = New(Options{Broker: b, Router: n.gate, Exchange: b, Log: zerolog.Nop(), Node: n.name})
	conversion := &Conversion{Rules: func() Rules { return c.rules }, Trace: new(trace.Bus)}
	run, end := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.fine(n.dl.Run(run, broker.ConsumeOptions{Grace: time.Second})) })
	running.Go(func() { c.fine(b.Consume(run, broker.Ingest, conversion, broker.ConsumeOptions{Grace: time.Second})) })
	n.stop = func() {
		end()
		running.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[i] = n
}

func (c *nodes) fine(err error) {
	if err != nil {
		c.t.Error(err)
	}
}

// take takes node i out, nil where it does not run.
func (c *nodes) take(i int) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.all[i]
	c.all[i] = nil
	return n
}

// leave stops a node as SIGTERM does.
func (c *nodes) leave(i int) {
	if n := c.take(i); n != nil {
		n.stop()
		n.close()
	}
}

// crash ends a node as SIGKILL does: from this moment on nothing that it says
// reaches the server or a client.
func (c *nodes) crash(i int) {
	if n := c.take(i); n != nil {
		n.gate.shut()
		n.wire.cut()
		n.stop()
		n.close()
	}
}

func (n *node) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = n.broker.Close(ctx) // without a connection it cannot end well
	n.wire.cut()
}

// any is a node that runs.
func (c *nodes) any() *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.all {
		if n != nil {
			return n
		}
	}
	return nil
}

// gate is the router as a node sees it while it lives.
type gate struct {
	*router.Router

	mu   sync.RWMutex
	dead bool
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dead = true
}

func (g *gate) DeliverKept(ctx context.Context, st *stanza.Stanza) ([]router.Session, bool, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.dead {
		return nil, false, errOver
	}
	return g.Router.DeliverKept(ctx, st)
}

// wire carries connections to the server until it is cut.
type wire struct {
	ln net.Listener

	mu      sync.Mutex
	open    []net.Conn
	severed bool
	running sync.WaitGroup
}

func newWire(t testing.TB, target string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln}
	w.running.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil || !w.keep(in, out) {
				_ = in.Close()
				continue
			}
			w.running.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			w.running.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
	t.Cleanup(w.cut)
	return w
}

func (w *wire) addr() string { return w.ln.Addr().String() }

func (w *wire) keep(conns ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.severed {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	w.open = append(w.open, conns...)
	return true
}

func (w *wire) cut() {
	w.mu.Lock()
	w.severed = true
	_ = w.ln.Close()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.running.Wait()
}

// history is what one recipient gets to see, over all sessions, and the model that
// it is compared with: the messages in the order of their acceptance.
type history struct {
	c    *nodes
	user jid.JID

	mu      sync.Mutex
	sent    []string // bodies, as the clients got them
	known   map[string]int
	faults  []string
	copies  int
	clients []*client
	logins  int
}

func (h *history) body(i int) string { return fmt.Sprintf("%s says %d", h.user.Local(), i) }

// got is called for each stanza. One that the journal has as delivered may not
// come again, and none may be left out.
func (h *history) got(st *stanza.Stanza) {
	text := strings.TrimSpace(st.Child("body").Text())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sent = append(h.sent, text)
	if _, again := h.known[text]; !again {
		if want := h.body(len(h.known)); text != want {
			h.faults = append(h.faults, fmt.Sprintf("%q came where %q was due", text, want))
		}
		h.known[text] = len(h.sent)
		return
	}
	h.copies++
	if h.delivered(text) {
		h.faults = append(h.faults, fmt.Sprintf("%q came again although it was recorded as delivered", text))
	}
}

// delivered says whether the journal has the message as delivered.
func (h *history) delivered(text string) bool {
	n := h.c.any()
	if n == nil {
		return false
	}
	var i int
	if _, err := fmt.Sscanf(text, h.user.Local()+" says %d", &i); err != nil {
		h.c.t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	records, err := n.broker.Records(ctx, string(h.id(i)), "", time.Time{}, 1)
	return err == nil && len(records) > 0
}

func (h *history) id(i int) mcmt.ID { return mcmt.ID(fmt.Sprintf("q-%s-%d", h.user.Local(), i)) }

func (h *history) login() {
	h.mu.Lock()
	h.logins++
	c := newClient(fmt.Sprintf("%s/r%d", h.user, h.logins))
	c.received = h.got
	h.clients = append(h.clients, c)
	h.mu.Unlock()
	if err := h.c.router.Bind(c); err != nil {
		h.c.t.Error(err)
	}
	h.c.router.Available(c)
}

func (h *history) logout() {
	h.mu.Lock()
	if len(h.clients) == 0 {
		h.mu.Unlock()
		return
	}
	c := h.clients[0]
	h.clients = h.clients[1:]
	h.mu.Unlock()
	h.c.router.Unbind(c)
	c.Close(nil)
}

// play draws a history and compares it with the model at its end.
func (c *nodes) play(rt *rapid.T, round int) {
	const users = 5
	var all []*history
	for i := range users {
		all = append(all, &history{c: c, user: jid.MustParse(fmt.Sprintf("u%d-%d@localhost", round, i)), known: make(map[string]int)})
	}
	accepted := make([]int, users)
	steps := rapid.SliceOfN(rapid.SampledFrom([]string{"accept", "accept", "accept", "accept", "login", "logout", "crash", "leave", "join", "retry", "wait"}), 20, 60).Draw(rt, "steps")
	for _, step := range steps {
		u := rapid.IntRange(0, users-1).Draw(rt, "user")
		node := rapid.IntRange(0, len(c.all)-1).Draw(rt, "node")
		switch step {
		case "accept":
			for range rapid.IntRange(1, 20).Draw(rt, "messages") {
				if c.accept(all[u], accepted[u]) {
					accepted[u]++
				}
			}
		case "login":
			all[u].login()
		case "logout":
			all[u].logout()
		case "crash":
			c.crash(node)
		case "leave":
			c.leave(node)
		case "join":
			if c.all[node] == nil {
				c.start(node)
			}
		case "retry":
			if n := c.any(); n != nil {
				_, _ = n.dl.Retry(context.Background(), []string{all[u].user.String()}) // nobody may own it now
			}
		case "wait":
			<-time.After(time.Duration(rapid.IntRange(0, 50).Draw(rt, "ms")) * time.Millisecond)
		}
	}
	for i := range c.all {
		if c.all[i] == nil {
			c.start(i)
		}
	}
	for u, h := range all {
		h.login()
		h.settle(accepted[u])
		for len(h.clients) > 0 {
			h.logout()
		}
		for _, f := range h.faults {
			rt.Errorf("%s: %s", h.user, f)
		}
		if h.copies > 0 {
			c.t.Logf("%s: %d copies", h.user, h.copies)
		}
	}
}

// accept stores a message through a node that runs, as intake does, and again where
// it is not known whether it was stored. It says whether the message was accepted.
func (c *nodes) accept(h *history, i int) bool {
	n := c.any()
	if n == nil {
		return false
	}
	to := h.user
	rec := custody.Record{ID: h.id(i), From: "news@corp.example", To: mcmt.Recipient{Address: to.String()},
		Reception: mcmt.Allow, Accepted: time.Now(), JID: to}
	raw := strings.ReplaceAll(mail, "from the mail", h.body(i))
	msg, err := custody.Ingest(rec, 0, []byte(raw))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for range 50 {
		if n := c.any(); n != nil && n.broker.Store(ctx, msg) == nil {
			return true
		}
		<-time.After(100 * time.Millisecond)
	}
	c.t.Fatal("the store takes nothing")
	return false
}

// settle waits until all are delivered and recorded as such, each once.
func (h *history) settle(accepted int) {
	h.c.t.Helper()
	eventually(h.c.t, fmt.Sprintf("%s: all %d delivered and recorded", h.user, accepted), func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		records, err := h.c.any().broker.Records(ctx, "", h.user.String(), time.Time{}, accepted+1)
		if err != nil || len(records) != accepted {
			return false
		}
		return !slices.ContainsFunc(records, func(r broker.Record) bool {
			o, err := custody.DecodeOutcome(r.Data)
			return err != nil || o.End != custody.Delivered
		})
	})
}

// TestHistories: random schedules of acceptance, logins, crashes, takeovers and
// retries over three nodes end, for each recipient, in what the model says: every
// message, in the order of acceptance, delivered and recorded once.
func TestHistories(t *testing.T) {
	if err := flag.Set("rapid.checks", fmt.Sprint(*histories)); err != nil { // a fifth of it with -short
		t.Fatal(err)
	}
	c := newNodes(t, 3)
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		c.play(rt, round)
	})
}
