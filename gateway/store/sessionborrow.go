package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stream"
)

// borrowRequest asks a node to lend a session, if it has it.
type borrowRequest struct {
	Loan   string `json:"loan"` // names it, chosen by who asks
	Bare   string `json:"bare"`
	Previd string `json:"previd"`
	H      uint32 `json:"h"`
}

// takeRequest has a node give what it has lent to the binding of another one.
type takeRequest struct {
	Loan   string `json:"loan"`
	Node   string `json:"node"`
	Number uint64 `json:"number"`
	Since  int64  `json:"since"`
}

// maxMoves bounds the nodes that a search is sent on to. Each is asked once in any case.
const maxMoves = 8

// borrowing is a session that another node lends. It is a router.Loan.
type borrowing struct {
	r      *Sessions
	node   string
	name   string
	previd string
	since  int64 // of the binding there
	state  []byte
}

// Borrow asks all other nodes for a session: the registry may not know yet where it is, and
// who has handed it over knows where it went. See router.Borrower.
func (r *Sessions) Borrow(ctx context.Context, bare jid.JID, previd string, h uint32) (router.Loan, error) {
	nodes := r.others()
	if len(nodes) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.o.times.borrow)
	s := search{r: r, q: borrowRequest{rand.Text(), bare.String(), previd, h}, answers: make(chan lendAnswer, len(nodes)+maxMoves)}
	defer s.asking.Wait()
	defer cancel()
	loan, err := s.run(ctx, nodes)
	if err != nil && !errors.Is(err, router.ErrHere) {
		r.stats.borrowed.bad.Add(1)
		return nil, fmt.Errorf("sessions: borrow: %w", err)
	}
	if loan == nil {
		return nil, err
	}
	return loan, nil
}

