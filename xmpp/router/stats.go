package router

import "sync/atomic"

// Stats are counts since New.
type Stats struct {
	Received        uint64 // stanzas from other servers
	Delivered       uint64 // stanzas that at least one session took
	Kept            uint64 // messages that went into custody
	Refused         uint64 // stanzas answered with an error
	Filtered        uint64 // messages that the filter dropped
	Blocked         uint64 // stanzas that a block list stopped
	Conflicts       uint64 // sessions replaced by a new one with their JID
	TooManySessions uint64 // refused for want of room in their account
	RosterLimits    uint64 // changes of a roster that a limit forbids
}

type counters struct {
	received, delivered, kept, refused, filtered, blocked, conflicts, tooManySessions, rosterLimits atomic.Uint64
}

// Stats returns the counts.
func (r *Router) Stats() Stats {
	c := &r.stats
	return Stats{
		Received: c.received.Load(), Delivered: c.delivered.Load(), Kept: c.kept.Load(), Refused: c.refused.Load(), Filtered: c.filtered.Load(), Blocked: c.blocked.Load(),
		Conflicts: c.conflicts.Load(), TooManySessions: c.tooManySessions.Load(), RosterLimits: c.rosterLimits.Load(),
	}
}
