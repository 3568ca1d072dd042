package broker

import (
	"slices"
	"strings"
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
	changed chan struct{} // closed when a plan may have changed
	news    chan struct{} // closed when a member has
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

func newMembers(node, name string, alone bool, t leaseTimes) *members {
	now := time.Now()
	m := &members{
		alone: alone, times: t,
		self:   Member{Node: node, Name: name, Started: now},
		stages: make(map[Stage]bool), peers: make(map[string]*peer),
		entries: make(map[sliceKey]entry), orphans: make(map[sliceKey]time.Time), guards: make(map[sliceKey]guard),
		changed: make(chan struct{}), news: make(chan struct{}),
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
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return all, m.news
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

// change tells those with a plan, and looks which slices nobody owns.
func (m *members) change(now time.Time) {
	m.survey(now)
	close(m.changed)
	m.changed = make(chan struct{})
}

// tell is change when it is a member that has changed.
func (m *members) tell(now time.Time) {
	m.change(now)
	close(m.news)
	m.news = make(chan struct{})
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
		if k.index < m.of && e.Node != "" && e.Name != m.self.Name && !m.alive(k.stage, e) {
			m.doubt(now)
		}
	}
	m.change(now)
}

// doubt puts off what follows from the members until each has told of itself.
func (m *members) doubt(now time.Time) {
	if next := now.Add(m.times.beat * 3 / 2); next.After(m.settled) {
		m.settled = next
	}
}

// enter says that this process consumes stage; false: it does already.
func (m *members) enter(stage Stage) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.stages[stage]; ok {
		return false
	}
	m.stages[stage] = true
	m.tell(time.Now())
	return true
}

// leave says that it only has its slices of stage to give up.
func (m *members) leave(stage Stage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stages[stage] = false
	m.tell(time.Now())
}

// forget says that it has nothing to do with stage any more.
func (m *members) forget(stage Stage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.stages, stage)
	m.tell(time.Now())
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
		m.tell(now)
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
		m.tell(now)
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
		m.tell(now)
	}
	return dead
}

// rename gives this process another name, under which it is not known yet. Who
// has the old one is not known either.
func (m *members) rename(name string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.self.Name, m.rev = name, 0
	m.doubt(now)
	m.tell(now)
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
