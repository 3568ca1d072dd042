package broker

import (
	"slices"
	"time"
)

// Member is a live process that works on the same store.
type Member struct {
	// Node names this run of the process: letters A to Z and digits.
	Node string

	// Name stays the same over restarts where Options.NodeDir says so.
	Name string

	// Stages are those that it consumes, in order.
	Stages []Stage

	// Started is when it was opened, by its own clock.
	Started time.Time
}

// Node names this process in leases, registries and subjects. It is another
// one after each start, and made of letters A to Z and digits.
func (b *Broker) Node() string { return b.node }

// Members returns the live processes as this one knows them, itself included,
// and a channel that is closed at the next change.
func (b *Broker) Members() ([]Member, <-chan struct{}) {
	b.self.Lock()
	defer b.self.Unlock()
	m := Member{Node: b.node, Name: b.node, Started: b.opened}
	for s, n := range b.self.stages {
		if n > 0 {
			m.Stages = append(m.Stages, s)
		}
	}
	slices.Sort(m.Stages)
	return []Member{m}, b.self.changed
}

// announce says that this process consumes stage, until withdraw is called.
func (b *Broker) announce(stage Stage) (withdraw func()) {
	add := func(n int) {
		b.self.Lock()
		defer b.self.Unlock()
		b.self.stages[stage] += n
		close(b.self.changed)
		b.self.changed = make(chan struct{})
	}
	add(1)
	return func() { add(-1) }
}
