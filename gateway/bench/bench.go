// Package bench drives a gateway as those do who use it, and measures what comes out: how
// many messages a second, how long each took from its injection to the client that got it,
// and whether all came, once and in order. Beside that it measures what the broker alone
// can do on the same machine in the same run.
package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"mcmt2xmpp/xmpp/backoff"
)

// Options say what is measured.
type Options struct {
	Scenario string // one of Scenarios
	Target   Target
	Messages int           // of the throughput phase
	Size     int           // of a text in bytes; what is needed to tell messages apart comes on top
	Injected int           // injectors at work at the same time
	Latency  time.Duration // of the latency phase, at half the rate of the throughput phase; zero: none
	Rate     float64       // messages a second of the latency phase; zero: half of what was just measured
	Soak     time.Duration // how long the scenario soak lasts
	Memory   func() int64  // resident memory of the gateway in bytes; nil: not known
	Patience time.Duration // for what has not arrived when all is injected
	// Progress hears how much of a phase is done, of 1; nil: nobody does. It is called from
	// one goroutine.
	Progress func(phase string, done float64)
}

// Defaults of Options.
const (
	DefaultMessages = 20_000
	DefaultSize     = 1000
	DefaultInjected = 64
	DefaultPatience = time.Minute
)

// Target is a gateway and those who receive from it.
type Target struct {
	HTTP  string // URL of the http_listener
	SMTP  string // host:port of the esmtp_listener
	Users []User
	Away  []User // accounts of scenarios, who are not logged in
	Dead  string // a domain that cannot be reached, for the scenario soak
	XMPP  string // host:port of the xmpp_listener, for clients
	From  string // envelope sender
}

// User is an account.
type User struct{ JID, Password string }

// Result is what was measured.
type Result struct {
	Scenario   string    `json:"scenario"`
	Messages   int       `json:"messages"`
	Size       int       `json:"size"` // bytes of text
	Injectors  int       `json:"injectors"`
	Recipients int       `json:"recipients"`
	Seconds    float64   `json:"seconds"`    // from the first injection to the last arrival
	Accepted   float64   `json:"accepted/s"` // answered by 250 or 202; of c2s, written
	Rate       float64   `json:"delivered/s"`
	Lost       int       `json:"lost"`
	Twice      int       `json:"twice"`
	Disorder   int       `json:"disorder"` // arrived before one that was accepted before it
	Latency    *Latency  `json:"latency,omitempty"`
	Ceilings   []Ceiling `json:"ceilings,omitempty"`
	// Before is the rate without what the scenario adds, in turns with it; zero: nothing is.
	Before float64 `json:"before/s,omitzero"`
	Soak   *Soak   `json:"soak,omitempty"`
}

// Soak is what a gateway has done for long, while one message of 20 was for somebody away
// and one of 20 for a domain that cannot be reached.
type Soak struct {
	Minutes  float64 `json:"minutes"`
	Messages int     `json:"messages"` // for those who are there
	// Slowest and Fastest are the rates of its phases.
	Slowest float64 `json:"slowest/s"`
	Fastest float64 `json:"fastest/s"`
	// First and Last are the memory of the gateway in bytes, medians of its first and its
	// last quarter; zero: not known.
	First int64 `json:"memory_first"`
	Last  int64 `json:"memory_last"`
}

// Latency is how long messages took from when they were due to be injected to the client
// that got them, in milliseconds, while Rate were due every second, whether or not the
// gateway kept up.
type Latency struct {
	Rate   float64 `json:"offered/s"`
	Count  int64   `json:"messages"`
	P50    float64 `json:"p50"`
	P90    float64 `json:"p90"`
	P99    float64 `json:"p99"`
	P999   float64 `json:"p99.9"`
	Max    float64 `json:"max"`
	Lost   int     `json:"lost"`
	Missed int64   `json:"late"` // injected more than a second after they were due
}

