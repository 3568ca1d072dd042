package s2s

import (
	"context"

	"mcmt2xmpp/xmpp/ping"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

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
	p := c.prover()
	if p == nil {
		return "", errEnded
	}
	answered, err := p.Prove(ctx)
	switch {
	case err != nil:
		return "", err
	case answered:
		return router.ProofAnswer, nil
	case c.isOver():
		return "", errEnded
	}
	return router.ProofWritten, nil
}

// prover asks the domain at the other end, in the name of one of ours that may speak to
// it; nil where the stream is over, or none may.
func (c *conn) prover() *ping.Prover {
	to := c.JID()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pings != nil || c.over {
		return c.pings
	}
	for p, cl := range c.out {
		if p.Theirs != to.Domain() || !cl.valid() {
			continue
		}
		c.pings = ping.New(ping.Options{
			From: domainJID(p.Ours), To: to, Patience: c.v.o.ProofTime,
			Send: c.s.Writer().SendStanza, Flush: c.s.Writer().Flush,
			Dead: func() { c.end(&stream.Error{Condition: stream.ConnectionTimeout, Text: "ping was not answered"}) },
		})
		break
	}
	return c.pings
}

// closePings fails all proofs. The stream is over, so there will be no prover after this.
func (c *conn) closePings() {
	c.mu.Lock()
	p := c.pings
	c.mu.Unlock()
	if p != nil {
		p.Close()
	}
}

// answered says whether a stanza answers a ping of ours, on whichever stream to the
// domain that was sent.
func (v *Server) answered(st *stanza.Stanza) bool {
	if st.Kind != stanza.IQ || st.Type != stanza.TypeResult && st.Type != stanza.TypeError {
		return false
	}
	v.mu.Lock()
	p := v.peers[st.From.Domain()]
	v.mu.Unlock()
	if p == nil {
		return false
	}
	for _, c := range p.streams() {
		c.mu.Lock()
		pings := c.pings
		c.mu.Unlock()
		if pings != nil && pings.Answered(st) {
			return true
		}
	}
	return false
}
