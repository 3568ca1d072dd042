package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// presenter is a session here that has presence for others. Those that do not,
// have none.
type presenter interface {
	router.Session
	// Introduce sends its presence to another resource of its account.
	Introduce(ctx context.Context, to router.Session)
	// Retire says that it is gone, for good, to whoever knows its presence.
	Retire(ctx context.Context)
}

// answer does what another node asks of a session here.
func (r *Sessions) answer(ctx context.Context, data []byte) []byte {
	q, err := parseRequest(data)
	if err != nil {
		return failure(err).append(nil)
	}
	ctx, cancel := context.WithTimeout(ctx, q.wait)
	defer cancel()
	switch q.op {
	case opBorrow:
		return r.lend(ctx, q.data).append(nil)
	case opTake:
		return r.give(q.data).append(nil)
	case opReturn:
		if l := r.loanOf(string(q.data)); l != nil {
			l.keep()
		}
		return reply{status: statusDone}.append(nil)
	}
	s := r.numbered(q.number)
	if s == nil {
		return r.forward(ctx, q).append(nil)
	}
	r.stats.answered.Add(1)
	return r.serve(ctx, s, q).append(nil)
}

// numbered is the session of a binding of this node, nil when it is over.
func (r *Sessions) numbered(number uint64) router.Session {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if c := r.numbers[number]; c != nil {
		return c.session
	}
	return nil
}

func (r *Sessions) serve(ctx context.Context, s router.Session, q request) reply {
	p, presents := s.(presenter)
	switch q.op {
	case opSend, opKept:
		return deliver(ctx, s, q)
	case opProve:
		return r.proofs.wait(ctx, r, s, string(q.data))
	case opClose:
		s.Close(parseClose(q.data))
	case opRetire:
		if presents {
			p.Retire(ctx)
		}
	case opIntroduce:
		to, err := jid.Parse(string(q.data))
		if err != nil {
			return failure(err)
		}
		if other := r.Session(to); presents && other != nil {
			p.Introduce(ctx, other)
		}
	case opHandled:
		if o, ok := s.(interface {
			Handled(ctx context.Context, previd string) (uint32, bool)
		}); ok {
			if h, ok := o.Handled(ctx, string(q.data)); ok {
				return reply{statusDone, binary.BigEndian.AppendUint32(nil, h)}
			}
		}
	case opShow:
		if o, ok := s.(interface{ Shown() *stanza.Stanza }); ok {
			if st := o.Shown(); st != nil {
				return reply{statusDone, stanzaData(st)}
			}
		}
	default:
		return failure(errRequest)
	}
	return reply{status: statusDone}
}

func deliver(ctx context.Context, s router.Session, q request) reply {
	st, err := parseStanza(q.data)
	if err != nil {
		return failure(err)
	}
	had := false
	if q.op == opKept {
		had, err = s.SendKept(ctx, st)
	} else {
		err = s.Send(ctx, st)
	}
	switch {
	case err != nil:
		return failure(err)
	case had:
		return reply{status: statusHad}
	}
	return reply{status: statusDone}
}

// proofs are those that other nodes wait for. One goes on from request to request,
// since a client may be slower than one of them waits.
type proofs struct {
	mu      sync.Mutex
	running map[string]*proof // by the name that who asks gave it
}

type proof struct {
	idle  *time.Timer   // ends it when nobody asks any more
	done  chan struct{} // closed when the rest is set
	proof router.Proof
	err   error
}

// wait waits for the proof of that name until ctx ends, beginning it if need be.
func (ps *proofs) wait(ctx context.Context, r *Sessions, s router.Session, name string) reply {
	p := ps.join(r, s, name)
	if p == nil {
		return reply{status: statusGone}
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return reply{status: statusWaiting}
	}
	if p.err != nil {
		return failure(fmt.Errorf("prove: %w", p.err))
	}
	return reply{statusDone, []byte(p.proof)}
}

// join returns the proof of that name, nil at the end of all.
func (ps *proofs) join(r *Sessions, s router.Session, name string) *proof {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.running[name]; p != nil {
		p.idle.Reset(r.o.times.linger)
		return p
	}
	p := &proof{done: make(chan struct{})}
	ctx, cancel := context.WithCancel(r.life)
	p.idle = time.AfterFunc(r.o.times.linger, cancel)
	if !r.start(func(context.Context) {
		defer cancel()
		defer p.idle.Stop()
		p.proof, p.err = s.Prove(ctx)
		ps.mu.Lock()
		delete(ps.running, name)
		ps.mu.Unlock()
		close(p.done)
	}) {
		p.idle.Stop()
		cancel()
		return nil
	}
	if ps.running == nil {
		ps.running = make(map[string]*proof)
	}
	ps.running[name] = p
	return p
}
