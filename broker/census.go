package broker

import (
	"context"
	"fmt"
	"time"
)

// Count is what a stage holds.
type Count struct {
	Messages, Bytes uint64
	Oldest          time.Time // when the first message was stored; zero: there is none
	// Lost are messages that were here when the store was last open and that the
	// server could not read back. Of an external cluster it is not known.
	Lost uint64
}

// Census counts what is in custody, by stage, asking the server.
func (b *Broker) Census(ctx context.Context) (map[Stage]Count, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: census: %w", err)
	}
	defer b.calls.Done()
	all := make(map[Stage]Count)
	for s := range b.counts {
		c, err := b.count(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("broker: census of %s: %w", s, err)
		}
		all[s] = c
	}
	return all, nil
}

func (b *Broker) count(ctx context.Context, s Stage) (c Count, err error) {
	info, err := b.admin.js.Stream(ctx, streamOf(s))
	if err != nil {
		return c, requestRefusal(err)
	}
	state := info.CachedInfo().State
	c.Messages, c.Bytes = state.Msgs, state.Bytes
	if state.Msgs > 0 {
		c.Oldest = state.FirstTime
	}
	c.Lost = b.lost[s]
	if state.Lost != nil { // found in the middle of a file
		c.Lost = max(c.Lost, uint64(len(state.Lost.Msgs)))
	}
	return c, nil
}
