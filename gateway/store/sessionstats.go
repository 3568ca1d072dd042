package store

import "sync/atomic"

// SessionsStats are counts since NewSessions; Remote and Nodes are of now.
type SessionsStats struct {
	Remote int // sessions of other processes that count
	Nodes  int // those processes

	Sent, SendFailed uint64 // stanzas for sessions elsewhere; failed ones were kept or tried elsewhere
	Proven, Unproven uint64 // proofs asked of sessions elsewhere
	Answered         uint64 // requests of other processes to sessions here
	Conflicts        uint64 // sessions here that yielded to a binding elsewhere

	Borrowed, NotBorrowed uint64 // sessions of other processes that were to be resumed here
	Lent, NotLent         uint64 // sessions here that were to be resumed elsewhere
}

type sessionCounters struct {
	sends, proofs       outcomes
	borrowed, lent      outcomes
	answered, conflicts atomic.Uint64
	broken              atomic.Bool // the last write of an entry failed
}

type outcomes struct{ good, bad atomic.Uint64 }

func (o *outcomes) count(err error) {
	if err != nil {
		o.bad.Add(1)
		return
	}
	o.good.Add(1)
}

// Stats returns the counts.
func (r *Sessions) Stats() SessionsStats {
	c := &r.stats
	s := SessionsStats{
		Sent: c.sends.good.Load(), SendFailed: c.sends.bad.Load(), Proven: c.proofs.good.Load(), Unproven: c.proofs.bad.Load(),
		Answered: c.answered.Load(), Conflicts: c.conflicts.Load(),
		Borrowed: c.borrowed.good.Load(), NotBorrowed: c.borrowed.bad.Load(), Lent: c.lent.good.Load(), NotLent: c.lent.bad.Load(),
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, p := range r.peers {
		if p.live && len(p.remotes) > 0 {
			s.Nodes++
			s.Remote += len(p.remotes)
		}
	}
	return s
}
