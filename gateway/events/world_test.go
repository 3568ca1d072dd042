package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
)

// world is a broker whose journal the test writes, with the positions of receivers.
type world struct {
	t *testing.T

	mu        sync.Mutex
	journal   []broker.Record // entry i+1 is the i-th
	gone      int             // entries that the journal has let go of
	positions map[string]string
	rev       uint64
	taker     string // a process that writes the next position first; empty: none
	published []broker.Event
	answer    func(context.Context, []byte) []byte
	failing   error // of the journal and the stream
}

func newWorld(t *testing.T) *world { return &world{t: t, positions: make(map[string]string)} }

// ended writes that a message has ended.
func (w *world) ended(id, recipient string, end custody.End, change ...func(*custody.Outcome)) {
	to, err := jid.Parse(recipient)
	if err != nil {
		w.t.Fatal(err)
	}
	o := custody.Outcome{Record: custody.Record{ID: mcmt.ID(id), From: "news@corp.example", To: mcmt.Recipient{Address: recipient}, JID: to}, End: end, Ended: time.Now().UTC()}
	for _, c := range change {
		c(&o)
	}
	w.write(id, recipient, o.Encode())
}

func (w *world) write(id, recipient string, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := uint64(len(w.journal))
	w.journal = append(w.journal, broker.Record{ID: id, Recipient: recipient, Data: data, At: time.Now(), Next: broker.Mark{Seq: n + 2}})
}

func (w *world) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failing = err
}

func (w *world) RecordsFrom(_ context.Context, from broker.Mark, limit int) ([]broker.Record, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing != nil {
		return nil, w.failing
	}
	i := max(int(from.Seq)-1, w.gone, 0)
	if i >= len(w.journal) {
		return nil, nil
	}
	return slices.Clone(w.journal[i:min(i+limit, len(w.journal))]), nil
}

func (w *world) JournalEnds(context.Context) (first, last broker.Mark, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return broker.Mark{Seq: uint64(w.gone) + 1}, broker.Mark{Seq: uint64(len(w.journal)) + 1}, w.failing
}

func (w *world) JournalAt(_ context.Context, at time.Time) (broker.Mark, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range w.journal {
		if i >= w.gone && !r.At.Before(at) {
			return broker.Mark{Seq: uint64(i) + 1}, nil
		}
	}
	return broker.Mark{Seq: uint64(len(w.journal)) + 1}, nil
}

func (w *world) Preside(ctx context.Context, _ string, do func(ctx, work context.Context)) error {
	do(ctx, context.WithoutCancel(ctx))
	return nil
}

func (w *world) OpenEvents(context.Context, broker.EventOptions) error { return nil }

func (w *world) Publish(_ context.Context, events []broker.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failing == nil {
		w.published = append(w.published, events...)
	}
	return w.failing
}

func (w *world) Ask(ctx context.Context, _ string, data []byte) ([]byte, error) {
	w.mu.Lock()
	answer := w.answer
	w.mu.Unlock()
	if answer == nil {
		return nil, broker.ErrNobody
	}
	return answer(ctx, data), nil
}

func (w *world) Answer(_ string, f func(context.Context, []byte) []byte) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = f
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.answer = nil
	}, nil
}

// kept is a position with its revision.
type kept struct {
	Pos store.Position
	Rev uint64
}

func (w *world) Load(_ context.Context, name string) (store.Position, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.kept(name)
	return k.Pos, k.Rev, nil
}

func (w *world) kept(name string) (k kept) {
	k.Pos.Name = name
	if text := w.positions[name]; text != "" {
		if err := json.Unmarshal([]byte(text), &k); err != nil {
			w.t.Error(err)
		}
	}
	return k
}

func (w *world) Save(ctx context.Context, pos store.Position, rev uint64) (uint64, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.kept(pos.Name)
	if w.taker != "" {
		k.Pos.Node, k.Rev, w.taker = w.taker, k.Rev+1, ""
		w.put(k)
	}
	if k.Rev != rev {
		return 0, store.ErrOtherNode
	}
	w.rev++
	w.put(kept{pos, w.rev})
	return w.rev, nil
}

func (w *world) put(k kept) {
	text, err := json.Marshal(k)
	if err != nil {
		w.t.Error(err)
	}
	w.positions[k.Pos.Name] = string(text)
}

// at is how far a receiver has got, as it is kept.
func (w *world) at(name string) store.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.kept(name).Pos
}

// events are Events of one process on the world, with webhooks that tests can change.
type process struct {
	*Events
	stop func() // and wait

	mu    sync.Mutex
	hooks []config.Webhook
}

func (w *world) run(stream config.NATSEvents, hooks ...config.Webhook) *process {
	p := &process{hooks: hooks}
	p.Events = New(Options{Broker: w, Positions: w, Stream: stream, Node: "N", Version: "1", Log: zerolog.Nop(), Webhooks: func() []config.Webhook {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.hooks
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := p.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	return p
}

// change is a reload with other webhooks.
func (p *process) change(hooks ...config.Webhook) {
	p.mu.Lock()
	p.hooks = hooks
	p.mu.Unlock()
	p.Changed()
}

// desk is a receiver that notes what it gets and answers as the test wants.
type desk struct {
	called string
	terms_ terms

	mu    sync.Mutex
	got   []string    // ids of messages, with their outcomes
	ids   []string    // of events
	tries []time.Time // of each attempt
	say   func(events []*Event) (string, error)
}

func (d *desk) name() string      { return d.called }
func (d *desk) of() any           { return d.called }
func (d *desk) target() string    { return "t" }
func (d *desk) terms() terms      { return d.terms_ }
func (d *desk) close()            {}
func (d *desk) wants(*Event) bool { return true }

func (d *desk) send(_ context.Context, events []*Event) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tries = append(d.tries, time.Now())
	if d.say != nil {
		if answer, err := d.say(events); err != nil {
			return answer, err
		}
	}
	for _, e := range events {
		d.got = append(d.got, fmt.Sprint(e.Data.ID, " ", e.Data.Outcome))
		d.ids = append(d.ids, e.ID)
	}
	return "200 OK", nil
}

// answers has the receiver answer so from now on; nil: it takes what comes.
func (d *desk) answers(say func(events []*Event) (string, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.say = say
}

func (d *desk) refuses(r refusal) {
	d.answers(func([]*Event) (string, error) { return r.text, &r })
}

func (d *desk) take() (got []string, tries []time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	got, tries, d.got, d.tries = d.got, d.tries, nil, nil
	return got, tries
}

// courier runs one courier to a desk on a world, until stop.
func (w *world) courier(d *desk) (c *courier, stop func()) {
	c = newCourier(New(Options{Broker: w, Positions: w, Node: "N", Log: zerolog.Nop()}), d, false)
	c.start(context.Background())
	return c, c.stop
}

// look tells a courier where the journal ends.
func (w *world) look(c *courier) {
	first, last, err := w.JournalEnds(context.Background())
	if err == nil {
		c.journal(first, last, true)
	}
}

var errDown = errors.New("connection refused")

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}
