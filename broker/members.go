package broker

import (
	"maps"
	"slices"
	"sync"
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
func (b *Broker) Members() ([]Member, <-chan struct{}) { return b.members.list() }

// evictAfter is how many heartbeats of our own must have come back to us since
// the last one of another before that one counts as dead. While the store takes
// none, or our own ears are shut, nobody is.
const evictAfter = 3

// members is what this process knows of those that share the store, and of who
// works on which slice. The watch of the bucket feeds it (watch.go). With the
// embedded server it knows nobody but itself.
type members struct {
	alone bool
	times leaseTimes

	mu      sync.Mutex
	self    Member           // Name may change
	stages  map[Stage]bool   // consumed by this process; false: it is giving up its slices
	rev     uint64           // of our last heartbeat
	echoes  uint64           // heartbeats of ours that came back
	peers   map[string]*peer // by name, without ourselves
	of      int              // slices of each stage
	entries map[sliceKey]entry
	orphans map[sliceKey]time.Time // slices without a live owner, since when
	guards  map[sliceKey]guard
	stirred time.Time     // when the members began to change
	settled time.Time     // when they may be acted on
	changed chan struct{} // closed at the next change
}

// peer is another process. It is judged by when we heard of it, whatever its
// clock and the server's say.
type peer struct {
	Member
	leaving []Stage // whose slices it has still to give up
	rev     uint64  // of its last heartbeat
	heard   time.Time
	echoes  uint64 // of ours then
}

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

func newMembers(node string, alone bool, t leaseTimes) *members {
	now := time.Now()
	m := &members{
		alone: alone, times: t,
		self:   Member{Node: node, Name: node, Started: now},
		stages: make(map[Stage]bool), peers: make(map[string]*peer),
		entries: make(map[sliceKey]entry), orphans: make(map[sliceKey]time.Time), guards: make(map[sliceKey]guard),
		changed: make(chan struct{}),
	}
	if !alone {
		m.unsettle(now)
	}
	return m
}

func (m *members) list() ([]Member, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	self := m.self
	self.Stages = m.consumed(true)
	all := []Member{self}
	for _, p := range m.peers {
		all = append(all, p.Member)
	}
	slices.SortFunc(all, func(a, b Member) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all, m.changed
}

// consumed lists our stages: those that we consume, or those that we are leaving.
func (m *members) consumed(staying bool) []Stage {
	var stages []Stage
	for s, stays := range m.stages {
		if stays == staying {
			stages = append(stages, s)
		}
	}
	slices.Sort(stages)
	return stages
}

// change tells those that wait for one, and looks which slices nobody owns.
func (m *members) change(now time.Time) {
	m.survey(now)
	close(m.changed)
	m.changed = make(chan struct{})
}

// unsettle puts off what follows from the members until they stay the same,
// but not for ever.
func (m *members) unsettle(now time.Time) {
	if now.After(m.settled) {
		m.stirred = now
	}
	next := now.Add(m.times.settle)
	if last := m.stirred.Add(5 * m.times.settle); next.After(last) {
		next = last
	}
	if next.After(m.settled) {
		m.settled = next
	}
}

// complete is called when the bucket was read for the first time. An owner that
// is not in it may live nevertheless: a server whose clock jumped has dropped
// its heartbeat, and the next one brings it back.
func (m *members) complete(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, e := range m.entries {
		if e.Node != "" && e.Name != m.self.Name && !m.alive(k.stage, e) {
			m.settled = now.Add(m.times.beat * 3 / 2)
		}
	}
	m.change(now)
}

// enter says that this process consumes stage; false: it does already.
func (m *members) enter(stage Stage) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.stages[stage]; ok {
		return false
	}
	m.stages[stage] = true
	m.change(time.Now())
	return true
}

// leave says that it only has its slices of stage to give up.
func (m *members) leave(stage Stage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stages[stage] = false
	m.change(time.Now())
}

// forget says that it has nothing to do with stage any more.
func (m *members) forget(stage Stage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.stages, stage)
	m.change(time.Now())
}

// consumes reports whether this process consumes stage.
func (m *members) consumes(stage Stage) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stages[stage]
}

// hear notes a heartbeat of another process.
func (m *members) hear(p peer, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.peers[p.Name]
	if old != nil && old.rev == p.rev {
		return // read again, not written again
	}
	p.heard, p.echoes = now, m.echoes
	m.peers[p.Name] = &p
	switch {
	case old == nil, old.Node != p.Node, !slices.Equal(old.Stages, p.Stages):
		m.unsettle(now)
		m.change(now)
	case !slices.Equal(old.leaving, p.leaving):
		m.change(now)
	}
}

// left notes that a process has ended in order.
func (m *members) left(name string, rev uint64, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[name]; p != nil && rev > p.rev {
		delete(m.peers, name)
		m.unsettle(now)
		m.change(now)
	}
}

// echo notes that a heartbeat of ours has come back.
func (m *members) echo() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.echoes++
}

// evict forgets those that are dead.
func (m *members) evict(now time.Time) (dead []Member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, p := range m.peers {
		if now.Sub(p.heard) >= m.times.ttl && m.echoes-p.echoes >= evictAfter {
			delete(m.peers, name)
			dead = append(dead, p.Member)
		}
	}
	if len(dead) > 0 {
		m.unsettle(now)
		m.change(now)
	}
	return dead
}

// rename gives this process another name, under which it is not known yet.
func (m *members) rename(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.Name, m.rev = name, 0
	m.change(time.Now())
}

// written notes the revision of our own heartbeat.
func (m *members) written(rev uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rev = rev
}

// own returns ourselves as a heartbeat tells it, and the revision of the last one.
func (m *members) own() (heartbeat, string, uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return heartbeat{
		Node: m.self.Node, Started: m.self.Started, Stages: m.consumed(true), Leaving: m.consumed(false),
	}, m.self.Name, m.rev
}

func (m *members) name() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self.Name
}

// others counts the processes that are known beside this one.
func (m *members) others() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.peers)
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
	names := m.consumers(stage)
	for i := range m.of {
		s := Slice{i, m.of}
		if m.stages[stage] && wantedOwner(stage, i, names) == m.self.Name {
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
