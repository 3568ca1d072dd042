// Package ping proves that a server or a component has received what it was sent, where
// the stream has no stream management: it has when it answers a ping (XEP-0199 §4) that
// was sent later, because streams keep their order (RFC 6120 §10.1).
package ping

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// ErrClosed is the error of what is asked of a Prover that is closed.
var ErrClosed = errors.New("stream is over")

// Options are what a Prover is made of. Send and Flush are needed.
type Options struct {
	// From and To are the addresses of a ping. An iq that comes from To, with the id of
	// a ping, answers it: a result, an error, or the ping itself from a peer that
	// routes it back to where we are.
	From, To jid.JID
	// Send queues a stanza; Flush waits until all that is queued is written.
	Send  func(ctx context.Context, st *stanza.Stanza) error
	Flush func(ctx context.Context) error
	// Patience is how long the peer may take to answer, once it is known to do so.
	// Zero: 30 s.
	Patience time.Duration
	// Dead is called where a peer that has answered before takes longer. It must not
	// block. Nil: nobody is told.
	Dead func()
}

// firstPatience is how long the first answer of a peer is waited for: many components
// answer no IQ, whatever RFC 6120 §8.2.3 demands, and nobody can wait for those.
const firstPatience = 5 * time.Second

var namePing = xmlwire.Name{Space: "urn:xmpp:ping", Local: "ping"}

// Prover asks one peer. All methods may be called from any goroutine.
type Prover struct {
	o Options

	mu      sync.Mutex
	current *round // its ping is on the way
	next    *round // its ping goes out when current is over
	heard   bool   // the peer has answered once
	mute    bool   // it did not, when it was to answer for the first time
	over    bool
	pings   sync.WaitGroup // goroutines that send pings
}

// round is one ping and all who wait for its answer.
type round struct {
	id    string
	done  chan struct{} // closed when the others are set
	heard bool
	err   error
	timer *time.Timer
}

func newRound() *round { return &round{id: "ping-" + rand.Text(), done: make(chan struct{})} }

// New returns a Prover; Close ends it.
func New(o Options) *Prover {
	if o.Patience <= 0 {
		o.Patience = 30 * time.Second
	}
	return &Prover{o: o}
}

// Prove returns true when the peer has answered a ping that was sent after the call
// began. One ping is on the way at a time; who comes while it is shares the next. It
// returns false when all that was sent is written, for a peer that has never answered:
// that is all that can be known of it.
func (p *Prover) Prove(ctx context.Context) (answered bool, err error) {
	r := p.join()
	if r == nil {
		return false, ErrClosed
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if r.err != nil || r.heard {
		return r.heard, r.err
	}
	return false, p.o.Flush(ctx)
}

// Probe asks without waiting: a peer that is there shows it by its answer.
func (p *Prover) Probe() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over && p.current == nil {
		p.start(newRound())
	}
}

// join returns a round whose ping is not on the way yet, nil when all is over.
func (p *Prover) join() *round {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.over:
		return nil
	case p.mute:
		r := newRound()
		close(r.done)
		return r
	case p.current == nil:
		r := newRound()
		p.start(r)
		return r
	case p.next == nil:
		p.next = newRound()
	}
	return p.next
}

// start sends the ping of r; p.mu is held. It does so in a goroutine, because a full
// queue would block whoever reads the stream; Close waits for it.
func (p *Prover) start(r *round) {
	p.current = r
	patience := p.o.Patience
	if !p.heard {
		patience = min(patience, firstPatience)
	}
	r.timer = time.AfterFunc(patience, func() { p.late(r) })
	st := stanza.NewIQ(p.o.To, p.o.From, stanza.TypeGet, r.id, xmlwire.New(namePing.Space, namePing.Local))
	p.pings.Go(func() {
		if err := p.o.Send(context.Background(), st); err != nil { // the writer's patience bounds it
			p.fail(r, err)
		}
	})
}

// late is for a ping whose answer has not come.
func (p *Prover) late(r *round) {
	p.mu.Lock()
	if p.current != r {
		p.mu.Unlock()
		return
	}
	dead := p.heard
	if !dead {
		p.mute = true
		p.end(nil)
	}
	p.mu.Unlock()
	if dead && p.o.Dead != nil {
		p.o.Dead() // whose end of the stream closes this
	}
}

// Answered takes an iq and says whether it answers a ping of ours.
func (p *Prover) Answered(st *stanza.Stanza) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.current
	if st.Kind != stanza.IQ || r == nil || st.ID != r.id || st.From != p.o.To {
		return false
	}
	p.heard, p.mute, r.heard = true, false, true
	r.timer.Stop()
	close(r.done)
	next := p.next
	p.current, p.next = nil, nil
	if next != nil {
		p.start(next)
	}
	return true
}

// fail ends r, and who waits behind it, with an error.
func (p *Prover) fail(r *round, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == r {
		p.end(err)
	}
}

// end ends the rounds of now; p.mu is held.
func (p *Prover) end(err error) {
	for _, r := range []*round{p.current, p.next} {
		if r == nil {
			continue
		}
		if r.timer != nil {
			r.timer.Stop()
		}
		r.err = err
		close(r.done)
	}
	p.current, p.next = nil, nil
}

// Close fails all proofs, now and later, and waits for what is being sent: nobody will
// answer any more.
func (p *Prover) Close() {
	p.mu.Lock()
	p.over = true
	p.end(ErrClosed)
	p.mu.Unlock()
	p.pings.Wait()
}
