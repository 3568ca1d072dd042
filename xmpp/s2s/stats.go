package s2s

import (
	"errors"
	"sync/atomic"
	"time"

	"mcmt2xmpp/xmpp/stream"
)

// Steps are all steps, in their order.
var Steps = []Step{StepPolicy, StepDNS, StepTCP, StepTLS, StepCertificate, StepStream, StepSASL, StepDialback, StepUse}

// Stats are counts since New; Open and Waiting are of now.
type Stats struct {
	Open    map[string]int // streams by direction, "in", "out", "both", and "unproven"
	Waiting int            // domains that are not tried before a pause is over

	Connections uint64 // that came in
	Proven      uint64 // pairs of domains that came in
	Sent        uint64 // stanzas
	Received    uint64
	Failures    map[Step]uint64 // to open a stream

	// Limits hit, and attacks.
	Refused      uint64 // claims that our policy refuses
	InvalidKeys  uint64 // keys that others ask about, and are not ours
	Spoofed      uint64 // claims whose key the domain does not know
	Unasked      uint64 // answers of dialback that nobody asked for
	Unauthorised uint64 // stanzas of a pair that is not proven
	Overflows    uint64 // stanzas refused because too many wait
	PerAddress   uint64 // connections over the number from one address
	Throttled    uint64 // pauses of peers that sent too fast
	StreamErrors uint64 // all errors sent
}

type counters struct {
	connections, proven, sent, received, refused, invalidKeys, spoofed, unasked atomic.Uint64
	unauthorised, overflows, perAddress, throttled, streamErrors                atomic.Uint64

	failures [9]atomic.Uint64 // in the order of Steps
}

func (c *counters) failed(s Step) {
	for i, other := range Steps {
		if s == other {
			c.failures[i].Add(1)
		}
	}
}

func (c *counters) throttle(time.Duration) { c.throttled.Add(1) }

// ended counts how a stream came to its end.
func (c *counters) ended(err error) {
	var own *stream.Error
	if !errors.As(err, &own) {
		return
	}
	c.streamErrors.Add(1)
	if own == stream.TooManyOfAddress {
		c.perAddress.Add(1)
	}
}

// Stats returns the counts.
func (v *Server) Stats() Stats {
	c := &v.stats
	st := Stats{
		Open: map[string]int{"in": 0, "out": 0, "both": 0, "unproven": 0}, Failures: make(map[Step]uint64),
		Connections: c.connections.Load(), Proven: c.proven.Load(), Sent: c.sent.Load(), Received: c.received.Load(),
		Refused: c.refused.Load(), InvalidKeys: c.invalidKeys.Load(), Spoofed: c.spoofed.Load(), Unasked: c.unasked.Load(),
		Unauthorised: c.unauthorised.Load(), Overflows: c.overflows.Load(), PerAddress: c.perAddress.Load(),
		Throttled: c.throttled.Load(), StreamErrors: c.streamErrors.Load(),
	}
	for i, s := range Steps {
		st.Failures[s] = c.failures[i].Load()
	}
	for _, s := range v.States() {
		switch s.State {
		case "open":
			st.Open[s.Direction]++
		case "unproven":
			st.Open[s.State]++
		case "waiting":
			st.Waiting++
		}
	}
	return st
}
