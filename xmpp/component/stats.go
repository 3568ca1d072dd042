package component

import (
	"errors"
	"sync/atomic"

	"mcmt2xmpp/xmpp/stream"
)

// Stats are counts since New; the first two are of now.
type Stats struct {
	Open       int64 // connections
	Components int64 // of them, joined

	Joined       uint64
	Refused      uint64 // wrong secret, unknown domain, or there already
	Received     uint64 // stanzas from components
	Sent         uint64 // stanzas to components
	Throttled    uint64 // pauses of components that sent too fast
	StreamErrors uint64 // all errors sent
}

type counters struct {
	open, components                                         atomic.Int64
	joined, refused, received, sent, throttled, streamErrors atomic.Uint64
}

// ended counts how a connection came to its end.
func (c *counters) ended(err error) {
	var own *stream.Error
	if !errors.As(err, &own) {
		return
	}
	c.streamErrors.Add(1)
	switch own.Condition {
	case stream.NotAuthorized, stream.HostUnknown, stream.Conflict:
		c.refused.Add(1)
	}
}

// Stats returns the counts.
func (v *Server) Stats() Stats {
	c := &v.stats
	return Stats{
		Open: c.open.Load(), Components: c.components.Load(), Joined: c.joined.Load(), Refused: c.refused.Load(),
		Received: c.received.Load(), Sent: c.sent.Load(), Throttled: c.throttled.Load(), StreamErrors: c.streamErrors.Load(),
	}
}
