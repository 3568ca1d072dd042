package events

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/backoff"
)

const (
	// saveEvery is how much of what was sent may come again after a crash.
	saveEvery = time.Second

	// saveTime bounds the writing of a position.
	saveTime = 5 * time.Second

	// stopGrace is how long an attempt may go on for a receiver that is changed.
	stopGrace = 3 * time.Second
)

// courier brings events to one receiver. Its run is the only one that goes on its ways.
type courier struct {
	e     *Events
	to    receiver
	terms terms
	count *count
	log   zerolog.Logger
	anew  bool // its receiver was changed: it is tried at once

	wake   chan struct{} // holds one when there may be something to do
	cancel context.CancelFunc
	done   chan struct{}

	live, again way
	turn        bool // the next is that of again

	saving sync.Mutex // one save at a time; guards rev
	rev    uint64

	mu          sync.Mutex // guards what follows
	pos         store.Position
	loaded      bool
	dirty       bool        // pos is not saved
	saved       time.Time   // when it was saved last
	reroute     bool        // pos.Replay was changed by an operator
	first, last broker.Mark // ends of the journal
	oldest      time.Time   // when the first event that is not taken was; zero: there is none
}

func newCourier(e *Events, to receiver, anew bool) *courier {
	c := &courier{
		e: e, to: to, terms: to.terms(), count: e.countOf(to.name()), anew: anew,
		log:  e.o.Log.With().Str("receiver", to.name()).Logger(),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	c.pos.Name = to.name()
	return c
}

// start has the courier work until stop; what is under way ends with work at the latest.
func (c *courier) start(work context.Context) {
	work, abort := context.WithCancel(work)
	ctx, cancel := context.WithCancel(work)
	c.cancel = cancel
	go func() {
		defer close(c.done)
		defer abort()
		defer context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, abort) })()
		c.run(ctx, work)
		c.to.close()
	}()
}

// stop ends it and waits for the end.
func (c *courier) stop() {
	c.cancel()
	<-c.done
}

// journal tells it where the journal begins and ends.
func (c *courier) journal(first, last broker.Mark, grown bool) {
	c.mu.Lock()
	grown = grown || c.last != last
	c.first, c.last = first, last
	c.mu.Unlock()
	if grown {
		nudge(c.wake)
	}
}

// forever is the pause until something happens.
const forever = time.Duration(-1)

func (c *courier) run(ctx, work context.Context) {
	for fails := 0; ; fails++ {
		err := c.load(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		c.log.Warn().Err(err).Msg("not known how far the receiver has got, trying again")
		c.rest(ctx, backoff.Pause(time.Second, 30*time.Second, fails+1))
	}
	for ctx.Err() == nil {
		if wait := c.round(ctx, work); wait != 0 {
			c.save(work)
			c.rest(ctx, wait)
		} else if c.unsaved() >= saveEvery {
			c.save(work)
		}
	}
	c.save(work)
}

// rest waits, but not when there may be something to do.
func (c *courier) rest(ctx context.Context, wait time.Duration) {
	var over <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-ctx.Done():
	case <-c.wake:
	case <-over:
	}
}

// load finds out where to go on. A receiver that nobody knew hears of what is from now on.
func (c *courier) load(ctx context.Context) error {
	pos, rev, err := c.e.o.Positions.Load(ctx, c.to.name())
	if err != nil {
		return err
	}
	first, last, err := c.e.o.Broker.JournalEnds(ctx)
	if err != nil {
		return err
	}
	switch {
	case rev == 0 && c.terms.fromTheBeginning:
		pos.Next = first
	case rev == 0, last.Before(pos.Next): // behind the end: the journal is another one
		pos.Next = last
	}
	if target := c.to.target(); c.anew || pos.Target != target {
		pos.Target, pos.GivenUp, pos.Attempts, pos.First, pos.Retry = target, "", 0, time.Time{}, time.Time{}
	}
	pos.Node = c.e.o.Node
	c.saving.Lock()
	c.rev, c.live = rev, way{next: pos.Next}
	c.mu.Lock()
	c.pos, c.loaded, c.dirty, c.first, c.last = pos, true, true, first, last
	c.reroute = pos.Replay != nil
	c.mu.Unlock()
	c.saving.Unlock()
	c.save(ctx) // or a restart would begin later
	return nil
}

