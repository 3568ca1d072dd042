package relay

import (
	"errors"
	"sync/atomic"
)

// Stats is a snapshot of a Sender's counters; all but Open, Idle and Waiting only
// grow.
type Stats struct {
	Attempts  uint64 // messages handed to Send
	Sent      uint64 // of them, those that a host took
	Refused   uint64 // for good
	Deferred  uint64 // all others that are over
	Failures  map[Kind]uint64
	Fallbacks uint64 // hosts with which TLS failed, so that clear text was used
	Open      int    // connections now
	Idle      int    // of them, those that nobody uses
	Waiting   int    // messages that wait for a connection
}

// counters is Stats as it is counted.
type counters struct {
	attempts, sent, refused, deferred, fallbacks atomic.Uint64
	failures                                     [kinds]atomic.Uint64
}

// done counts what became of a message.
func (c *counters) done(err error) {
	switch {
	case err == nil:
		c.sent.Add(1)
	case !temporary(err):
		c.refused.Add(1)
	default:
		c.deferred.Add(1)
		if host, ok := errors.AsType[*HostError](err); ok {
			c.failures[host.Kind].Add(1)
		}
	}
}

// Stats returns the counters as they are now. Failures has every kind; of a message
// that several hosts failed the first one's counts.
func (s *Sender) Stats() Stats {
	st := Stats{
		Attempts: s.count.attempts.Load(), Sent: s.count.sent.Load(), Refused: s.count.refused.Load(),
		Deferred: s.count.deferred.Load(), Fallbacks: s.count.fallbacks.Load(), Failures: make(map[Kind]uint64, kinds),
	}
	for k := range s.count.failures {
		st.Failures[Kind(k)] = s.count.failures[k].Load()
	}
	st.Open, st.Idle, st.Waiting = s.pool.count()
	return st
}
