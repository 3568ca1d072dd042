package s2s

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// peer is another domain.
type peer struct {
	v       *Server
	domain  string
	address jid.JID
	dialing chan struct{} // capacity 1: one stream at a time is opened

	mu       sync.Mutex
	lanes    map[string]*lane // by domain of ours
	carriers []*conn          // open streams that can carry to it, or be asked to
	failure  *Failure         // the last one; it stays when it is over
	failures int              // in a row, until now
	next     time.Time        // nothing is tried before
	plain    bool             // it has refused stream management (XEP-0198)
	doubted  time.Time        // until then SASL EXTERNAL is not asked for; see doubts
}

// maxPeers bounds the domains that are known at once. Those without streams and with
// nothing waiting make room.
const maxPeers = 20000

var errTooMany = &stanza.Error{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "too many domains at once"}

// peer finds or makes what is known of a domain.
func (v *Server) peer(domain string) (*peer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if p := v.peers[domain]; p != nil {
		return p, nil
	}
	address, err := jid.New("", domain, "")
	switch {
	case err != nil:
		return nil, &stanza.Error{Condition: stanza.JIDMalformed, Text: err.Error()}
	case v.closed:
		return nil, &stanza.Error{Type: stanza.Wait, Condition: stanza.ServiceUnavailable}
	case len(v.peers) >= maxPeers && !v.forgetIdle():
		return nil, errTooMany
	}
	p := &peer{v: v, domain: domain, address: address, dialing: make(chan struct{}, 1), lanes: make(map[string]*lane)}
	v.peers[domain] = p
	return p, nil
}

// forgetIdle makes room, and says whether it did; v.mu is held.
func (v *Server) forgetIdle() bool {
	for domain, p := range v.peers {
		if p.idle() {
			delete(v.peers, domain)
			return true
		}
	}
	return false
}

// idle says whether nothing goes on with a domain, nor is a pause to be kept.
func (p *peer) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.carriers) > 0 || time.Now().Before(p.next) {
		return false
	}
	for _, l := range p.lanes {
		if l.busy() {
			return false
		}
	}
	return true
}

// lane is that from one domain of ours, which may not exist yet.
func (p *peer) lane(ours string) *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.lanes[ours]
	if l == nil {
		l = &lane{p: p, pair: Pair{ours, p.domain}}
		p.lanes[ours] = l
	}
	return l
}

// resting is why nothing is tried now, nil where it may be.
func (p *peer) resting() *Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Now().Before(p.next) {
		return p.failure
	}
	return nil
}

// hindered is why no stream may be opened now, nil where one may. It is for where there is
// none: what has one is not asked about its policy with each stanza, as Recheck ends it.
func (p *peer) hindered() *Failure {
	if p.v.policy(p.domain).Deny {
		return failed(StepPolicy, errDenied)
	}
	return p.resting()
}

// fail notes a failure to reach the domain, and when it is tried again.
func (p *peer) fail(f *Failure) {
	if f.Step == StepPolicy {
		return // that is asked anew each time
	}
	p.mu.Lock()
	p.failure = f
	p.failures++
	n := p.failures
	pol := p.v.policy(p.domain)
	p.next = time.Now().Add(backoff.Pause(pol.Retry, pol.MaxRetry, n))
	next := p.next
	p.mu.Unlock()
	p.v.stats.failed(f.Step)
	p.v.o.Log.Warn().Str("domain", p.domain).Str("step", string(f.Step)).Err(f.Err).Int("failures", n).Time("next", next).
		Msg("server not reached")
}

// reached ends a series of failures.
func (p *peer) reached() {
	p.mu.Lock()
	again := p.failures > 0
	p.failures, p.next = 0, time.Time{}
	p.mu.Unlock()
	if again {
		p.v.o.Log.Info().Str("domain", p.domain).Msg("server is reached again")
	}
	if p.v.o.Up != nil {
		p.v.o.Up(p.domain)
	}
}