// round sends what is next, and returns how long to wait for more: zero, not at all.
func (c *courier) round(ctx, work context.Context) time.Duration {
	c.mu.Lock()
	givenUp, retry := c.pos.GivenUp != "", time.Until(c.pos.Retry)
	c.catchUp()
	c.mu.Unlock()
	if givenUp || retry > 0 {
		_, _, _ = c.live.fill(ctx, c.e.o.Broker, c.to.wants) // only to know what waits
		c.progress(&c.live)
		if givenUp {
			return forever
		}
		return retry
	}
	ways := []*way{&c.live, &c.again}
	if c.turn {
		ways[0], ways[1] = ways[1], ways[0]
	}
	pause := forever
	for _, w := range ways {
		acted, wait := c.next(ctx, work, w)
		if acted {
			return 0
		}
		if wait != forever && (pause == forever || wait < pause) {
			pause = wait
		}
	}
	return pause
}

// catchUp takes over what has changed behind the courier's back. c.mu is held.
func (c *courier) catchUp() {
	if c.reroute {
		c.again, c.reroute = way{next: c.pos.Replay.Next, end: c.pos.Replay.End}, false
	}
	if len(c.live.ahead) == 0 && c.live.next.Before(c.first) {
		missed := c.first.Seq - c.live.next.Seq
		c.log.Warn().Uint64("entries", missed).Msg("the journal has let go of entries that were not sent, or was overtaken by later ones")
		c.live.next = c.first
		c.pos.Next, c.dirty = c.first, true
		c.pos.Missed += missed
		c.count.missed.Add(missed)
	}
}

// next sends what is next on a way. acted is false where there is nothing now, and wait
// says when to look again.
func (c *courier) next(ctx, work context.Context, w *way) (acted bool, wait time.Duration) {
	if w == &c.again && (w.end == broker.Mark{}) {
		return false, forever // nothing is to be sent anew
	}
	more, unreadable, err := w.fill(ctx, c.e.o.Broker, c.to.wants)
	if err != nil {
		if ctx.Err() == nil {
			c.log.Warn().Err(err).Msg("the journal cannot be read now")
		}
		return false, time.Second
	}
	if unreadable > 0 {
		c.log.Warn().Int("records", unreadable).Msg("records are not known to this version, nobody hears of them")
	}
	passed := c.passOver(w)
	events := w.take(c.terms.most)
	c.progress(w)
	if len(events) > 0 {
		c.attempt(work, w, events)
		c.turn = w == &c.live
		return true, 0
	}
	if passed {
		return true, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if more || w == &c.live && w.next.Before(c.last) {
		return more, lookEvery // a server of the cluster may not have the newest yet
	}
	return false, forever
}

// passOver gives up what is too old to be tried once more, and a replay that was asked
// for so long ago. It says whether there was any.
func (c *courier) passOver(w *way) bool {
	before := time.Now().Add(-c.terms.giveUp)
	c.mu.Lock()
	replay := c.pos.Replay
	failing := c.pos.Attempts > 0
	c.mu.Unlock()
	var old []*Event
	switch {
	case !failing || c.terms.giveUp <= 0:
	case w == &c.live:
		old = w.drop(before)
	case replay != nil && replay.Asked.Before(before):
		old = w.drop(time.Now())
		w.pass(w.end)
	}
	if len(old) == 0 {
		return false
	}
	n := uint64(len(old))
	c.count.passed.Add(n)
	c.mu.Lock()
	c.pos.Passed += n
	c.mu.Unlock()
	c.log.Error().Int("events", len(old)).Str("first", old[0].ID).Str("last", old[len(old)-1].ID).Dur("age", time.Since(old[0].Timestamp)).
		Msg("events given up, they can be replayed")
	return true
}

// progress notes how far a way has come.
func (c *courier) progress(w *way) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case w == &c.live:
		c.oldest = time.Time{}
		if len(w.ahead) > 0 {
			c.oldest = w.ahead[0].event.Timestamp
		}
		if c.pos.Next != w.next {
			c.pos.Next, c.dirty = w.next, true
		}
	case c.reroute || c.pos.Replay == nil:
		// It goes elsewhere now.
	case w.over():
		c.pos.Replay, c.again, c.dirty = nil, way{}, true
		c.log.Info().Msg("replay is over")
	case c.pos.Replay.Next != w.next:
		c.pos.Replay, c.dirty = &store.Replay{Next: w.next, End: w.end, Asked: c.pos.Replay.Asked}, true
	}
}

