package broker

import "time"

// Member is a live process that works on the same store.
type Member struct {
	// Node names this run of the process: letters A to Z and digits.
	Node string

	// Name stays the same over restarts where the process keeps it.
	Name string

	// Stages are those that it consumes, in order.
	Stages []Stage

	// Started is when it was opened, by its own clock.
	Started time.Time
}

// Node names this process in leases, registries and subjects. It is another
// one after each start, and made of letters A to Z and digits.
func (b *Broker) Node() string { return b.node }
