package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/backoff"
)

// orderSubject is where the process that sends events hears from operators.
const orderSubject = "node.events"

// ErrUnknown means that no receiver has that name.
var ErrUnknown = errors.New("no webhook has that name")

// Status is how a receiver fares.
type Status struct {
	Name    string // of the webhook, or StreamName
	URL     string // where it is, without what may be a secret; empty: the stream
	State   string // idle, sending, retrying, given up, starting
	Node    string // the process that sends
	Sent    uint64 // events taken, since the receiver is known
	Failed  uint64 // not taken by an attempt
	Passed  uint64 // passed over for their age
	Missed  uint64 // entries of the journal that were gone before they were read
	Behind  uint64 // entries of the journal that are not read, each of one or more records
	Oldest  time.Time
	Answer  string // to the last attempt
	Tried   time.Time
	Took    time.Time // the last time that it has taken some
	Next    time.Time // attempt, where the last has failed
	Failing time.Time // since when
	Tries   int       // since then
	GivenUp string    // why nothing is sent any more
	Replay  uint64    // entries of the journal that are to be sent once more
}

// order is what an operator wants done, and the answer to it, on the way to the process
// that sends.
type order struct {
	Do           string // list, retry, replay
	Name         string
	Since, Until time.Time // of a replay; zero: from the beginning, until now
}

type orderAnswer struct {
	Unknown  bool
	Error    string
	Statuses []Status
}

// List returns how the receivers fare, the stream first, wherever events are sent.
func (e *Events) List(ctx context.Context) ([]Status, error) {
	return e.ask(ctx, order{Do: "list"})
}

// Retry has a receiver tried now, also one that was given up. ErrUnknown: there is none.
func (e *Events) Retry(ctx context.Context, name string) (Status, error) {
	return e.askOne(ctx, order{Do: "retry", Name: name})
}

// Replay has the events that were recorded between two times sent to a receiver once
// more, those that it wants and the journal still has. What is new comes meanwhile.
func (e *Events) Replay(ctx context.Context, name string, since, until time.Time) (Status, error) {
	return e.askOne(ctx, order{Do: "replay", Name: name, Since: since, Until: until})
}

func (e *Events) askOne(ctx context.Context, o order) (Status, error) {
	all, err := e.ask(ctx, o)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("events: %d answers", len(all))
	}
	if err != nil {
		return Status{}, err
	}
	return all[0], nil
}

// ask has the process that sends do what an operator wants.
func (e *Events) ask(ctx context.Context, o order) ([]Status, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	data, err = e.o.Broker.Ask(ctx, orderSubject, data)
	if err != nil {
		return nil, fmt.Errorf("events: %w", err)
	}
	var a orderAnswer
	switch err := json.Unmarshal(data, &a); {
	case err != nil:
		return nil, fmt.Errorf("events: %w", err)
	case a.Unknown:
		return nil, ErrUnknown
	case a.Error != "":
		return nil, fmt.Errorf("events: %s", a.Error)
	}
	return a.Statuses, nil
}

// answerOrders answers until ctx ends; the function returned waits for the end.
func (e *Events) answerOrders(ctx context.Context) (wait func()) {
	var answering sync.WaitGroup
	answering.Go(func() {
		for ctx.Err() == nil {
			stop, err := e.o.Broker.Answer(orderSubject, e.obey)
			if err == nil {
				<-ctx.Done()
				stop()
				return
			}
			e.o.Log.Warn().Err(err).Msg("operators cannot be answered now")
			backoff.Wait(ctx, time.Second)
		}
	})
	return answering.Wait
}

// obey carries out one order.
func (e *Events) obey(ctx context.Context, data []byte) []byte {
	var o order
	var a orderAnswer
	err := json.Unmarshal(data, &o)
	if err == nil {
		a.Statuses, err = e.carryOut(ctx, o)
	}
	if err != nil {
		a.Unknown, a.Error = errors.Is(err, ErrUnknown), err.Error()
	}
	answer, err := json.Marshal(a)
	if err != nil {
		return []byte(`{"Error":"the answer cannot be written"}`)
	}
	return answer
}

