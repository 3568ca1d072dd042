package router

import (
	"context"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// What one user writes to another arrives in its order (RFC 6120 §10.1), though some
// of it goes from session to session and some by way of custody. So a message goes
// into custody too, whoever is there to take it, while an earlier one is on its way
// from there, and waits while a session that has ended gives back what its client
// never got.

// Returning says that a session of bare is about to end, and that what it has not
// delivered comes back by Return before anything newer for bare is dealt with. It
// is called before Unbind; done is called when all has come back.
func (r *Router) Returning(bare jid.JID) (done func()) { return r.returns.begin(bare) }

// mustKeep says whether st has to go into custody to stay behind others.
func (r *Router) mustKeep(ctx context.Context, st *stanza.Stanza) bool {
	return r.o.Custody != nil && Storable(st) && r.o.Custody.Waits(ctx, st.To.Bare())
}

// returns are the accounts that messages are being given back for.
type returns struct {
	mu      sync.Mutex
	running map[jid.JID]*returning
}

type returning struct {
	sessions int
	over     chan struct{}
}

func (r *returns) begin(bare jid.JID) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil {
		r.running = make(map[jid.JID]*returning)
	}
	g := r.running[bare]
	if g == nil {
		g = &returning{over: make(chan struct{})}
		r.running[bare] = g
	}
	g.sessions++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if g.sessions--; g.sessions == 0 {
			delete(r.running, bare)
			close(g.over)
		}
	})
}

// returnTime bounds the waiting for a session that gives back: it takes less, and should
// it not, who writes to that account is not to stand still for it.
const returnTime = 15 * time.Second

// wait waits until nothing is given back for bare any more, for returnTime at most, or
// until ctx ends.
func (r *returns) wait(ctx context.Context, bare jid.JID) {
	r.mu.Lock()
	g := r.running[bare]
	r.mu.Unlock()
	if g == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, returnTime)
	defer cancel()
	select {
	case <-g.over:
	case <-ctx.Done():
	}
}
