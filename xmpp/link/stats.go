package link

import "sync/atomic"

// Stats are counts since New.
type Stats struct {
	Connects uint64 // streams that became ready
	Failures uint64 // that did not, or broke
	Resumed  uint64 // of Connects (XEP-0198 §5)
	Sent     uint64 // stanzas
	Received uint64 // stanzas, but for answers to pings
	Dropped  uint64 // of Received, what may not come through the link
}

type counters struct{ connects, failures, resumed, sent, received, dropped atomic.Uint64 }

// Stats returns the counts.
func (l *Link) Stats() Stats {
	c := &l.stats
	return Stats{
		Connects: c.connects.Load(), Failures: c.failures.Load(), Resumed: c.resumed.Load(),
		Sent: c.sent.Load(), Received: c.received.Load(), Dropped: c.dropped.Load(),
	}
}
