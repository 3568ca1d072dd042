package c2s

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

var (
	namePing  = xmlwire.Name{Space: "urn:xmpp:ping", Local: "ping"}
	nameDisco = xmlwire.Name{Space: "http://jabber.org/protocol/disco#info", Local: "query"}
)

// proof is one ping and all who wait for its answer. XEP-0199 §4.2 is for clients
// that announce it (§5), so the first question is what a client can do, and it
// remains that for one that cannot be pinged: it must answer any (RFC 6120
// §8.2.3). COMPAT go-sendxmpp 0.5: it falls over a ping.
type proof struct {
	id    string
	done  chan struct{} // closed when err is set
	err   error
	timer *time.Timer
}

func newProof() *proof { return &proof{id: "ping-" + rand.Text(), done: make(chan struct{})} }

// proofs are those of one session.
type proofs struct {
	c *session

	mu       sync.Mutex
	current  *proof // its ping is on the way
	next     *proof // its ping goes out when current is over
	pingable bool   // the client announces XEP-0199
	over     bool
	pings    sync.WaitGroup // goroutines that send pings
}

// Prove returns when the client has acknowledged what was sent before, where stream
// management is enabled (XEP-0198 §4); it fails with router.ErrSuspended where the
// connection is lost meanwhile. Otherwise it returns when the client has answered a
// ping that was sent after the call began: streams keep their order, so it has received all that was sent
// before. Any answer will do, an error too. There is one ping on the way at a
// time; who comes while it is shares the next. A client that takes longer than
// Options.ProofTime is disconnected.
func (c *session) Prove(ctx context.Context) (router.Proof, error) {
	if w := c.out(); w.Managed() {
		switch err := w.Prove(ctx); {
		case err == nil:
			return router.ProofAck, nil
		case errors.Is(err, stream.ErrClosed):
			return "", errGone
		default:
			return "", err
		}
	}
	p := c.proofs.join()
	if p == nil {
		return "", errGone
	}
	select {
	case <-p.done:
		if p.err != nil {
			return "", p.err
		}
		return router.ProofAnswer, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// join returns a proof whose ping is not on the way yet, nil when the session is over.
func (ps *proofs) join() *proof {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	switch {
	case ps.over:
		return nil
	case ps.current == nil:
		ps.current = newProof()
		ps.start(ps.current)
		return ps.current
	case ps.next == nil:
		ps.next = newProof()
	}
	return ps.next
}

// start sends the ping of p; ps.mu is held. It does so in a goroutine, because a
// full queue would block whoever reads the stream; proofs.wait waits for it.
func (ps *proofs) start(p *proof) {
	c := ps.c
	p.timer = time.AfterFunc(c.server.o.ProofTime, func() {
		c.end(&stream.Error{Condition: stream.ConnectionTimeout, Text: "ping was not answered"})
	})
	name := nameDisco
	if ps.pingable {
		name = namePing
	}
	st := stanza.NewIQ(c.full, c.local, stanza.TypeGet, p.id, xmlwire.New(name.Space, name.Local))
	ps.pings.Go(func() {
		// The writer's patience bounds this, and failing ends the session.
		if err := c.Send(context.Background(), st); err != nil {
			c.end(nil)
		}
	})
}

// answered takes the answer to an IQ and says whether it was one to a ping of ours.
func (ps *proofs) answered(st *stanza.Stanza) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.current
	if p == nil || p.id != st.ID {
		return false
	}
	ps.pingable = ps.pingable || announcesPing(st)
	p.timer.Stop()
	close(p.done)
	ps.current, ps.next = ps.next, nil
	if ps.current != nil {
		ps.start(ps.current)
	}
	return true
}

// announcesPing says whether the answer to a disco#info query has the feature of
// XEP-0199 §5.
func announcesPing(st *stanza.Stanza) bool {
	query := st.Element.Child(nameDisco)
	if query == nil {
		return false
	}
	for e := range query.Elements() {
		if e.Name.Local == "feature" && e.Attr("var") == namePing.Space {
			return true
		}
	}
	return false
}

// close fails all proofs, now and later: nobody will answer any more.
func (ps *proofs) close() {
	ps.mu.Lock()
	ps.over = true
	ps.mu.Unlock()
	ps.fail(errGone)
}

// fail fails the proofs of now.
func (ps *proofs) fail(err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range []*proof{ps.current, ps.next} {
		if p == nil {
			continue
		}
		if p.timer != nil {
			p.timer.Stop()
		}
		p.err = err
		close(p.done)
	}
	ps.current, ps.next = nil, nil
}

// wait waits for the goroutines that send pings.
func (ps *proofs) wait() { ps.pings.Wait() }

// deadline is when silence becomes suspicious: after the idle time, and after a
// probe never, since that has its own end. Zero: never.
func (c *session) deadline() time.Time {
	if c.idle <= 0 || c.pinged.After(c.s.LastRead()) {
		return time.Time{}
	}
	return c.s.LastRead().Add(c.idle)
}

// probe pings a client that has been silent, white space included, for the idle
// time (RFC 6120 §4.6.4).
func (c *session) probe() error {
	if time.Now().Before(c.deadline()) {
		return nil // white space came meanwhile, which returns no element
	}
	c.pinged = time.Now()
	if c.sm.enabled {
		c.out().Probe()
		return nil
	}
	if c.proofs.join() == nil {
		return errGone
	}
	return nil
}
