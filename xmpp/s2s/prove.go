package s2s

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

const pingPrefix = "s2s-ping-"

// answerTime is how long a domain that has not answered a ping yet is waited for. One
// that does not in this time is believed without.
const answerTime = 5 * time.Second

// Prove implements router.Session. The peer has acknowledged what was sent (XEP-0198),
// or its domain has answered a ping that was sent after it; the answer comes by
// whatever stream. Where neither is to be had it was written, and no more is known.
func (c *conn) Prove(ctx context.Context) (router.Proof, error) {
	w := c.s.Writer()
	if w.Managed() {
		if err := w.Prove(ctx); err != nil {
			return "", err
		}
		return router.ProofAck, nil
	}
	if err := w.Flush(ctx); err != nil {
		return "", err
	}
	p, err := c.v.peer(c.JID().Domain())
	if err != nil || p.silent() {
		return router.ProofWritten, c.alive()
	}
	proof := c.proofs.join()
	if proof == nil {
		return "", errEnded
	}
	select {
	case <-proof.done:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	if errors.Is(proof.err, errMute) {
		return router.ProofWritten, c.alive()
	}
	return router.ProofAnswer, proof.err
}

func (c *conn) alive() error {
	if c.isOver() {
		return errEnded
	}
	return nil
}

// silent says whether the domain is known not to answer pings.
func (p *peer) silent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mute
}

// pings are those that wait for their answers, of all streams.
type pings struct {
	mu      sync.Mutex
	waiting map[string]*proof
	answers map[string]bool // domains that have answered one
}

// proof is one ping and all who wait for its answer.
type proof struct {
	id, domain string
	done       chan struct{} // closed when err is set
	err        error
	over       func()
}

// errMute is for a domain that has never answered.
var errMute = errors.New("the domain answers no pings")

// answered says whether a stanza answers a ping of ours; an error does too.
func (ps *pings) answered(st *stanza.Stanza) bool {
	if st.Kind != stanza.IQ || st.Type != stanza.TypeResult && st.Type != stanza.TypeError || !strings.HasPrefix(st.ID, pingPrefix) {
		return false
	}
	ps.mu.Lock()
	p := ps.waiting[st.ID]
	if p == nil || p.domain != st.From.Domain() {
		ps.mu.Unlock()
		return false
	}
	delete(ps.waiting, st.ID)
	if ps.answers == nil || len(ps.answers) >= maxPeers {
		ps.answers = make(map[string]bool)
	}
	ps.answers[p.domain] = true
	ps.mu.Unlock()
	p.settle(nil)
	return true
}

// add has a ping wait for its answer. known says that the domain has answered before.
func (ps *pings) add(p *proof) (known bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.waiting == nil {
		ps.waiting = make(map[string]*proof)
	}
	ps.waiting[p.id] = p
	return ps.answers[p.domain]
}

// remove says whether a ping was still waiting.
func (ps *pings) remove(p *proof) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	_, was := ps.waiting[p.id]
	delete(ps.waiting, p.id)
	return was
}

func (p *proof) settle(err error) {
	p.err = err
	close(p.done)
	p.over()
}

// proofs are those of one stream: one ping is on the way at a time, and who comes while
// it is shares the next, because streams keep their order.
type proofs struct {
	c *conn

	mu            sync.Mutex
	current, next *proof
	ended         bool
}

func (ps *proofs) make() *proof {
	p := &proof{id: pingPrefix + rand.Text(), domain: ps.c.JID().Domain(), done: make(chan struct{})}
	p.over = func() { ps.advance(p) }
	return p
}

// join returns a proof whose ping is not on the way yet, nil when the stream is over.
func (ps *proofs) join() *proof {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	switch {
	case ps.ended:
		return nil
	case ps.current == nil:
		ps.current = ps.make()
		ps.start(ps.current)
		return ps.current
	case ps.next == nil:
		ps.next = ps.make()
	}
	return ps.next
}

// start sends a ping in a goroutine, since a full queue would block; ps.mu is held.
func (ps *proofs) start(p *proof) {
	if !ps.c.v.spawn(func() { ps.c.ping(p) }) {
		go p.settle(stream.Shutdown) // which takes ps.mu
	}
}

// advance sends the next ping when one is settled.
func (ps *proofs) advance(p *proof) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.current != p {
		return
	}
	ps.current, ps.next = ps.next, nil
	if ps.current != nil {
		ps.start(ps.current)
	}
}

// close fails all proofs.
func (ps *proofs) close() {
	ps.mu.Lock()
	ps.ended = true
	all := []*proof{ps.current, ps.next}
	ps.current, ps.next = nil, nil
	ps.mu.Unlock()
	for _, p := range all {
		if p == nil {
			continue
		}
		if was := ps.c.v.pings.remove(p); was || p == all[1] {
			p.settle(errEnded)
		}
	}
}

// ping sends a ping and waits for its answer, or as long as it may take.
func (c *conn) ping(p *proof) {
	known := c.v.pings.add(p)
	patience := c.v.o.ProofTime
	if !known {
		patience = answerTime
	}
	ours := c.speaker()
	if ours == "" || c.isOver() {
		c.unanswered(p, errEnded)
		return
	}
	st := stanza.NewIQ(domainJID(p.domain), domainJID(ours), stanza.TypeGet, p.id, xmlwire.New("urn:xmpp:ping", "ping"))
	if err := c.s.Writer().SendStanza(c.life, st); err != nil {
		c.unanswered(p, err)
		return
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-p.done:
	case <-c.life.Done():
		c.unanswered(p, errEnded)
	case <-late.C:
		if known {
			c.unanswered(p, errEnded)
			c.end(&stream.Error{Condition: stream.ConnectionTimeout, Text: "ping was not answered"})
			return
		}
		if other, err := c.v.peer(p.domain); err == nil {
			other.mu.Lock()
			other.mute = true
			other.mu.Unlock()
		}
		c.unanswered(p, errMute)
	}
}

func (c *conn) unanswered(p *proof, err error) {
	if c.v.pings.remove(p) {
		p.settle(err)
	}
}

// speaker is a domain of ours that may speak on the stream to the peer's; empty: none.
func (c *conn) speaker() string {
	theirs := c.JID().Domain()
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, cl := range c.out {
		if p.Theirs == theirs && cl.valid() {
			return p.Ours
		}
	}
	return ""
}
