package broker

import (
	"context"
	"fmt"
	"time"
)

// Mark is a place between two records of the journal. The zero Mark is before the
// first of all.
type Mark struct {
	Seq  uint64 `json:"seq"`            // of the entry with the next record
	Part int    `json:"part,omitempty"` // how many records of that entry are before it
}

// Before says whether m is nearer to the beginning than o.
func (m Mark) Before(o Mark) bool {
	return m.Seq < o.Seq || m.Seq == o.Seq && m.Part < o.Part
}

// RecordsFrom returns the records behind a mark, in the order in which they were
// stored, at most limit of them but for the rest of an entry, and none at the end of
// the journal. Next of each is where to go on behind it. One that another has taken
// the place of meanwhile is left out; one that does later is among them. On a cluster
// the newest may be missing for a moment, but never one before others.
func (b *Broker) RecordsFrom(ctx context.Context, from Mark, limit int) ([]Record, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: records: %w", err)
	}
	defer b.calls.Done()
	var found []Record
	for q := (query{stream: streamTrace, from: max(from.Seq, 1)}); len(found) < limit; {
		q.limit = min(limit-len(found), readMessages)
		msgs, left, err := b.read(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("broker: records: %w", err)
		}
		for _, m := range msgs {
			found = append(found, recordsOf(m, from)...)
		}
		if left == 0 {
			break
		}
		q.from = msgs[len(msgs)-1].seq + 1
	}
	return found, nil
}

// recordsOf are the records of one entry that are not before from.
func recordsOf(m storedMsg, from Mark) []Record {
	var all []Record
	for r := range expand(m) {
		r.Next = Mark{m.seq, len(all) + 1}
		all = append(all, r)
	}
	if n := len(all); n > 0 {
		all[n-1].Next = Mark{Seq: m.seq + 1}
	}
	if m.seq != from.Seq {
		return all
	}
	return all[min(from.Part, len(all)):]
}

// JournalEnds returns the marks before the first record that the journal has and
// behind the last. They are the same when it is empty.
func (b *Broker) JournalEnds(ctx context.Context) (first, last Mark, err error) {
	if err := b.begin(); err != nil {
		return first, last, fmt.Errorf("broker: journal: %w", err)
	}
	defer b.calls.Done()
	ctx, cancel := context.WithTimeout(ctx, b.o.StoreTimeout)
	defer cancel()
	s, err := b.admin.js.Stream(ctx, streamTrace)
	if err != nil {
		return first, last, fmt.Errorf("broker: journal: %w", requestRefusal(err))
	}
	state := s.CachedInfo().State
	return Mark{Seq: max(state.FirstSeq, 1)}, Mark{Seq: state.LastSeq + 1}, nil
}

// JournalAt returns the mark before the first record that was stored at a time or
// later: the end when there is none.
func (b *Broker) JournalAt(ctx context.Context, at time.Time) (Mark, error) {
	// What is stored while this looks is later than at, or behind the end.
	_, last, err := b.JournalEnds(ctx)
	if err != nil {
		return Mark{}, err
	}
	if err := b.begin(); err != nil {
		return Mark{}, fmt.Errorf("broker: journal: %w", err)
	}
	defer b.calls.Done()
	msgs, _, err := b.read(ctx, query{stream: streamTrace, since: at, limit: 1})
	switch {
	case err != nil:
		return Mark{}, fmt.Errorf("broker: journal: %w", err)
	case len(msgs) == 0:
		return last, nil
	}
	return Mark{Seq: msgs[0].seq}, nil
}