// Ceiling is what the broker alone does.
type Ceiling struct {
	What string  `json:"what"`
	Rate float64 `json:"messages/s"`
	// Ratio is the gateway's rate by this one.
	Ratio float64 `json:"ratio"`
}

// Machine describes where it was measured.
type Machine struct {
	OS, Arch, CPU string
	Cores         int
	Go            string
	Date          time.Time
}

// Here is this machine.
func Here() Machine {
	return Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: processor(), Cores: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second)}
}

// Scenarios are the ways to inject, by name.
var Scenarios = []string{"http", "batch", "smtp", "c2s", "s2s", "deferred", "soak"}

// SendMessage is a scenario for ejabberd only: one message a request of its HTTP API
// (mod_http_api, send_message), which stores nothing for who is there.
const SendMessage = "send_message"

// orDefault fills in what is not said.
func (o Options) orDefault() Options {
	if o.Messages <= 0 {
		o.Messages = DefaultMessages
	}
	if o.Size <= 0 {
		o.Size = DefaultSize
	}
	if o.Injected <= 0 {
		o.Injected = DefaultInjected
	}
	if o.Patience <= 0 {
		o.Patience = DefaultPatience
	}
	if o.Progress == nil {
		o.Progress = func(string, float64) {}
	}
	return o
}

// Run measures. The error says that it could not be, not that something was lost.
func Run(ctx context.Context, o Options) (Result, error) {
	o = o.orDefault()
	if len(o.Target.Users) == 0 {
		return Result{}, errors.New("nobody receives")
	}
	// Each recipient belongs to one injector, which sends to it one message after the
	// other: the order of acceptance is known.
	o.Injected = min(o.Injected, len(o.Target.Users))
	rcv, err := openReceivers(ctx, o)
	if err != nil {
		return Result{}, err
	}
	defer rcv.close()
	r := Result{Scenario: o.Scenario, Messages: o.Messages, Size: o.Size, Injectors: o.Injected, Recipients: len(o.Target.Users)}
	b := &bench{o: o, rcv: rcv}
	if err := b.run(ctx, &r); err != nil {
		return r, err
	}
	return r, nil
}

// bench is one run.
type bench struct {
	o   Options
	rcv *receivers
}

func (b *bench) run(ctx context.Context, r *Result) error {
	if _, err := b.throughput(ctx, "warm-up", min(b.o.Messages, max(b.o.Messages/10, 10*b.o.Injected))); err != nil {
		return err
	}
	if b.o.Scenario == "deferred" {
		before, err := b.throughput(ctx, "without what waits", b.o.Messages)
		if err != nil {
			return err
		}
		r.Before = before.rate
		if err := b.leave(ctx); err != nil {
			return err
		}
	}
	if b.o.Scenario == "soak" {
		return b.soak(ctx, r)
	}
	p, err := b.throughput(ctx, "throughput", b.o.Messages)
	if err != nil {
		return err
	}
	r.Seconds, r.Accepted, r.Rate = p.took.Seconds(), p.accepted, p.rate
	r.Lost, r.Twice, r.Disorder = p.lost, p.twice, p.disorder
	if b.o.Latency <= 0 {
		return nil
	}
	rate := b.o.Rate
	if rate <= 0 {
		rate = p.rate / 2
	}
	r.Latency, err = b.latency(ctx, rate)
	return err
}

// phase is what came of one.
type phase struct {
	took                  time.Duration
	accepted, rate        float64
	lost, twice, disorder int
}

// throughput injects n messages as fast as they are taken, and waits for them.
func (b *bench) throughput(ctx context.Context, name string, n int) (phase, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	count := b.rcv.begin(n, nil)
	stop := b.watch(name, n)
	defer stop()
	start := time.Now()
	var injecting sync.WaitGroup
	for i := range b.o.Injected {
		injecting.Go(func() {
			if err := b.inject(ctx, i, share(n, b.o.Injected, i)); err != nil {
				cancel(err)
			}
		})
	}
	injecting.Wait()
	accepted := time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return phase{}, fmt.Errorf("%s: %w", name, err)
	}
	last, missing := count.wait(ctx, b.o.Patience)
	if err := b.rcv.broken(); err != nil {
		return phase{}, fmt.Errorf("%s: %w", name, err)
	}
	if last.IsZero() {
		last = time.Now()
	}
	took := last.Sub(start)
	return phase{took, float64(n) / accepted.Seconds(), float64(n-missing) / took.Seconds(), missing, count.twice, count.disorder}, nil
}

