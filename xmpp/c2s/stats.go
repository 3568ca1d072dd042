package c2s

import (
	"errors"
	"sync/atomic"

	"mcmt2xmpp/xmpp/stream"
)

// Stats are counts since New; the first five are of now.
type Stats struct {
	Open        int64 // connections
	Negotiating int64 // of them, not bound yet
	Sessions    int64 // of them, bound
	Suspended   int64 // sessions that wait for their client (XEP-0198)
	Queued      int64 // bytes waiting to be written to sessions

	Connections  uint64 // accepted
	Logins       uint64 // sessions bound
	FailedLogins uint64
	Received     uint64 // stanzas from clients
	Sent         uint64 // stanzas to clients
	Held         uint64 // stanzas held back while nobody looked (XEP-0352)

	Resumed      uint64 // suspended sessions, or those of another connection, resumed
	ResumeFailed uint64 // refused resumptions
	Expired      uint64 // suspended sessions that ended without

	// Limits hit, each answered with its error.
	PerAddress   uint64 // connections over the number from one address
	TooLarge     uint64 // policy-violation: size, depth, bytes before login, failed logins
	TooSlow      uint64 // clients that did not read
	Timeouts     uint64 // negotiation not finished, pings not answered
	Throttled    uint64 // pauses of clients that sent too fast
	Guarded      uint64 // logins that were not tried because of those that failed before
	StreamErrors uint64 // all errors sent
}

// Add adds what another server counts.
func (s *Stats) Add(o Stats) {
	s.Open += o.Open
	s.Negotiating += o.Negotiating
	s.Sessions += o.Sessions
	s.Suspended += o.Suspended
	s.Queued += o.Queued
	s.Connections += o.Connections
	s.Logins += o.Logins
	s.FailedLogins += o.FailedLogins
	s.Received += o.Received
	s.Sent += o.Sent
	s.Held += o.Held
	s.Resumed += o.Resumed
	s.ResumeFailed += o.ResumeFailed
	s.Expired += o.Expired
	s.PerAddress += o.PerAddress
	s.TooLarge += o.TooLarge
	s.TooSlow += o.TooSlow
	s.Timeouts += o.Timeouts
	s.Throttled += o.Throttled
	s.Guarded += o.Guarded
	s.StreamErrors += o.StreamErrors
}

type counters struct {
	open, negotiating, sessions, suspended                  atomic.Int64
	resumed, resumeFailed, expired                          atomic.Uint64
	connections, logins, failedLogins, received, sent, held atomic.Uint64
	perAddress, tooLarge, tooSlow, timeouts, streamErrors   atomic.Uint64
	throttled, guarded                                      atomic.Uint64
}

// ended counts how a connection came to its end.
func (c *counters) ended(err error) {
	var own *stream.Error
	if !errors.As(err, &own) {
		return
	}
	c.streamErrors.Add(1)
	if own == stream.TooManyOfAddress {
		c.perAddress.Add(1)
		return
	}
	switch own.Condition {
	case stream.PolicyViolation:
		c.tooLarge.Add(1)
	case stream.ResourceConstraint:
		c.tooSlow.Add(1)
	case stream.ConnectionTimeout:
		c.timeouts.Add(1)
	}
}

// Stats returns the counts.
func (v *Server) Stats() Stats {
	c := &v.stats
	st := Stats{
		Open: c.open.Load(), Negotiating: c.negotiating.Load(), Sessions: c.sessions.Load(), Suspended: c.suspended.Load(),
		Connections: c.connections.Load(), Logins: c.logins.Load(), FailedLogins: c.failedLogins.Load(),
		Received: c.received.Load(), Sent: c.sent.Load(), Held: c.held.Load(),
		Resumed: c.resumed.Load(), ResumeFailed: c.resumeFailed.Load(), Expired: c.expired.Load(),
		PerAddress: c.perAddress.Load(), TooLarge: c.tooLarge.Load(), TooSlow: c.tooSlow.Load(),
		Throttled: c.throttled.Load(), Guarded: c.guarded.Load(), Timeouts: c.timeouts.Load(), StreamErrors: c.streamErrors.Load(),
	}
	for _, s := range v.o.Router.All() {
		if own, ok := s.(*session); ok && own.server == v {
			st.Queued += int64(own.out().Queued())
		}
	}
	return st
}
