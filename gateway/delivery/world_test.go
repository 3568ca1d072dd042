package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The server (2.15.2) sometimes leaves the file store of a refused batch
		// open when it stops, and with it its clock.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// patience bounds every wait. It is shorter than the first retry interval of these
// tests, so that what only that would bring about counts as missing.
const patience = 2 * time.Minute

func patientOutgoing(string) config.Outgoing {
	out := defaultOutgoing
	out.RetryInterval = 2 * patience
	return out
}

var (
	alice = jid.MustParse("alice@localhost")
	bob   = jid.MustParse("bob@localhost")
	news  = jid.MustParse("news@mail.localhost")
)

// world is a Delivery between the real broker and the real router. Only the
// clients are made up.
type world struct {
	t      testing.TB
	dir    string
	broker *broker.Broker
	router *router.Router
	hooks  hooks
	dl     *Delivery
	events *recorder
	count  int // messages put

	outgoing func(domain string) config.Outgoing
	states   States // nil: schedules begin anew with each Delivery
	slices   int    // of each stage; zero: one
	made     *Made  // nil: stanzas are parsed
}

// hooks stand between the Delivery and the broker and router. A nil one does
// nothing.
type hooks struct {
	store func(msgs []broker.Message, store func() error) error
	drain func()
	sent  func(st *stanza.Stanza) // before the router gets it
}

type hookedBroker struct {
	*broker.Broker
	w *world
}

func (b hookedBroker) Store(ctx context.Context, msgs ...broker.Message) error {
	store := func() error { return b.Broker.Store(ctx, msgs...) }
	if h := b.w.hooks.store; h != nil {
		return h(msgs, store)
	}
	return store()
}

func (b hookedBroker) Drain(ctx context.Context, stage broker.Stage, route string, h broker.Handler) (int, error) {
	if h := b.w.hooks.drain; h != nil {
		h()
	}
	return b.Broker.Drain(ctx, stage, route, h)
}

type hookedRouter struct{ w *world }

func (r hookedRouter) DeliverKept(ctx context.Context, st *stanza.Stanza) ([]router.Session, bool, error) {
	if h := r.w.hooks.sent; h != nil {
		h(st)
	}
	return r.w.router.DeliverKept(ctx, st)
}

func (r hookedRouter) Serves(domain string) bool { return r.w.router.Serves(domain) }

func (r hookedRouter) Forward(ctx context.Context, st *stanza.Stanza) error {
	return r.w.router.Forward(ctx, st)
}

func (r hookedRouter) Reachable(bare jid.JID) bool { return r.w.router.Reachable(bare) }

func newWorld(t testing.TB) *world { return newWorldOf(t, nil) }

func newWorldOf(t testing.TB, outgoing func(domain string) config.Outgoing) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), outgoing: outgoing}
	if outgoing == nil {
		w.outgoing = patientOutgoing
	}
	w.open()
	return w
}

// open starts the broker and what needs it; after close once more, as another
// process would.
func (w *world) open() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := broker.Open(ctx, broker.Options{Dir: w.dir, DiskReserve: -1, MaxStore: 1 << 30, Slices: w.slices, Log: zerolog.Nop()})
	if err != nil {
		w.t.Fatal(err)
	}
	w.broker, w.events = b, newRecorder()
	w.t.Cleanup(func() { w.close(b) })
	w.router = router.New(router.Options{
		Domains:  ours,
		Accounts: func(_ context.Context, bare jid.JID) (bool, error) { return bare.Local() != "nobody", nil },
	})
	bus := new(trace.Bus)
	bus.Subscribe(w.events.add)
	w.renew(bus)
	w.router.OnAvailable(func(full jid.JID) { w.dl.Wake(full) })
}

// ours says that clients of a domain log in here.
func ours(domain string) bool {
	return domain == "localhost" || strings.HasSuffix(domain, ".bench.localhost")
}