// heard is for a domain that has just shown that it is there: what waits for it need
// not wait any longer, here or for a schedule of its own.
func (p *peer) heard() {
	p.mu.Lock()
	p.next = time.Time{}
	p.mu.Unlock()
	if p.v.o.Up != nil {
		p.v.o.Up(p.domain)
	}
}

// carry adds a stream that can be used to reach the domain.
func (p *peer) carry(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.carriers, c) {
		p.carriers = append(p.carriers, c)
	}
}

func (p *peer) drop(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.carriers = slices.DeleteFunc(p.carriers, func(o *conn) bool { return o == c })
}

// streams are those that can be used, oldest first.
func (p *peer) streams() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.carriers)
}

// authorize returns a stream on which we may send for a domain of ours: one that there
// is, one that is asked to take another pair (XEP-0220 §2.6), or a new one. The error is
// a *Failure.
func (p *peer) authorize(ctx context.Context, ours string) (*conn, error) {
	pair := Pair{ours, p.domain}
	tried := make(map[*conn]bool)
	for {
		streams := p.streams()
		for _, c := range streams {
			if c.may(pair) {
				return c, nil
			}
		}
		for _, c := range streams {
			if !tried[c] && c.asks() && c.claim(ctx, pair) == nil {
				return c, nil
			}
			tried[c] = true
		}
		if c := p.shared(ctx, pair, tried); c != nil {
			c.attach(p)
			return c, nil
		}
		c, err := p.open(ctx, ours, tried)
		switch {
		case err != nil:
			return nil, err
		case c == nil: // there is one that was not tried
			continue
		case c.may(pair):
			return c, nil
		}
		tried[c] = true
		switch err = c.claim(ctx, pair); {
		case err == nil:
			return c, nil
		case p.doubts(c): // XEP-0178 §4 step 12: dialback is left, on a new stream
			continue
		}
		c.closeUnused()
		return nil, failed(StepDialback, err)
	}
}

// doubts says whether the peer has refused our certificate and then ended the stream: the
// next ones are opened without asking for SASL EXTERNAL, for doubtTime. It says so once.
func (p *peer) doubts(c *conn) bool {
	if c.refused == nil || !c.isOver() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.doubted) {
		return false
	}
	p.doubted = now.Add(doubtTime)
	return true
}

// doubtTime is after what our certificate may have become one that the peer takes.
const doubtTime = time.Hour

func (p *peer) isDoubted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.doubted)
}

// open opens a stream for a domain of ours. It returns nil where there is one that was
// not tried, which somebody else has opened meanwhile. The error is a *Failure.
func (p *peer) open(ctx context.Context, ours string, tried map[*conn]bool) (*conn, error) {
	// Nobody who waits for a verdict holds this: ours may depend on theirs, and theirs on
	// a stream that is opened here.
	select {
	case p.dialing <- struct{}{}:
		defer func() { <-p.dialing }()
	case <-ctx.Done():
		return nil, failed(StepTCP, context.Cause(ctx))
	}
	outgoing := 0
	for _, c := range p.streams() {
		if !tried[c] && !c.isOver() {
			return nil, nil
		}
		if !c.incoming {
			outgoing++
		}
	}
	pol := p.v.policy(p.domain)
	switch {
	case pol.Deny:
		return nil, failed(StepPolicy, errDenied)
	case outgoing >= pol.Connections:
		return nil, failed(StepPolicy, fmt.Errorf("%w (max_outbound_connections = %d)", errConnections, outgoing))
	}
	return p.dial(ctx, ours, pol)
}

// errConnections passes: one of them becomes free, or idle.
var errConnections = errors.New("there are as many connections to the domain as may be")

var errDenied = errors.New("streams with the domain are not allowed here (xmpp_role, s2s_default)")

// ended is for a stream that carried to the domain and is over.
func (p *peer) ended(c *conn, err error) {
	p.drop(c)
	var theirs *stream.PeerError
	if err != nil && !errors.Is(err, errIdle) && !errors.Is(err, stream.Shutdown) {
		p.mu.Lock()
		p.failure = failed(StepUse, err)
		if errors.As(err, &theirs) {
			p.failure.Err = theirs
		}
		p.mu.Unlock()
	}
}