// attempt sends events, and notes what has become of it.
func (c *courier) attempt(work context.Context, w *way, events []*Event) {
	within, cancel := context.WithTimeout(work, c.terms.timeout)
	defer cancel()
	began := time.Now()
	answer, err := c.to.send(within, events)
	switch {
	case err == nil:
		w.done(len(events))
		c.taken(answer, events, time.Since(began))
		c.progress(w)
	case work.Err() != nil:
		// It was us who broke off.
	default:
		c.failed(answer, err, len(events))
	}
}

// taken notes that the receiver has events.
func (c *courier) taken(answer string, events []*Event, took time.Duration) {
	n, now := uint64(len(events)), time.Now().UTC()
	c.count.sent.Add(n)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pos.Attempts > 0 {
		c.log.Info().Int("attempts", c.pos.Attempts).Dur("after", now.Sub(c.pos.First)).Str("answer", answer).Msg("events are taken again")
	}
	c.log.Debug().Str("event", events[0].ID).Int("events", len(events)).Dur("took", took).Str("answer", answer).Msg("events taken")
	c.pos.Tried, c.pos.Took, c.pos.Answer = now, now, answer
	c.pos.Attempts, c.pos.First, c.pos.Retry = 0, time.Time{}, time.Time{}
	c.pos.Sent += n
	c.dirty = true
}

// failed notes that it has them not, and when they are tried again.
func (c *courier) failed(answer string, err error, events int) {
	n, now := uint64(events), time.Now().UTC() //nolint:gosec // at least one
	c.count.failed.Add(n)
	var r *refusal
	refused := errors.As(err, &r)
	if !refused {
		answer = err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.pos
	p.Tried, p.Answer, p.Failed = now, answer, p.Failed+n
	if p.Attempts++; p.Attempts == 1 {
		p.First = now
	}
	c.dirty = true
	if refused && r.gone {
		p.GivenUp = answer
		c.log.Error().Str("answer", answer).Msg("receiver given up, it wants no more; webhook retry goes on with it")
		return
	}
	pause := backoff.Pause(c.terms.retry, c.terms.retryMost, p.Attempts)
	if refused {
		pause = max(pause, r.after)
	}
	p.Retry = now.Add(pause)
	c.log.Warn().Str("answer", answer).Int("attempt", p.Attempts).Dur("again_in", pause).Msg("events not taken")
}

// unsaved is how long ago the position was saved.
func (c *courier) unsaved() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.saved)
}

// save writes the position where it has changed. What cannot be written now is later;
// until then a crash has events sent again.
func (c *courier) save(ctx context.Context) {
	c.saving.Lock()
	defer c.saving.Unlock()
	c.mu.Lock()
	pos, dirty := c.pos, c.dirty
	c.dirty, c.saved = false, time.Now()
	c.mu.Unlock()
	if !dirty {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, saveTime)
	defer cancel()
	rev, err := c.e.o.Positions.Save(ctx, pos, c.rev)
	if err == nil {
		c.rev = rev
		return
	}
	c.mu.Lock()
	c.dirty = true
	c.mu.Unlock()
	if errors.Is(err, store.ErrOtherNode) {
		// A process that has lost its turn had a last word. It is our turn.
		if _, c.rev, err = c.e.o.Positions.Load(ctx, pos.Name); err == nil {
			return
		}
	}
	c.log.Debug().Err(err).Msg("position not saved")
}
