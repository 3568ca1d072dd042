package broker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// counters of one stage. They start at zero with the process.
type counters struct {
	stored, duplicates      atomic.Uint64
	handled, acked, retried atomic.Uint64
	moved, dead             atomic.Uint64
	lag                     atomic.Uint64
	stalled                 atomic.Bool
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
	Lag        uint64 // waiting or worked on, as the server counts them
	Messages   uint64 // in the stream; after a crash it may hold some that are settled
	Bytes      uint64
	MaxBytes   uint64
	Oldest     time.Time // when the first message of the stream was stored; zero: none
}

// Stats are the numbers of the broker.
type Stats struct {
	Stages    map[Stage]StageStats
	Bodies    uint64 // bytes of bodies stored by reference
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
		st.Stages[s] = StageStats{
			Stored: c.stored.Load(), Duplicates: c.duplicates.Load(),
			Handled: c.handled.Load(), Acked: c.acked.Load(), Retried: c.retried.Load(),
			Moved: c.moved.Load(), Dead: c.dead.Load(), Lag: c.lag.Load(),
		}
	}
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
