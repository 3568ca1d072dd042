package store

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Subjects of a node. Proofs have their own: they may wait for long, and what is
// sent must not wait behind them.
func askSubject(node string) string   { return "node." + node + ".c2s" }
func proveSubject(node string) string { return "node." + node + ".c2s.prove" }

// peer is another node that has entries in the bucket. Guarded by Sessions.mu.
type peer struct {
	node    string
	remotes map[string]*remote // by key
	live    bool
	died    time.Time       // zero: it has not; else when that, or its entries, became known
	life    context.Context // ends with its death
	die     context.CancelFunc
}

// peer returns the peer of that name, making it. r.mu is held.
func (r *Sessions) peer(node string) *peer {
	p := r.peers[node]
	if p == nil {
		p = &peer{node: node, remotes: make(map[string]*remote)}
		p.life, p.die = context.WithCancel(r.life)
		r.peers[node] = p
		if p.live = r.o.Members == nil || r.members[node]; !p.live {
			p.die()
			p.died = time.Now()
		}
	}
	return p
}

// followMembers takes over which nodes live until ctx ends.
func (r *Sessions) followMembers(ctx context.Context) {
	for {
		select {
		case <-r.meetMembers():
		case <-ctx.Done():
			return
		}
	}
}

// meetMembers takes over which nodes live now, and returns what is closed at the
// next change.
func (r *Sessions) meetMembers() <-chan struct{} {
	members, changed := r.o.Members.Members()
	r.mu.Lock()
	defer r.unlock()
	r.members = make(map[string]bool, len(members))
	for _, m := range members {
		r.members[m.Node] = true
	}
	for _, p := range r.peers {
		if p.live != r.members[p.node] {
			r.turn(p)
		}
	}
	return changed
}

// turn changes whether p lives. The sessions of a node that is dead count for
// nothing, at once. r.mu is held.
func (r *Sessions) turn(p *peer) {
	how := lost
	before := make(map[*remote]shown, len(p.remotes))
	for _, m := range p.remotes {
		before[m] = r.shown(m)
	}
	if p.live = !p.live; p.live {
		p.life, p.die = context.WithCancel(r.life)
		how = revived
	} else {
		p.die()
		p.died = time.Now()
	}
	for m, was := range before {
		r.merge(m.full.Bare())
		r.shifted(m, was, how)
	}
	if !p.live && len(p.remotes) == 0 {
		delete(r.peers, p.node)
	}
}

// reaper removes the entries of nodes that have been dead for a while, until ctx
// ends.
func (r *Sessions) reaper(ctx context.Context) {
	tick := time.NewTicker(r.o.times.check)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.reap(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// reap removes entries of dead nodes, on one of the living. A node that was only
// cut off, and has not written since, finds its entries gone and writes them again.
func (r *Sessions) reap(ctx context.Context) {
	kv, dead := r.dead()
	for key, rev := range dead {
		wctx, cancel := context.WithTimeout(ctx, writeTime)
		err := kv.Purge(wctx, key, jetstream.LastRevision(rev), jetstream.PurgeTTL(markerTTL))
		cancel()
		if err != nil && !isRevision(err) {
			return // the broker is away, and all of it is tried again
		}
	}
}

// dead returns the entries to remove and their revisions.
func (r *Sessions) dead() (jetstream.KeyValue, map[string]uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for node := range r.members {
		if node < r.node {
			return nil, nil // that one does it
		}
	}
	all := make(map[string]uint64)
	for _, p := range r.peers {
		if p.live || time.Since(p.died) < r.o.times.reap {
			continue
		}
		for key, m := range p.remotes {
			all[key] = m.rev
		}
	}
	return r.kv, all
}