// renew makes another Delivery.
func (w *world) renew(bus *trace.Bus) {
	w.dl = New(Options{Broker: hookedBroker{w.broker, w}, Router: hookedRouter{w}, Made: w.made, States: w.states, Outgoing: w.outgoing, Trace: bus, Log: zerolog.Nop(), Node: "here"})
}

func (w *world) close(b *broker.Broker) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		w.t.Error(err)
	}
}

// run starts the Delivery; stop ends it and returns what Run returned.
func (w *world) run() (stop func() error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.dl.Run(ctx, broker.ConsumeOptions{}) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			w.t.Error("Run did not end")
			return errors.New("still running")
		}
	})
	w.t.Cleanup(func() {
		if err := stop(); err != nil {
			w.t.Error(err)
		}
	})
	return stop
}

// put stores n messages for to in the DELIVER stage and returns their ids.
func (w *world) put(to jid.JID, n int) []string {
	w.t.Helper()
	ids := make([]string, n)
	for i := range ids {
		w.count++
		ids[i] = fmt.Sprintf("m%d", w.count)
		st := stanza.NewMessage(to, news, stanza.TypeChat, "hello")
		st.ID = ids[i]
		w.store(w.message(st))
	}
	return ids
}

func (w *world) putStanza(st *stanza.Stanza) {
	w.t.Helper()
	w.store(w.message(st))
}

// message is a stanza as conversion stores it.
func (w *world) message(st *stanza.Stanza) broker.Message {
	w.t.Helper()
	rec := custody.Record{ID: mcmt.ID("q-" + st.ID), From: "news@corp.example", To: mcmt.Recipient{Address: st.To.Bare().String()},
		Accepted: time.Now(), JID: st.To, StanzaID: st.ID, Part: "xmpp"}
	msg, err := custody.Deliver(rec, string(rec.ID), st.Append(nil, ""))
	if err != nil {
		w.t.Fatal(err)
	}
	return msg
}

func (w *world) store(msg broker.Message) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.broker.Store(ctx, msg); err != nil {
		w.t.Fatal(err)
	}
}

// waiting is how many messages PARK holds, by route.
func (w *world) waiting() map[string]int {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	routes, err := w.broker.Routes(ctx, broker.Park)
	if err != nil {
		w.t.Fatal(err)
	}
	return routes
}

// due makes the time of every route come.
func (w *world) due() {
	w.dl.mu.Lock()
	defer w.dl.mu.Unlock()
	for name, rt := range w.dl.routes {
		if o := w.dl.owner(name); o != nil && rt.parked.Load() > 0 {
			rt.Next = time.Now()
			o.due.add(rt)
			o.nudge()
		}
	}
}

func (w *world) dead() uint64 { return w.broker.Stats().Stages[broker.Dead].Messages }

// idle fails where routes are remembered that nothing waits for.
func (w *world) idle() {
	w.t.Helper()
	eventually(w.t, "routes forgotten", func() bool {
		w.dl.mu.Lock()
		defer w.dl.mu.Unlock()
		for _, o := range w.dl.owned {
			if len(o.woken) > 0 || len(o.due.routes) > 0 {
				return false
			}
		}
		return len(w.dl.routes) == 0
	})
}

// client is a session of a client that is made up. It is a router.Session.
type client struct {
	full jid.JID
	news chan struct{} // holds one after each stanza
	over chan struct{} // closed at its end

	mu       sync.Mutex
	got      []*stanza.Stanza
	priority int8
	away     bool          // sent no presence
	deaf     bool          // does not answer pings any more
	hold     chan struct{} // answers pings after this is closed; nil: at once
	asked    chan struct{} // closed at the first ping
	pings    int
	proofs   func(n int)             // called at the n-th ping; nil: nothing
	sent     func(id string)         // called for each stanza; nil: nothing
	received func(st *stanza.Stanza) // likewise
	proved   func(ids []string)      // called with what was sent before a ping that is answered; nil: nothing
}

func newClient(full string) *client {
	return &client{full: jid.MustParse(full), news: make(chan struct{}, 1), over: make(chan struct{}), asked: make(chan struct{})}
}

