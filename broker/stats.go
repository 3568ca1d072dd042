package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// counters of one stage. They start at zero with the process.
type counters struct {
	stored, duplicates      atomic.Uint64
	handled, acked, retried atomic.Uint64
	moved, dead             atomic.Uint64
	lag                     atomic.Uint64
	stalled                 atomic.Int64 // slices that nobody pulls

	owned                        atomic.Int64 // slices
	takeovers, handovers, losses atomic.Uint64
}

// StageStats are the numbers of one stage. Counts are of this process.
type StageStats struct {
	Stored     uint64 // put into the stage
	Duplicates uint64 // not put: the ID was there
	Handled    uint64 // given to a handler, repetitions included
	Acked      uint64 // settled, whatever way
	Retried    uint64 // handlers' wishes to be given a message again
	Moved      uint64 // settled by Move
	Dead       uint64 // settled by Term
	Lag        uint64 // waiting or worked on in the slices that this process owns, as the server counts them
	Messages   uint64 // in the stream; after a crash it may hold some that are settled
	Bytes      uint64
	MaxBytes   uint64
	Oldest     time.Time // when the first message of the stream was stored; zero: none
	Led        bool      // the stream answers, and has a leader where it is replicated
	Behind     int       // of its replicas, those that are away or have not all of it

	Slices    int    // of the stage, as all processes see it
	Owned     int    // of these, those that this process owns
	Orphaned  int    // those without a live owner for 15 s; none where the stage was never consumed
	Takeovers uint64 // slices taken over
	Handovers uint64 // slices given up in order
	Losses    uint64 // slices that another process has taken from us
}

// JournalStats are the numbers of the journal. Counts are of this process.
type JournalStats struct {
	Written uint64 // records stored
	Refused uint64 // records that could never be stored
	Entries uint64 // messages in the journal, each of one or more records
	Bytes   uint64
	Oldest  time.Time // when the first of them was stored; zero: none
}

// Stats are the numbers of the broker.
type Stats struct {
	Stages    map[Stage]StageStats
	Bodies    uint64 // bytes of bodies stored by reference
	Journal   JournalStats
	Embedded  bool
	Memory    uint64 // of the embedded server's store, bytes
	Storage   uint64
	DiskFree  int64 // of the data folder
	Consumers int
}

// statsTimeout bounds Stats: a scrape must not hang because the store does.
const statsTimeout = time.Second

// Stats asks the server for its numbers. What it does not answer within a
// second stays zero.
func (b *Broker) Stats() Stats {
	st := Stats{Stages: make(map[Stage]StageStats), Embedded: b.srv != nil, DiskFree: b.free.Load()}
	for s, c := range b.counts {
		orphaned, of := b.members.orphaned(s)
		if s == Park || s == Dead {
			of = 0 // nobody consumes them
		}
		st.Stages[s] = StageStats{
			Stored: c.stored.Load(), Duplicates: c.duplicates.Load(),
			Handled: c.handled.Load(), Acked: c.acked.Load(), Retried: c.retried.Load(),
			Moved: c.moved.Load(), Dead: c.dead.Load(), Lag: c.lag.Load(),
			Slices: of, Owned: int(c.owned.Load()), Orphaned: orphaned,
			Takeovers: c.takeovers.Load(), Handovers: c.handovers.Load(), Losses: c.losses.Load(),
		}
	}
	st.Journal.Written, st.Journal.Refused = b.journal.written.Load(), b.journal.refused.Load()
	if b.begin() != nil {
		return st
	}
	defer b.calls.Done()
	ctx, cancel := context.WithTimeout(b.done, statsTimeout)
	defer cancel()
	for s, v := range st.Stages {
		info, err := b.admin.js.Stream(ctx, streamOf(s))
		if err != nil {
			continue
		}
		v.Led, v.Behind = replication(info.CachedInfo().Cluster)
		state := info.CachedInfo().State
		v.Messages, v.Bytes = state.Msgs, state.Bytes
		v.MaxBytes = uint64(info.CachedInfo().Config.MaxBytes) //nolint:gosec // ours, and positive
		if state.Msgs > 0 {
			v.Oldest = state.FirstTime
		}
		if s == Park || s == Dead {
			v.Lag = state.Msgs // no consumer counts them
		}
		st.Stages[s] = v
	}
	if info, err := b.admin.js.Stream(ctx, streamBody); err == nil {
		st.Bodies = info.CachedInfo().State.Bytes
	}
	if info, err := b.admin.js.Stream(ctx, streamTrace); err == nil {
		state := info.CachedInfo().State
		st.Journal.Entries, st.Journal.Bytes = state.Msgs, state.Bytes
		if state.Msgs > 0 {
			st.Journal.Oldest = state.FirstTime
		}
	}
	if b.srv == nil {
		return st
	}
	if s := b.srv.now(); s != nil {
		if js, err := s.Jsz(&server.JSzOptions{}); err == nil {
			st.Memory, st.Storage, st.Consumers = js.Memory, js.Store, js.Consumers
		}
	}
	return st
}

// replication says whether a stream has a leader, and how many of its replicas are behind.
// c is nil where there are no replicas.
func replication(c *jetstream.ClusterInfo) (led bool, behind int) {
	if c == nil {
		return true, 0
	}
	for _, r := range c.Replicas {
		if r.Offline || !r.Current {
			behind++
		}
	}
	return c.Leader != "", behind
}
