package delivery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/intake"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// The benchmarks of this file compare two ways within one run, in turns, so that
// what else the machine does meets both. One iteration is one turn of each:
//
//	go test ./gateway/delivery -run - -bench 'Rate|Latency' -benchtime 7x
const (
	injectors = 64
	turn      = 20_000 // messages
)

// template is an MCMT message of 1 KiB with places for its number, for one of the
// users.
type template struct {
	text   []byte
	places []int              // where the number goes
	to     [][]mcmt.Recipient // of one message after the other
}

const numberDigits = 9

func newTemplate(b *testing.B, s shape) template {
	b.Helper()
	const mark = "#########"
	build := func(filler int) []byte {
		raw, err := mcmt.Build(mcmt.Draft{
			MessageID: mark + "@corp.example", Email: []byte("Message-ID: <" + mark + "@corp.example>\r\n" + mail),
			XMPP: []byte("<message><body>" + mark + strings.Repeat("x", filler) + "</body></message>"),
		})
		if err != nil {
			b.Fatal(err)
		}
		return raw
	}
	raw := build(1024 - len(build(0)))
	if len(raw) != 1024 {
		b.Fatalf("message of %d bytes", len(raw))
	}
	t := template{text: raw}
	for i := bytes.Index(raw, []byte(mark)); i >= 0; i = bytes.Index(raw, []byte(mark)) {
		t.places = append(t.places, i)
		copy(raw[i:], "000000000")
	}
	for i := range s.users {
		var to []mcmt.Recipient
		for k := range s.fan {
			to = append(to, mcmt.Recipient{Address: s.user(i*s.fan + k).String()})
		}
		t.to = append(t.to, to)
	}
	return t
}

// number is the n-th message.
func (t template) number(n int) []byte {
	raw := bytes.Clone(t.text)
	digits := strconv.Itoa(n)
	for _, p := range t.places {
		copy(raw[p+numberDigits-len(digits):], digits)
	}
	return raw
}

// numberOf is the number of the message that st was made of.
func numberOf(st *stanza.Stanza) (int, error) {
	return strconv.Atoi(st.Element.Child(xmlwire.Name{Space: stanza.Client, Local: "body"}).Text()[:numberDigits])
}