// login binds a client and makes it available.
func (w *world) login(full string, change ...func(*client)) *client {
	w.t.Helper()
	c := newClient(full)
	for _, f := range change {
		f(c)
	}
	if err := w.router.Bind(c); err != nil {
		w.t.Fatal(err)
	}
	w.router.Available(c)
	return c
}

func deaf(c *client) { c.deaf = true }

// logout ends the session, whatever way.
func (w *world) logout(c *client) {
	w.router.Unbind(c)
	c.Close(nil)
}

func (c *client) JID() jid.JID { return c.full }

func (c *client) Priority() (int8, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.priority, !c.away
}

var errOver = errors.New("session is over")

func (c *client) Send(_ context.Context, st *stanza.Stanza) error {
	select {
	case <-c.over:
		return errOver
	default:
	}
	c.mu.Lock()
	c.got = append(c.got, st)
	if c.sent != nil {
		c.sent(st.ID)
	}
	if c.received != nil {
		c.received(st)
	}
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
	return nil
}

func (c *client) SendKept(ctx context.Context, st *stanza.Stanza) (bool, error) {
	return false, c.Send(ctx, st)
}

func (c *client) Prove(ctx context.Context) (router.Proof, error) {
	c.mu.Lock()
	deaf, hold := c.deaf, c.hold
	if c.pings++; c.pings == 1 {
		close(c.asked)
	}
	if c.proofs != nil {
		c.proofs(c.pings)
	}
	c.mu.Unlock()
	if !deaf && c.proved != nil {
		c.proved(c.ids())
	}
	if !deaf && hold == nil {
		return router.ProofAnswer, nil
	}
	if deaf {
		hold = nil
	}
	select {
	case <-hold:
		return router.ProofAnswer, nil
	case <-c.over:
		return "", errOver
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (c *client) Close(*stream.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.over:
	default:
		close(c.over)
	}
}

// ids are those of the stanzas that the client was sent, in order.
func (c *client) ids() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]string, len(c.got))
	for i, st := range c.got {
		ids[i] = st.ID
	}
	return ids
}

// expect waits until the client was sent these stanzas, and no others.
func (c *client) expect(t testing.TB, want []string) {
	t.Helper()
	limit := time.After(patience)
	for len(c.ids()) < len(want) {
		select {
		case <-c.news:
		case <-limit:
			t.Fatalf("%s got %v, want %v", c.full, c.ids(), want)
		}
	}
	if got := c.ids(); !slices.Equal(got, want) {
		t.Fatalf("%s got %v, want %v", c.full, got, want)
	}
}

// recorder keeps the events of a bus.
type recorder struct {
	mu    sync.Mutex
	all   map[trace.Stage][]trace.Event
	count map[about]int
	new   chan struct{}
}

// about is what events are counted by; the empty JID stands for all.
type about struct {
	stage trace.Stage
	jid   string
}

func newRecorder() *recorder {
	return &recorder{all: make(map[trace.Stage][]trace.Event), count: make(map[about]int), new: make(chan struct{}, 1)}
}

func (r *recorder) add(e trace.Event) {
	r.mu.Lock()
	r.all[e.Stage] = append(r.all[e.Stage], e)
	r.count[about{e.Stage, ""}]++
	if e.JID != "" {
		r.count[about{e.Stage, e.JID}]++
	}
	r.mu.Unlock()
	select {
	case r.new <- struct{}{}:
	default:
	}
}

func (r *recorder) of(stage trace.Stage) []trace.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all[stage])
}

func (r *recorder) counted(stage trace.Stage, jid string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[about{stage, jid}]
}

// wait waits for n events of a stage and returns all there are.
func (r *recorder) wait(t testing.TB, stage trace.Stage, n int) []trace.Event {
	t.Helper()
	limit := time.After(patience)
	for r.counted(stage, "") < n {
		select {
		case <-r.new:
		case <-limit:
			t.Fatalf("%d of %d messages %s", r.counted(stage, ""), n, stage)
		}
	}
	return r.of(stage)
}

// eventually waits for what no event tells.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
