package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stream"
)

// loan is a session here that another node may take over (XEP-0198 §5). It is given once, or
// kept: when that node says so, and where it does not say anything for a while.
type loan struct {
	r       *Sessions
	name    string
	previd  string
	session router.Session
	lent    router.Lent
	decided chan struct{} // closed when it is

	mu     sync.Mutex
	over   bool
	answer reply // to who takes it, when it is over

	// Where it was given, and the number of the binding here; guarded by Sessions.mu.
	to     *remote
	number uint64
}

// handed is where a session was given.
type handed struct {
	bare jid.JID
	to   *remote
}

// lend answers a borrowRequest.
func (r *Sessions) lend(ctx context.Context, data []byte) reply {
	var q borrowRequest
	if err := json.Unmarshal(data, &q); err != nil {
		return failure(fmt.Errorf("lend: %w", err))
	}
	bare, err := jid.Parse(q.Bare)
	if err != nil {
		return failure(fmt.Errorf("lend: %w", err))
	}
	for _, s := range r.local.Sessions(bare) {
		l, ok := s.(router.Lender)
		if !ok {
			continue
		}
		lent, err := l.Lend(ctx, q.Previd, q.H)
		var high *stream.AckError
		switch {
		case errors.As(err, &high):
			return reply{statusTooHigh, binary.BigEndian.AppendUint32(nil, high.Sent)}
		case err != nil:
			return failure(err)
		case lent != nil:
			return r.book(ctx, &loan{r: r, name: q.Loan, previd: q.Previd, session: s, lent: lent, decided: make(chan struct{})})
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if h, ok := r.handed[q.Previd]; ok && h.bare == bare {
		return reply{statusMoved, []byte(h.to.peer.node)}
	}
	return reply{status: statusGone}
}

// book notes a loan, and returns the answer to who has asked for it.
func (r *Sessions) book(ctx context.Context, l *loan) reply {
	state := l.lent.State()
	r.mu.Lock()
	var since int64
	c := r.claims[sessionKey(l.session.JID())]
	ok := c != nil && c.session == l.session && ctx.Err() == nil // else nobody waits for it any more
	if ok {
		since = c.binding.since
		r.loans[l.name] = l
	}
	r.mu.Unlock()
	if !ok || !r.start(l.watch) {
		l.keep()
		return reply{status: statusGone}
	}
	return reply{statusDone, append(binary.BigEndian.AppendUint64(nil, uint64(since)), state...)}
}

// watch keeps the session where nobody takes it, and remembers for a while how the loan
// ended, for who did not get the answer.
func (l *loan) watch(ctx context.Context) {
	r := l.r
	t := time.NewTimer(r.o.times.loan)
	defer t.Stop()
	select {
	case <-l.decided:
	case <-t.C:
	case <-ctx.Done():
	}
	l.keep()
	t.Reset(r.o.times.remember)
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	r.forget(l)
}

// loanOf is the loan of that name, nil for none.
func (r *Sessions) loanOf(name string) *loan {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.loans[name]
}

// give answers a takeRequest. Asked again it answers the same.
func (r *Sessions) give(data []byte) reply {
	var q takeRequest
	if err := json.Unmarshal(data, &q); err != nil {
		return failure(fmt.Errorf("give: %w", err))
	}
	l := r.loanOf(q.Loan)
	if l == nil {
		return reply{status: statusGone}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return l.answer
	}
	rest, ok := l.lent.Give(q.Node, func() bool {
		return r.handOver(l, binding{q.Since, q.Node, q.Number})
	})
	l.answer = reply{statusDone, rest}
	if !ok {
		l.lent.Keep()
		l.answer = reply{status: statusGone}
	}
	l.end(ok)
	return l.answer
}

// keep has the session go on here, unless the loan is over.
func (l *loan) keep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.lent.Keep()
		l.answer = reply{status: statusGone}
		l.end(false)
	}
}

// end notes that the loan is over; l.mu is held.
func (l *loan) end(given bool) {
	l.over, l.lent = true, nil // and what it holds
	close(l.decided)
	if given {
		l.r.stats.lent.good.Add(1)
	} else {
		l.r.stats.lent.bad.Add(1)
	}
}

// handOver has a session count as one of the other node: it is so in the bucket before long.
// It returns false for a session that is not bound here any more.
func (r *Sessions) handOver(l *loan, to binding) bool {
	full := l.session.JID()
	key := sessionKey(full)
	r.mu.Lock()
	defer r.unlock()
	c := r.claims[key]
	if c == nil || c.session != l.session || r.closed {
		return false
	}
	r.drop(key, moved)
	m := &remote{r: r, key: key, full: full, binding: to, peer: r.peer(to.node), rev: c.rev, ahead: true}
	now := shownOf(l.session)
	m.state.Store(&now)
	l.to, l.number = m, c.binding.number
	r.handed[l.previd] = handed{full.Bare(), m}
	r.forwards[l.number] = m

	r.local.Unbind(l.session)
	delete(r.numbers, c.binding.number)
	delete(r.claims, key)
	c.session, c.ours, c.rev = nil, false, 0 // for a writer that is about to look at it
	r.add(m)
	return true
}

// forget forgets a loan, and where its session went. An entry that the other node has not
// written by now it will not write, and ours goes.
func (r *Sessions) forget(l *loan) {
	r.mu.Lock()
	defer r.unlock()
	delete(r.loans, l.name)
	m := l.to
	if m == nil {
		return
	}
	delete(r.forwards, l.number)
	if r.handed[l.previd].to == m {
		delete(r.handed, l.previd)
	}
	if r.remotes[m.key] != m || !m.ahead {
		return
	}
	r.drop(m.key, lost)
	if r.claims[m.key] == nil {
		c := &claim{key: m.key, full: m.full}
		r.claims[m.key] = c
		r.queue(c)
	}
}

// forward has the node that a session was given to do what is asked of it here, because who
// asks does not know yet. What is in custody is not forwarded: its sender finds the session
// where it is, and sends it again.
func (r *Sessions) forward(ctx context.Context, q request) reply {
	r.mu.RLock()
	m := r.forwards[q.number]
	r.mu.RUnlock()
	if m == nil || q.op == opKept || q.op == opProve {
		return reply{status: statusGone}
	}
	a, err := m.ask(ctx, q.op, q.data)
	switch {
	case errors.Is(err, errSessionGone):
		return reply{status: statusGone}
	case err != nil:
		return failure(err)
	}
	return a
}
