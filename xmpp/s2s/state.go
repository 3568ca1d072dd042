package s2s

import (
	"cmp"
	"crypto/tls"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/stream"
)

// State is a stream with another domain, or that there is none, for an operator.
type State struct {
	// Domain is the other one, empty for a stream on which none is proven.
	Domain string `json:"domain"`
	// Direction is "out", "in" or "both", of stanzas as the stream is used.
	Direction string `json:"direction,omitempty"`
	// State is "open", "unproven" for one that came in and waits for proof, "opening",
	// "waiting" after a failure, or "closed".
	State string `json:"state"`
	// Authenticated is how the pairs are: EXTERNAL, certificate, dialback.
	Authenticated string      `json:"authenticated,omitempty"`
	Pairs         []PairState `json:"pairs,omitempty"`
	Since         time.Time   `json:"since,omitzero"`
	Address       string      `json:"address,omitempty"`
	TLS           string      `json:"tls,omitempty"` // version; empty: clear text
	Managed       bool        `json:"managed,omitempty"`
	Bidi          bool        `json:"bidi,omitempty"`
	// Queue is what waits: stanzas for a stream that is opened, bytes on one that is.
	Queue int `json:"queue"`
	// Sent and Received are stanzas.
	Sent     uint64        `json:"sent"`
	Received uint64        `json:"received"`
	Failure  *FailureState `json:"failure,omitempty"` // the last one
	NextTry  time.Time     `json:"next_try,omitzero"`
}

// PairState is a pair of domains that is authorised on a stream.
type PairState struct {
	From string `json:"from"`
	To   string `json:"to"`
	By   string `json:"by"`
}

// FailureState is why a stream could not be opened, or ended.
type FailureState struct {
	Step    Step      `json:"step"`
	Text    string    `json:"text"`
	At      time.Time `json:"at"`
	InARow  int       `json:"in_a_row,omitempty"`
	ForGood bool      `json:"for_good,omitempty"` // it does not pass by itself
}

// States are all streams, and the domains to which there is none, by domain.
func (v *Server) States() []State {
	v.mu.Lock()
	peers := make([]*peer, 0, len(v.peers))
	for _, p := range v.peers {
		peers = append(peers, p)
	}
	conns := make([]*conn, 0, len(v.conns))
	for c := range v.conns {
		conns = append(conns, c)
	}
	v.mu.Unlock()
	var all []State
	open := make(map[string]bool)
	for _, c := range conns {
		st := c.state()
		for _, pair := range st.Pairs {
			open[pair.From], open[pair.To] = true, true
		}
		all = append(all, st)
	}
	for _, p := range peers {
		st, worth := p.state()
		if !worth {
			continue
		}
		if !open[p.domain] || st.State != "closed" {
			all = append(all, st)
			continue
		}
		for i := range all {
			if all[i].Domain == p.domain {
				all[i].Failure = st.Failure // it is over
			}
		}
	}
	slices.SortFunc(all, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Direction, b.Direction), a.Since.Compare(b.Since))
	})
	return all
}

// state is a stream.
func (c *conn) state() State {
	st := State{
		Domain: c.JID().Domain(), State: "open", Since: c.since.UTC(), Address: c.addr.String(), Managed: c.s.Writer().Managed(),
		Queue: c.s.Writer().Queued(), Sent: c.sent.Load(), Received: c.received.Load(),
	}
	if t := c.s.TLS(); t != nil {
		st.TLS = tls.VersionName(t.Version)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st.Bidi = c.bidi
	by := make(map[string]bool)
	in, out := 0, 0
	for p, how := range c.in {
		st.Pairs = append(st.Pairs, PairState{p.Theirs, p.Ours, how})
		by[how] = true
		in++
	}
	for p, cl := range c.out {
		if cl.valid() {
			st.Pairs = append(st.Pairs, PairState{p.Ours, p.Theirs, cl.how})
			by[cl.how] = true
			out++
		}
	}
	switch {
	case in > 0 && out > 0:
		st.Direction = "both"
	case in > 0 || out == 0 && c.incoming:
		st.Direction = "in"
	default:
		st.Direction = "out"
	}
	if in+out == 0 {
		st.State = "unproven"
	}
	how := make([]string, 0, len(by))
	for h := range by {
		how = append(how, h)
	}
	slices.Sort(how)
	st.Authenticated = strings.Join(how, ", ")
	slices.SortFunc(st.Pairs, func(a, b PairState) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	return st
}

// state is a domain as far as it has no stream. worth says that there is anything to say.
func (p *peer) state() (st State, worth bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st = State{Domain: p.domain, Direction: "out", State: "closed"}
	if f := p.failure; f != nil {
		st.Failure = &FailureState{Step: f.Step, Text: f.Err.Error(), At: f.At.UTC(), InARow: p.failures, ForGood: !f.Temporary()}
		worth = true
	}
	if time.Now().Before(p.next) {
		st.State, st.NextTry = "waiting", p.next.UTC()
	}
	for _, l := range p.lanes {
		if n, opening := l.queue(); opening {
			st.State, worth = "opening", true
			st.Queue += n
		}
	}
	return st, worth
}

// queue is what waits for a stream that is being made. It does not wait for who sends.
func (l *lane) queue() (n int, opening bool) {
	if !l.mu.TryLock() {
		return 0, false // it is being used, so there is a stream
	}
	defer l.mu.Unlock()
	return len(l.waiting), l.settled != nil
}

// Retry has the next attempt to reach a domain made at once, and says whether one was
// being waited for.
func (v *Server) Retry(domain string) bool {
	v.mu.Lock()
	p := v.peers[domain]
	v.mu.Unlock()
	if p == nil || p.resting() == nil {
		return false
	}
	p.heard()
	return true
}

// errNotWanted ends a stream that the policy denies since.
var errNotWanted = &stream.Error{Condition: stream.PolicyViolation, Text: "streams with the domain are not allowed here any more"}

// Recheck ends the streams on which a domain speaks that the policy denies now: it has
// changed.
func (v *Server) Recheck() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for c := range v.conns {
		if c.denied() {
			c.end(errNotWanted)
		}
	}
}

// denied says whether the policy denies a domain of the stream.
func (c *conn) denied() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.in {
		if c.v.policy(p.Theirs).Deny {
			return true
		}
	}
	for p := range c.out {
		if c.v.policy(p.Theirs).Deny {
			return true
		}
	}
	return false
}