// others are the other nodes that live, as far as is known.
func (r *Sessions) others() (nodes []string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.closed {
		return nil
	}
	if r.o.Members == nil {
		for node := range r.peers {
			nodes = append(nodes, node)
		}
		return nodes
	}
	for node := range r.members {
		if node != r.node {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// search is one Borrow.
type search struct {
	r       *Sessions
	q       borrowRequest
	answers chan lendAnswer // has room for all
	asking  sync.WaitGroup

	asked   map[string]bool // the nodes that have not answered yet
	again   map[string]bool // those of them to be asked once more, since another node has sent us there
	moves   int
	here    bool // this node is where one has sent us
	refused error
}

// lendAnswer is what a node answers to a borrowRequest.
type lendAnswer struct {
	node  string
	reply reply
	err   error
}

// run asks nodes, and those that they send on to, until one lends the session. Nil: none has
// it.
func (s *search) run(ctx context.Context, nodes []string) (*borrowing, error) {
	s.asked, s.again = make(map[string]bool), make(map[string]bool)
	for _, node := range nodes {
		s.ask(ctx, node)
	}
	for len(s.asked) > 0 {
		select {
		case a := <-s.answers:
			if loan, err := s.take(ctx, a); loan != nil || err != nil {
				return loan, err
			}
		case <-ctx.Done():
			return nil, errors.Join(s.refused, ctx.Err())
		}
	}
	if s.here {
		return nil, router.ErrHere
	}
	return nil, s.refused
}

// take takes an answer.
func (s *search) take(ctx context.Context, a lendAnswer) (*borrowing, error) {
	delete(s.asked, a.node)
	data := a.reply.data
	switch {
	case errors.Is(a.err, broker.ErrNobody):
	case a.err != nil:
		s.refused = errors.Join(s.refused, fmt.Errorf("node %s: %w", a.node, a.err))
	case a.reply.status == statusDone && len(data) > 8:
		since := int64(binary.BigEndian.Uint64(data))
		return &borrowing{s.r, a.node, s.q.Loan, s.q.Previd, since, data[8:]}, nil
	case a.reply.status == statusTooHigh && len(data) == 4:
		return nil, &stream.AckError{H: s.q.H, Sent: binary.BigEndian.Uint32(data)}
	case a.reply.status == statusMoved:
		s.follow(ctx, string(data))
	case a.reply.status == statusFailed:
		s.refused = errors.Join(s.refused, fmt.Errorf("node %s: %s", a.node, data))
	}
	if s.again[a.node] {
		delete(s.again, a.node)
		s.ask(ctx, a.node)
	}
	return nil, nil
}

// follow goes on to the node that has got the session from another one: it may have been
// asked before it had it. What one says of this node may be long past, like the way from
// here to yet another one.
func (s *search) follow(ctx context.Context, node string) {
	switch {
	case node == s.r.node:
		s.here = true
	case s.moves >= maxMoves:
	case s.asked[node]:
		s.moves++
		s.again[node] = true
	default:
		s.moves++
		s.ask(ctx, node)
	}
}

func (s *search) ask(ctx context.Context, node string) {
	s.asked[node] = true
	data, err := json.Marshal(s.q)
	s.asking.Go(func() {
		a := lendAnswer{node: node, err: err}
		if err == nil {
			a.reply, a.err = s.r.askNode(ctx, node, opBorrow, data)
		}
		s.answers <- a
	})
}

// askNode sends a request that is for no certain session.
func (r *Sessions) askNode(ctx context.Context, node string, op operation, data []byte) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.times.borrow)
	defer cancel()
	defer context.AfterFunc(r.life, cancel)()
	until, _ := ctx.Deadline()
	// What was not done when we stop waiting must not be done afterwards.
	answer, err := r.o.Broker.Ask(ctx, askSubject(node), request{op: op, wait: time.Until(until) * 9 / 10, data: data}.append(nil))
	if err != nil {
		return reply{}, err
	}
	return parseReply(answer)
}

// Node is who lends the session.
func (b *borrowing) Node() string { return b.node }

// State is what the session is made of.
func (b *borrowing) State() []byte { return b.state }

// errOccupied is for a session whose full JID was bound here meanwhile.
var errOccupied = errors.New("full JID is bound here")

// errOver is for a loan that who lent the session has taken back.
var errOver = errors.New("loan is over")

// Take binds s in place of the session. Other nodes learn of it when the session is over
// there, so that it is never gone for them. See router.Loan.
func (b *borrowing) Take(ctx context.Context, s router.Session) (rest []byte, err error) {
	r := b.r
	defer func() { r.stats.borrowed.count(err) }()
	bound, err := r.bindHeld(s, b.since)
	if err != nil {
		b.Return()
		return nil, fmt.Errorf("sessions: borrow: %w", err)
	}
	// Once it is begun it has to be known how it ends, whoever waits.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.o.times.borrow*3/5)
	defer cancel()
	rest, err = b.take(ctx, bound)
	if err != nil {
		r.Unbind(s)
		return nil, fmt.Errorf("sessions: borrow from %s: %w", b.node, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.handed, b.previd)
	if c := r.claims[sessionKey(s.JID())]; c != nil && c.session == s {
		c.held = false
		r.queue(c)
	}
	return rest, nil
}

// take asks for the session until it is known whether it is given.
func (b *borrowing) take(ctx context.Context, bound binding) (rest []byte, err error) {
	data, err := json.Marshal(takeRequest{b.name, bound.node, bound.number, bound.since})
	if err != nil {
		return nil, err
	}
	for asked := false; ; asked = true {
		try, cancel := context.WithTimeout(ctx, b.r.o.times.borrow/5)
		a, err := b.r.askNode(try, b.node, opTake, data)
		cancel()
		switch {
		case err == nil && a.status == statusDone:
			return a.data, nil
		case err == nil:
			return nil, errOver
		case errors.Is(err, broker.ErrNobody) && !asked:
			return nil, err
		case !backoff.Wait(ctx, b.r.o.times.retry):
			return nil, fmt.Errorf("%w: %w", router.ErrInDoubt, err)
		}
	}
}

// Return has the session go on where it was.
func (b *borrowing) Return() {
	b.r.start(func(ctx context.Context) {
		// Where that does not arrive the loan ends by itself.
		_, _ = b.r.askNode(ctx, b.node, opReturn, []byte(b.name))
	})
}

// bindHeld binds a session that is another node's still, whose binding is of since: it is
// found here, and other nodes do not learn of it yet.
func (r *Sessions) bindHeld(s router.Session, since int64) (binding, error) {
	full := s.JID()
	key := sessionKey(full)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || r.local.Session(full) != nil {
		return binding{}, errOccupied
	}
	// The account has as many sessions as before.
	if _, err := r.local.Bind(s, math.MaxInt); err != nil {
		return binding{}, err
	}
	if twin := r.remotes[key]; twin != nil {
		since = max(since, twin.binding.since)
	}
	c := r.assign(key, s, max(time.Now().UnixNano(), since+1))
	c.held, c.moved = true, true
	r.merge(full.Bare())
	return c.binding, nil
}

var _ router.Borrower = (*Sessions)(nil)
