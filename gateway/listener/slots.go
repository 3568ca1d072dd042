package listener

import (
	"context"
	"sync/atomic"
)

// Slots is a threadpool of the configuration: it bounds how many connections
// negotiate at once. Listeners that name the same pool share one Slots. Take a
// slot after Accept, not before: a listener without visitors would sit on one
// that another needs.
type Slots struct {
	free chan struct{} // nil: unbounded
	used atomic.Int64
	full atomic.Uint64
}

// SlotStats describe a pool.
type SlotStats struct {
	Size   int    // 0: unbounded
	Used   int64  // taken now
	Waited uint64 // Acquires that found no slot free
}

// NewSlots makes a pool of n slots (concurrency = n); 0 or less is unbounded.
func NewSlots(n int) *Slots {
	s := new(Slots)
	if n > 0 {
		s.free = make(chan struct{}, n)
	}
	return s
}

// Acquire waits for a free slot, or for the end of ctx, whose error it returns.
// Whoever got nil calls Release once.
func (s *Slots) Acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.free != nil {
		select {
		case s.free <- struct{}{}:
		default:
			s.full.Add(1)
			select {
			case s.free <- struct{}{}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	s.used.Add(1)
	return nil
}

// Release gives a slot back.
func (s *Slots) Release() {
	if s.used.Add(-1) < 0 {
		panic("listener: slot released that was not acquired")
	}
	if s.free != nil {
		<-s.free
	}
}

// Stats returns the state of the pool.
func (s *Slots) Stats() SlotStats {
	return SlotStats{Size: cap(s.free), Used: s.used.Load(), Waited: s.full.Load()}
}
