// Package events tells others how messages have ended, and that they wait: by webhooks,
// and by a stream of the broker for its other clients. It reads the journal, where each
// end is recorded before the store lets go of the message, so that nothing is missing and
// delivery does not wait for anybody. Each receiver has a position of its own in it: one
// that is slow or away delays no other. An event may come again, under the same id.
//
//	events.go   Events: one process of the cluster sends, to those whom the configuration names
//	courier.go  to one receiver: what it gets next, and when it is tried again
//	way.go      reading the journal on, for one receiver
//	event.go    the event made of a record
//	webhook.go  a receiver by HTTP; sign.go its signatures, answer.go its answers
//	stream.go   the stream of the broker
//	orders.go   what operators see and want done
package events

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/store"
)

// Broker is what events need of the broker.
type Broker interface {
	RecordsFrom(ctx context.Context, from broker.Mark, limit int) ([]broker.Record, error)
	JournalEnds(ctx context.Context) (first, last broker.Mark, err error)
	JournalAt(ctx context.Context, at time.Time) (broker.Mark, error)
	Preside(ctx context.Context, name string, do func(ctx, work context.Context)) error
	OpenEvents(ctx context.Context, o broker.EventOptions) error
	Publish(ctx context.Context, events []broker.Event) error
	Ask(ctx context.Context, subject string, data []byte) ([]byte, error)
	Answer(subject string, f func(ctx context.Context, data []byte) []byte) (stop func(), err error)
}

// Positions keeps how far receivers have got.
type Positions interface {
	Load(ctx context.Context, name string) (pos store.Position, rev uint64, err error)
	Save(ctx context.Context, pos store.Position, rev uint64) (uint64, error)
}

// Options are what Events are made of. All are required but for Log.
type Options struct {
	Broker    Broker
	Positions Positions
	// Webhooks are those of the configuration now; Changed says that there may be others.
	Webhooks func() []config.Webhook
	// Stream bounds the stream of the broker; zero: there is none.
	Stream  config.NATSEvents
	Node    string // of this process
	Version string // of the program, for User-Agent
	Log     zerolog.Logger
}

// Events sends events while Run runs. Its other methods may be called from any goroutine.
type Events struct {
	o       Options
	changed chan struct{} // holds one when the configuration may have changed

	mu       sync.Mutex
	couriers []*courier        // those at work, in the order of the configuration
	counts   map[string]*count // by receiver, of all that were ever at work
}

// count is of one receiver, since the process started.
type count struct{ sent, failed, passed, missed atomic.Uint64 }

// New returns Events that do nothing yet.
func New(o Options) *Events {
	return &Events{o: o, changed: make(chan struct{}, 1), counts: make(map[string]*count)}
}

// Run sends events while this process is the one that does, until ctx ends. What was
// begun is finished, for three seconds at most.
func (e *Events) Run(ctx context.Context) error {
	return e.o.Broker.Preside(ctx, "events", e.serve)
}

// Changed has the webhooks of the configuration looked at again.
func (e *Events) Changed() { nudge(e.changed) }

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it will look
	}
}

// serve sends until ctx ends. What is under way ends with work.
func (e *Events) serve(ctx, work context.Context) {
	stop := e.answerOrders(ctx)
	defer stop()
	all := &staff{e: e, work: work}
	defer all.follow(nil)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	all.follow(e.receivers())
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.changed:
			all.follow(e.receivers())
		case <-look.C:
			all.look(ctx)
		}
	}
}

// lookEvery is how often it is looked whether the journal has grown: the delay of an
// event. It costs the broker a question that it answers from memory.
const lookEvery = 200 * time.Millisecond

// receivers are those of the configuration, with the stream first.
func (e *Events) receivers() []receiver {
	var all []receiver
	if e.o.Stream != (config.NATSEvents{}) {
		all = append(all, newStream(e.o.Broker, e.o.Stream))
	}
	for _, w := range e.o.Webhooks() {
		all = append(all, newWebhook(w, e.o.Version))
	}
	return all
}

// receiver is who gets events.
type receiver interface {
	name() string
	// of is what it was made of: an equal one need not take its place.
	of() any
	// target tells whether it is the same that gave up.
	target() string
	wants(*Event) bool
	terms() terms
	// send returns when the receiver has taken all of the events, and what it said. The
	// error is a *refusal where it has answered.
	send(ctx context.Context, events []*Event) (answer string, err error)
	close()
}

// terms are how a receiver is dealt with.
type terms struct {
	most             int           // events at once
	timeout          time.Duration // of an attempt
	retry, retryMost time.Duration // the first and the longest pause between attempts
	giveUp           time.Duration // age of an event beyond which it is passed over after a failure; zero: none
	fromTheBeginning bool          // one that is new gets what the journal has
}

// staff are the couriers at work. It belongs to the goroutine of serve.
type staff struct {
	e    *Events
	work context.Context
	end  broker.Mark // of the journal, when it was looked at last
}

// follow ends the couriers of receivers that are not wanted any more, and begins those
// of new ones. One that has changed is another one.
func (s *staff) follow(want []receiver) {
	s.e.mu.Lock()
	old := s.e.couriers
	s.e.mu.Unlock()
	var now []*courier
	kept := make(map[*courier]bool)
	for _, r := range want {
		c := find(old, r)
		if c != nil && reflect.DeepEqual(c.to.of(), r.of()) {
			r.close()
			now, kept[c] = append(now, c), true
			continue
		}
		now = append(now, newCourier(s.e, r, c != nil))
	}
	var gone sync.WaitGroup
	for _, c := range old {
		if !kept[c] {
			gone.Go(c.stop)
		}
	}
	gone.Wait() // the next of the same name goes on where it has got to
	s.e.mu.Lock()
	s.e.couriers = now
	s.e.mu.Unlock()
	for _, c := range now {
		if !kept[c] {
			c.start(s.work)
		}
	}
}

func find(all []*courier, r receiver) *courier {
	for _, c := range all {
		if c.to.name() == r.name() {
			return c
		}
	}
	return nil
}

// look tells the couriers when the journal has grown.
func (s *staff) look(ctx context.Context) {
	s.e.mu.Lock()
	all := s.e.couriers
	s.e.mu.Unlock()
	if len(all) == 0 {
		return
	}
	first, last, err := s.e.o.Broker.JournalEnds(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.e.o.Log.Debug().Err(err).Msg("not known whether there are events")
		}
		return
	}
	grown := last != s.end
	s.end = last
	for _, c := range all {
		c.journal(first, last, grown)
	}
}

// countOf is the count of a receiver.
func (e *Events) countOf(name string) *count {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.counts[name] == nil {
		e.counts[name] = new(count)
	}
	return e.counts[name]
}
