package broker

import (
	"maps"
	"slices"
	"time"
)

type sliceKey struct {
	stage Stage
	index int
}

// entry says who owns a slice; the revision is the epoch. Without a node the
// slice was given up in order.
type entry struct {
	Node string `json:"node"`
	Name string `json:"name"`
	Of   int    `json:"of"`
	rev  uint64
}

// guard is told when another process takes a slice that was ours at rev.
type guard struct {
	rev  uint64
	lose func()
}

// setSlices sets how many slices each stage has.
func (m *members) setSlices(of int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of != of {
		m.of = of
		clear(m.orphans)
		m.change(time.Now())
	}
}

// note takes who owns a slice. Those that we have written come twice.
func (m *members) note(k sliceKey, e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g, ok := m.guards[k]; ok && e.Node != m.self.Node && e.rev > g.rev {
		g.lose()
	}
	if old, ok := m.entries[k]; ok && old.rev >= e.rev {
		return
	}
	m.entries[k] = e
	m.change(time.Now())
}

// reread forgets how new the entries are: the bucket may be another one.
func (m *members) reread() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.entries {
		e.rev = 0
		m.entries[k] = e
	}
}

// guard calls lose when another process has taken the slice since rev, until
// stop is called.
func (m *members) guard(k sliceKey, rev uint64, lose func()) (stop func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.guards[k] = guard{rev, lose}
	if e := m.entries[k]; e.Node != m.self.Node && e.rev > rev {
		lose()
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.guards, k)
	}
}

// alive reports whether the owner of e lives and is at the stage. m.mu is held.
func (m *members) alive(stage Stage, e entry) bool {
	if e.Node == "" {
		return false
	}
	if e.Node == m.self.Node {
		_, ok := m.stages[stage]
		return ok
	}
	for _, p := range m.peers {
		if p.Node == e.Node {
			return slices.Contains(p.Stages, stage) || slices.Contains(p.leaving, stage)
		}
	}
	return false
}

// owned reports whether a live process beside this one has the slice of e.
func (m *members) owned(stage Stage, e entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.alone && e.Node != m.self.Node && m.alive(stage, e)
}

// layout is how many slices there were when this one was claimed; zero: unknown.
func (m *members) layout(k sliceKey) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[k].Of
}

// survey brings orphans up to date. m.mu is held.
func (m *members) survey(now time.Time) {
	for _, stage := range queues {
		known := m.stages[stage]
		for k := range m.entries {
			known = known || k.stage == stage
		}
		for i := range m.of {
			k := sliceKey{stage, i}
			e, ok := m.entries[k]
			switch {
			case !known || ok && e.Of == m.of && m.alive(stage, e):
				delete(m.orphans, k)
			case m.orphans[k].IsZero():
				m.orphans[k] = now
			}
		}
	}
}

// orphaned counts the slices of a stage that nobody has owned for long. A stage
// that nobody has ever consumed has none.
func (m *members) orphaned(stage Stage) (n, of int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, since := range m.orphans {
		if k.stage == stage && time.Since(since) >= m.times.orphan {
			n++
		}
	}
	return n, m.of
}

// plan is what a Consume has to do about its slices.
type plan struct {
	want   map[Slice]bool   // ours to be
	free   map[Slice]bool   // of these, those that nobody holds against us
	stale  map[Slice]uint64 // ours by the bucket since this revision, and not wanted
	firm   bool             // members have settled: what is not wanted can be given up
	of     int
	after  time.Duration // when it may change by itself; zero: it does not
	change <-chan struct{}
}

// plan says which slices of a stage are to be ours.
func (m *members) plan(stage Stage, now time.Time) plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := plan{want: make(map[Slice]bool), free: make(map[Slice]bool), stale: make(map[Slice]uint64), of: m.of, change: m.changed, firm: !now.Before(m.settled)}
	if !p.firm {
		p.after = m.settled.Sub(now)
	}
	for i, name := range wantedOwners(stage, m.of, m.consumers(stage)) {
		if s := (Slice{i, m.of}); m.stages[stage] && name == m.self.Name {
			p.want[s] = true
			p.free[s] = m.free(stage, s, p.firm)
		}
	}
	for k, e := range m.entries {
		if s := (Slice{k.index, e.Of}); k.stage == stage && e.Node == m.self.Node && !p.want[s] {
			p.stale[s] = e.rev
		}
	}
	return p
}

// consumers are the names of those that consume a stage. m.mu is held.
func (m *members) consumers(stage Stage) []string {
	var names []string
	if m.stages[stage] {
		names = append(names, m.self.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(m.peers)) {
		if slices.Contains(m.peers[name].Stages, stage) {
			names = append(names, name)
		}
	}
	return names
}

// free reports whether we may take s now. What was given up in order, and what
// our former self had, is taken at once; else the members must have settled.
// m.mu is held.
func (m *members) free(stage Stage, s Slice, firm bool) bool {
	if m.alone {
		return true
	}
	for k, e := range m.entries {
		o := Slice{k.index, e.Of}
		if k.stage == stage && o != s && e.Node != m.self.Node && o.overlaps(s) && m.alive(stage, e) {
			return false // of an older layout, and not given up yet
		}
	}
	e, ok := m.entries[sliceKey{stage, s.Index}]
	switch {
	case !ok:
		return firm
	case e.Node == "", e.Node == m.self.Node:
		return true
	case m.alive(stage, e):
		return false
	}
	return firm || e.Name == m.self.Name
}