// share is how many of n the i-th of some gets.
func share(n, of, i int) int { return n/of + min(1, max(0, n%of-i)) }

// watch tells of progress until stop is called.
func (b *bench) watch(name string, n int) (stop func()) {
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				b.o.Progress(name, 1)
				return
			case <-tick.C:
				b.o.Progress(name, float64(b.rcv.arrived.Load())/float64(n))
			}
		}
	})
	return func() { close(done); watching.Wait() }
}

// usersOf are the recipients of the i-th injector.
func (b *bench) usersOf(i int) []int {
	var mine []int
	for u := i; u < len(b.o.Target.Users); u += b.o.Injected {
		mine = append(mine, u)
	}
	return mine
}

// inject has the i-th injector send n messages, to its recipients in turn.
func (b *bench) inject(ctx context.Context, i, n int) error {
	in, err := b.open(ctx, i)
	if err != nil {
		return err
	}
	defer in.close()
	users := b.usersOf(i)
	for k := 0; k < n; {
		var msgs []message
		for range min(in.run(), n-k) {
			u := users[k%len(users)]
			msgs = append(msgs, message{to: u, text: b.rcv.text(u, time.Now(), b.o.Size)})
			k++
		}
		if err := in.send(ctx, msgs); err != nil {
			return err
		}
		if b.o.Scenario == "soak" && k%20 == 0 {
			if err := in.sendTo(ctx, b.others(i+k), "for later"); err != nil {
				return err
			}
		}
	}
	return in.flush(ctx)
}

// others are those of the scenario soak who do not get what is sent to them.
func (b *bench) others(n int) (to []string) {
	if len(b.o.Target.Away) > 0 {
		to = append(to, b.o.Target.Away[n%len(b.o.Target.Away)].JID)
	}
	if b.o.Target.Dead != "" {
		to = append(to, fmt.Sprintf("user%d@%s", n%100, b.o.Target.Dead))
	}
	return to
}

// soak has one phase after the other until its time is over, and looks at the memory of
// the gateway behind each.
func (b *bench) soak(ctx context.Context, r *Result) error {
	if len(b.o.Target.Away) == 0 || b.o.Target.Dead == "" {
		return errors.New("the scenario soak needs accounts that are away and a domain that cannot be reached")
	}
	s := &Soak{Slowest: math.Inf(1)}
	var memory []int64
	start := time.Now()
	for time.Since(start) < b.o.Soak || s.Messages == 0 {
		p, err := b.throughput(ctx, fmt.Sprintf("%s of %s", time.Since(start).Round(time.Second), b.o.Soak), b.o.Messages)
		if err != nil {
			return err
		}
		s.Messages += b.o.Messages
		s.Slowest, s.Fastest = min(s.Slowest, p.rate), max(s.Fastest, p.rate)
		r.Lost, r.Twice, r.Disorder = r.Lost+p.lost, r.Twice+p.twice, r.Disorder+p.disorder
		if b.o.Memory != nil {
			memory = append(memory, b.o.Memory())
		}
	}
	s.Minutes = time.Since(start).Minutes()
	r.Messages, r.Seconds, r.Soak = s.Messages, time.Since(start).Seconds(), s
	r.Rate = float64(s.Messages) / r.Seconds
	r.Accepted = r.Rate
	if quarter := (len(memory) + 3) / 4; quarter > 0 {
		s.First, s.Last = median(memory[:quarter]), median(memory[len(memory)-quarter:])
	}
	return nil
}