func (e *Events) carryOut(ctx context.Context, o order) ([]Status, error) {
	e.mu.Lock()
	all := e.couriers
	e.mu.Unlock()
	var statuses []Status
	for _, c := range all {
		if o.Do != "list" && c.to.name() != o.Name {
			continue
		}
		var err error
		switch o.Do {
		case "retry":
			c.retry(ctx)
		case "replay":
			err = c.replay(ctx, o.Since, o.Until)
		}
		if err != nil {
			return nil, err
		}
		statuses = append(statuses, c.status())
	}
	if o.Do != "list" && len(statuses) == 0 {
		return nil, ErrUnknown
	}
	return statuses, nil
}

// errLoading is the answer before a courier knows where it stands.
var errLoading = errors.New("not known yet how far the receiver has got")

// retry has the next attempt made now, with whatever age the next event has.
func (c *courier) retry(ctx context.Context) {
	c.mu.Lock()
	if c.loaded {
		c.pos.GivenUp, c.pos.Attempts, c.pos.First, c.pos.Retry, c.dirty = "", 0, time.Time{}, time.Time{}, true
	}
	c.mu.Unlock()
	c.save(ctx)
	nudge(c.wake)
}

// replay has a part of the journal sent again, together with what is left of another.
func (c *courier) replay(ctx context.Context, since, until time.Time) error {
	from, to, err := c.e.stretch(ctx, since, until)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if !c.loaded {
		c.mu.Unlock()
		return errLoading
	}
	if from.Before(to) {
		if old := c.pos.Replay; old != nil {
			if old.Next.Before(from) {
				from = old.Next
			}
			if to.Before(old.End) {
				to = old.End
			}
		}
		c.pos.Replay, c.reroute, c.dirty = &store.Replay{Next: from, End: to, Asked: time.Now().UTC()}, true, true
	}
	c.mu.Unlock()
	c.save(ctx)
	nudge(c.wake)
	return nil
}

// stretch is the part of the journal between two times.
func (e *Events) stretch(ctx context.Context, since, until time.Time) (from, to broker.Mark, err error) {
	if from, to, err = e.o.Broker.JournalEnds(ctx); err != nil {
		return from, to, err
	}
	if !since.IsZero() {
		if from, err = e.o.Broker.JournalAt(ctx, since); err != nil {
			return from, to, err
		}
	}
	if !until.IsZero() {
		at, err := e.o.Broker.JournalAt(ctx, until)
		if err != nil {
			return from, to, err
		}
		if at.Before(to) {
			to = at
		}
	}
	return from, to, nil
}

// status is how the receiver fares now.
func (c *courier) status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pos
	s := Status{
		Name: p.Name, State: "idle", Node: c.e.o.Node, Sent: p.Sent, Failed: p.Failed, Passed: p.Passed, Missed: p.Missed,
		Behind: between(p.Next, c.last), Oldest: c.oldest, Answer: p.Answer, Tried: p.Tried, Took: p.Took, Next: p.Retry,
		Failing: p.First, Tries: p.Attempts, GivenUp: p.GivenUp,
	}
	if p.Replay != nil {
		s.Replay = max(between(p.Replay.Next, p.Replay.End), 1)
	}
	switch {
	case !c.loaded:
		s.State = "starting"
		s.Behind = 0
	case p.GivenUp != "":
		s.State = "given up"
	case p.Attempts > 0:
		s.State = "retrying"
	case !c.oldest.IsZero() || p.Replay != nil:
		s.State = "sending"
	}
	if h, ok := c.to.(*webhook); ok {
		s.URL = place(h.conf.URL)
	}
	return s
}

// between counts the entries between two marks.
func between(from, to broker.Mark) uint64 {
	if !from.Before(to) {
		return 0
	}
	return to.Seq - from.Seq
}

// Count is what has become of events for one receiver in this process, since it started.
type Count struct {
	Name                         string
	Sent, Failed, Passed, Missed uint64
}

// Counts are those of all receivers that this process has ever sent to.
func (e *Events) Counts() []Count {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []Count
	for name, c := range e.counts {
		all = append(all, Count{name, c.sent.Load(), c.failed.Load(), c.passed.Load(), c.missed.Load()})
	}
	return all
}

// Here are the receivers that this process sends to.
func (e *Events) Here() []Status {
	e.mu.Lock()
	all := e.couriers
	e.mu.Unlock()
	statuses := make([]Status, len(all))
	for i, c := range all {
		statuses[i] = c.status()
	}
	return statuses
}
