package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Keys of a Census beside the stages.
const (
	Bodies  Stage = "body"  // bodies stored by reference, in pieces of 1 MiB and marks
	Journal Stage = "trace" // messages of one or more records
)

// Count is what the store has in one stage.
type Count struct {
	Messages, Bytes uint64
	Oldest          time.Time // when the first was stored; zero: none

	// Lost is how many messages the server has found missing or damaged since it
	// was started, and LostBytes their size; where it only knows the size, Lost is
	// zero. It looks when it starts and when it reads. What it cuts off at the end
	// of a file without a word counts too, with the embedded server: see
	// waterline.go.
	Lost, LostBytes uint64
}

// maxGaps is how many removed positions the server is asked to list, which it
// does with the lost ones: ten megabytes.
const maxGaps = 1_000_000

// Census counts what the store has in each stage, and what it has lost of it:
// meant for the start, to say what is in custody. Of a stage with more than a
// million removed messages between those that are there the losses are not
// known, and zero.
func (b *Broker) Census(ctx context.Context) (map[Stage]Count, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: census: %w", err)
	}
	defer b.calls.Done()
	streams := map[Stage]string{Bodies: streamBody, Journal: streamTrace, Dead: streamDead}
	for _, s := range queues {
		streams[s] = streamOf(s)
	}
	all := make(map[Stage]Count, len(streams))
	for stage, name := range streams {
		c, err := b.count(ctx, name)
		c.Lost = max(c.Lost, b.lost[stage])
		if err != nil {
			return nil, fmt.Errorf("broker: census: stage %s: %w", stage, requestRefusal(err))
		}
		all[stage] = c
	}
	return all, nil
}

func (b *Broker) count(ctx context.Context, name string) (c Count, err error) {
	s, err := b.admin.js.Stream(ctx, name)
	if err != nil {
		return c, err
	}
	state := s.CachedInfo().State
	if state.NumDeleted <= maxGaps {
		info, err := s.Info(ctx, jetstream.WithDeletedDetails(true)) // the short answer leaves the lost ones out
		if err != nil {
			return c, err
		}
		state = info.State
	}
	c.Messages, c.Bytes = state.Msgs, state.Bytes
	if state.Msgs > 0 {
		c.Oldest = state.FirstTime
	}
	if state.Lost != nil {
		c.Lost, c.LostBytes = uint64(len(state.Lost.Msgs)), state.Lost.Bytes
	}
	return c, nil
}