func median(v []int64) int64 {
	return slices.Sorted(slices.Values(v))[len(v)/2]
}

// latency injects at a rate and measures from when each message was due.
func (b *bench) latency(ctx context.Context, rate float64) (*Latency, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	n := int(rate * b.o.Latency.Seconds())
	if n < b.o.Injected {
		return nil, fmt.Errorf("%.0f messages a second for %s are too few to measure a latency", rate, b.o.Latency)
	}
	h := hdrhistogram.New(1, time.Hour.Microseconds(), 3)
	count := b.rcv.begin(n, h)
	stop := b.watch("latency", n)
	defer stop()
	start := time.Now()
	var late atomic.Int64
	var injecting sync.WaitGroup
	for i := range b.o.Injected {
		injecting.Go(func() {
			if err := b.pace(ctx, i, share(n, b.o.Injected, i), start, rate, &late); err != nil {
				cancel(err)
			}
		})
	}
	injecting.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("latency: %w", err)
	}
	_, missing := count.wait(ctx, b.o.Patience)
	if err := b.rcv.broken(); err != nil {
		return nil, fmt.Errorf("latency: %w", err)
	}
	ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	return &Latency{Rate: rate, Count: h.TotalCount(), P50: ms(50), P90: ms(90), P99: ms(99), P999: ms(99.9), Max: float64(h.Max()) / 1000, Lost: missing, Missed: late.Load()}, nil
}

// pace has the i-th injector send each of n messages when it is due.
func (b *bench) pace(ctx context.Context, i, n int, start time.Time, rate float64, late *atomic.Int64) error {
	in, err := b.open(ctx, i)
	if err != nil {
		return err
	}
	defer in.close()
	users := b.usersOf(i)
	every := time.Duration(float64(b.o.Injected) / rate * float64(time.Second))
	offset := time.Duration(float64(i) / rate * float64(time.Second))
	for k := range n {
		due := start.Add(offset + time.Duration(k)*every)
		if !backoff.Wait(ctx, time.Until(due)) {
			return context.Cause(ctx)
		}
		if time.Since(due) > time.Second {
			late.Add(1)
		}
		u := users[k%len(users)]
		if err := in.send(ctx, []message{{to: u, text: b.rcv.text(u, due, b.o.Size)}}); err != nil {
			return err
		}
		if err := in.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

// waiting is how many messages are left for those who are away.
const waiting = 100_000

// leave has messages wait for accounts that nobody is logged in to.
func (b *bench) leave(ctx context.Context) error {
	if len(b.o.Target.Away) == 0 {
		return errors.New("the scenario deferred needs accounts that are away")
	}
	n := min(waiting, 5*b.o.Messages)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var injecting sync.WaitGroup
	for i := range b.o.Injected {
		injecting.Go(func() {
			in, err := b.open(ctx, i)
			for err == nil {
				k := int(next.Add(100)) - 100
				if k >= n {
					err = in.flush(ctx)
					break
				}
				var to []string
				for j := range min(100, n-k) {
					to = append(to, b.o.Target.Away[(k+j)%len(b.o.Target.Away)].JID)
				}
				err = in.sendTo(ctx, to, "for later")
				if i == 0 {
					b.o.Progress("messages for who is away", float64(k)/float64(n))
				}
			}
			if in != nil {
				in.close()
			}
			if err != nil {
				cancel(err)
			}
		})
	}
	injecting.Wait()
	b.o.Progress("messages for who is away", 1)
	return context.Cause(ctx)
}

// Failed says what a gateway that keeps its promise does not do; empty: nothing.
func (r Result) Failed() string {
	lost := r.Lost
	if r.Latency != nil {
		lost += r.Latency.Lost
	}
	if lost+r.Disorder == 0 {
		return ""
	}
	return fmt.Sprintf("%d messages lost, %d out of order", lost, r.Disorder)
}

// Known says whether there is a scenario of that name.
func Known(scenario string) bool {
	return scenario == SendMessage || slices.Contains(Scenarios, scenario)
}