// inject calls put for the numbers from first to first+n from many goroutines.
func inject(b *testing.B, first, n int, put func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var injecting sync.WaitGroup
	for range injectors {
		injecting.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := put(first + i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	injecting.Wait()
}

// pipeline is everything between a listener and the sessions, at work.
type pipeline struct {
	b      *testing.B
	shape  shape
	t      template
	world  *world
	bound  *router.Router // where everybody is logged in
	intake *intake.Intake
	parsed *custody.Parsed
	sent   atomic.Pointer[func(*stanza.Stanza)]
	stop   func()
}

// timed is a session that has always received everything at once, and tells.
type timed struct {
	*client
	p *pipeline
}

func (s *timed) SendKept(_ context.Context, st *stanza.Stanza) (bool, error) {
	if f := s.p.sent.Load(); f != nil {
		(*f)(st)
	}
	return false, nil
}
func (s *timed) Prove(context.Context) (router.Proof, error) { return router.ProofAnswer, nil }

type everyone struct{}

func (everyone) Exists(context.Context, jid.JID) (bool, error) { return true, nil }

// shape is what a pipeline has to do with.
type shape struct {
	users   int // who are logged in
	domains int // that they are spread over
	slices  int // of each stage
	fan     int // recipients of a message
}

var plain = shape{users: benchUsers, domains: 1, slices: 1, fan: 1}

// user is the i-th one.
func (s shape) user(i int) jid.JID {
	if i %= s.users; s.domains > 1 {
		return jid.MustParse(fmt.Sprintf("user%d@d%d.bench.localhost", i, i%s.domains))
	}
	return jid.MustParse(fmt.Sprintf("user%d@localhost", i))
}

// openPipeline starts one over an empty store.
func openPipeline(b *testing.B) *pipeline { return openPipelineOf(b, plain) }

func openPipelineOf(b *testing.B, s shape) *pipeline {
	b.Helper()
	w := &world{t: b, dir: b.TempDir(), outgoing: patientOutgoing, slices: s.slices, made: new(Made)}
	w.open()
	p := &pipeline{b: b, shape: s, t: newTemplate(b, s), world: w}
	p.start()
	return p
}

// start runs it with its users logged in and a log that is written and thrown
// away.
func (p *pipeline) start() {
	b := p.b
	b.Helper()
	routes, err := store.OpenRoutes(context.Background(), p.world.broker, func(err error) { b.Error(err) })
	if err != nil {
		b.Fatal(err)
	}
	p.world.states = routes
	bus := new(trace.Bus)
	bus.Subscribe(trace.Log(zerolog.New(io.Discard).Level(zerolog.InfoLevel).With().Timestamp().Logger()))
	p.world.renew(bus)
	if p.bound != p.world.router {
		p.bound = p.world.router
		for i := range p.shape.users {
			s := &timed{newClient(p.shape.user(i).String() + "/a"), p}
			if err := p.bound.Bind(s); err != nil {
				b.Fatal(err)
			}
		}
	}
	rules := rules(b)
	p.parsed = new(custody.Parsed)
	p.intake = newIntake(p.world.broker, bus, rules.Converter, p.parsed)
	c := &Conversion{Rules: func() Rules { return rules }, Trace: bus, Parsed: p.parsed, Made: p.world.made}
	ctx, cancel := context.WithCancel(context.Background())
	var saving sync.WaitGroup
	saving.Go(func() { routes.Run(ctx) })
	run := p.world.run()
	stop := consume(b, p.world, broker.Ingest, c.Handle)
	p.stop = func() { // intake, conversion, delivery, schedules: the order of a real stop
		stop()
		if err := run(); err != nil {
			b.Error(err)
		}
		cancel()
		saving.Wait()
	}
}

func newIntake(br intake.Broker, bus *trace.Bus, c *convert.Converter, parsed *custody.Parsed) *intake.Intake {
	return intake.New(intake.Options{
		Broker: br, Accounts: everyone{}, Trace: bus, Log: zerolog.Nop(),
		Converter: func() *convert.Converter { return c },
		Role:      func(string) convert.Role { return convert.Server },
		Parsed:    parsed,
	})
}

// envelope is that of the i-th message.
func (t template) envelope(i int) mcmt.Envelope {
	return mcmt.Envelope{From: "news@corp.example", To: t.to[i%len(t.to)],
		Reception: mcmt.Allow, Listener: "esmtp_listener 127.0.0.1:2525", Received: time.Now(), Confirms: true}
}

func (p *pipeline) put(i int) error { return accept(p.intake, p.t, i) }

// accept has the i-th message accepted, from a client that sees the answer.
func accept(in *intake.Intake, t template, i int) error {
	id, err := in.Put(context.Background(), t.envelope(i), t.number(i))
	in.Confirm(id)
	return err
}

// recorded waits until n messages are delivered and their record is kept.
func (p *pipeline) recorded(n int) {
	p.b.Helper()
	eventually(p.b, "all delivered", func() bool { return p.world.dl.Stats().Delivered >= uint64(n) })
	eventually(p.b, "all recorded", func() bool { return p.world.broker.Stats().Stages[broker.Deliver].Acked >= uint64(n) })
}

// bareCopy is JetStream with nothing of ours.
type bareCopy struct {
	b *testing.B
	t template
	*broker.Ceiling
}

func openCopy(b *testing.B, syncAlways bool) *bareCopy {
	b.Helper()
	c, err := broker.OpenCeiling(b.Context(), b.TempDir(), syncAlways)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return &bareCopy{b, newTemplate(b, plain), c}
}

func (c *bareCopy) put(i int) error {
	return c.Put(context.Background(), "user"+strconv.Itoa(i%benchUsers), c.t.number(i))
}

// copied waits until n messages have gone all the way.
func (c *bareCopy) copied(n int) {
	c.b.Helper()
	eventually(c.b, "all copied", func() bool {
		arrived, err := c.Arrived()
		if err != nil {
			c.b.Fatal(err)
		}
		return arrived >= int64(n)
	})
}

// rates are messages per second of two ways that took turns, and the time of
// processors that each took for a message.
type rates struct{ ours, bare []speed }

type speed struct{ perSecond, cpu float64 }

func (r *rates) report(b *testing.B, bare string) {
	b.Helper()
	of := func(value func(ours, bare speed) float64) float64 {
		v := make([]float64, len(r.ours))
		for i := range v {
			v[i] = value(r.ours[i], r.bare[i])
		}
		return median(v)
	}
	b.ReportMetric(of(func(ours, _ speed) float64 { return ours.perSecond }), "msg/s")
	b.ReportMetric(of(func(_, bare speed) float64 { return bare.perSecond }), bare+"/s")
	b.ReportMetric(of(func(ours, bare speed) float64 { return ours.perSecond / bare.perSecond }), "ratio")
	b.ReportMetric(of(func(ours, _ speed) float64 { return ours.cpu }), "cpu-µs/msg")
	b.ReportMetric(of(func(_, bare speed) float64 { return bare.cpu }), "cpu-µs/"+bare)
	b.ReportMetric(of(func(ours, bare speed) float64 { return bare.cpu / ours.cpu }), "cpu-ratio")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// measure is how fast work does n messages.
func measure(n int, work func()) speed {
	start, used := time.Now(), processors()
	work()
	return speed{float64(n) / time.Since(start).Seconds(), float64((processors() - used).Microseconds()) / float64(n)}
}

// processors is the time that this process has had of them.
func processors() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRate is the whole pipeline, from a listener's Put to the record of the
// delivery, beside the bare copy.
func BenchmarkRate(b *testing.B) {
	p, c := openPipeline(b), openCopy(b, false)
	defer p.stop()
	var r rates
	for n := 0; b.Loop(); n += turn {
		r.ours = append(r.ours, measure(turn, func() {
			inject(b, n, turn, p.put)
			p.recorded(n + turn)
		}))
		r.bare = append(r.bare, measure(turn, func() {
			inject(b, n, turn, c.put)
			c.copied(n + turn)
		}))
	}
	r.report(b, "copy")
}

// BenchmarkRatePower is acceptance with durability = "power", beside publishes to
// a server that syncs each before it answers (sync: always).
func BenchmarkRatePower(b *testing.B) {
	const always = turn / 4 // it is slow
	ctx := context.Background()
	br, err := broker.Open(ctx, broker.Options{Dir: b.TempDir(), DiskReserve: -1, MaxStore: 8 << 30, Durability: broker.DurabilityPower, Log: zerolog.Nop()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := br.Close(ctx); err != nil {
			b.Error(err)
		}
	}()
	t, in, c := newTemplate(b, plain), newIntake(br, nil, rules(b).Converter, nil), openCopy(b, true)
	var r rates
	for n := 0; b.Loop(); n += turn {
		r.ours = append(r.ours, measure(turn, func() {
			inject(b, n, turn, func(i int) error { return accept(in, t, i) })
		}))
		r.bare = append(r.bare, measure(always, func() { inject(b, n, always, c.put) }))
	}
	r.report(b, "always")
}

// BenchmarkLatency is the time from a message's Put to the session that gets it,
// with messages coming at half the rate that the pipeline was just measured at,
// whether or not it keeps up.
func BenchmarkLatency(b *testing.B) {
	p := openPipeline(b)
	defer p.stop()
	var p50, p99, half []float64
	for n := 0; b.Loop(); n += 2 * turn {
		full := measure(turn, func() {
			inject(b, n, turn, p.put)
			p.recorded(n + turn)
		})
		took := p.paced(n+turn, turn, full.perSecond/2)
		p.recorded(n + 2*turn)
		half = append(half, full.perSecond/2)
		p50 = append(p50, took[len(took)/2].Seconds()*1e3)
		p99 = append(p99, took[len(took)*99/100].Seconds()*1e3)
	}
	b.ReportMetric(median(half), "msg/s")
	b.ReportMetric(median(p50), "p50-ms")
	b.ReportMetric(median(p99), "p99-ms")
	b.ReportMetric(0, "ns/op")
}

// paced injects n messages at a rate and returns how long each took from the
// moment that it was due, sorted.
func (p *pipeline) paced(first, n int, perSecond float64) []time.Duration {
	p.b.Helper()
	took := make([]time.Duration, n)
	start := time.Now().Add(10 * time.Millisecond)
	due := func(i int) time.Time { return start.Add(time.Duration(float64(i) / perSecond * 1e9)) }
	sent := func(st *stanza.Stanza) {
		i, err := numberOf(st)
		if err != nil || i < first || i >= first+n {
			p.b.Errorf("stanza of message %d: %v", i, err)
			return
		}
		took[i-first] = time.Since(due(i - first))
	}
	p.sent.Store(&sent)
	defer p.sent.Store(nil)
	inject(p.b, 0, n, func(i int) error {
		time.Sleep(time.Until(due(i)))
		return p.put(first + i)
	})
	p.recorded(first + n)
	slices.Sort(took)
	return took
}
