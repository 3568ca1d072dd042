package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/broker"
)

const (
	positionBucket = "position"
	positionBytes  = 16 << 20
)

// Position is how far a receiver of events has got, and how it fares.
type Position struct {
	Name string      `json:"name"`
	Next broker.Mark `json:"next"` // what is before it is done with
	Node string      `json:"node"` // the process that has written this

	// Target tells one place that events go to from another, without naming it: what
	// was given up is tried again when it changes.
	Target string `json:"target,omitempty"`

	Attempts int       `json:"attempts,omitempty"` // failed in a row
	First    time.Time `json:"first,omitzero"`     // of these, when the first was
	Retry    time.Time `json:"retry,omitzero"`     // when the next is due
	GivenUp  string    `json:"given_up,omitempty"` // why nothing is sent any more; empty: it is

	Tried  time.Time `json:"tried,omitzero"`   // the last attempt
	Took   time.Time `json:"took,omitzero"`    // the last that the receiver has taken
	Answer string    `json:"answer,omitempty"` // to the last attempt

	Replay *Replay `json:"replay,omitempty"` // nil: nothing is sent anew

	// Events, since the receiver is known: taken, not taken by an attempt, passed over
	// for their age; and entries of the journal that were gone before they were read.
	Sent   uint64 `json:"sent"`
	Failed uint64 `json:"failed"`
	Passed uint64 `json:"passed"`
	Missed uint64 `json:"missed"`
}

// Replay is a part of the journal that is sent once more.
type Replay struct {
	Next  broker.Mark `json:"next"`
	End   broker.Mark `json:"end"`
	Asked time.Time   `json:"asked"` // when an operator wanted it
}

// ErrOtherNode means that another process has written a Position meanwhile.
var ErrOtherNode = errors.New("another process has written it")

// Positions keeps those of all receivers. Its methods may be called from any goroutine.
type Positions struct{ kv jetstream.KeyValue }

// OpenPositions opens the bucket, making it if need be.
func OpenPositions(ctx context.Context, b Buckets) (*Positions, error) {
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: positionBucket, Description: "how far receivers of events have got", Storage: jetstream.FileStorage, History: 1, MaxBytes: positionBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("positions: open bucket: %w", err)
	}
	return &Positions{kv}, nil
}

// Load returns the position of a receiver and its revision, zero where there is none.
// One that cannot be read is none, and is written over.
func (p *Positions) Load(ctx context.Context, name string) (pos Position, rev uint64, err error) {
	e, err := p.kv.Get(ctx, bucketKey(name))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return Position{Name: name}, 0, nil
	case err != nil:
		return Position{}, 0, fmt.Errorf("position of %s: %w", name, err)
	}
	if err := json.Unmarshal(e.Value(), &pos); err != nil || pos.Name != name {
		pos = Position{Name: name}
	}
	return pos, e.Revision(), nil
}

// Save writes a position in place of the revision rev, zero for none, and returns the
// new one. ErrOtherNode: somebody else has written one; what a lost answer has left of
// our own is written over.
func (p *Positions) Save(ctx context.Context, pos Position, rev uint64) (uint64, error) {
	data, err := json.Marshal(pos)
	if err != nil {
		return 0, fmt.Errorf("position of %s: %w", pos.Name, err)
	}
	now, err := p.kv.Update(ctx, bucketKey(pos.Name), data, rev)
	if lostRace(err) {
		now, err = p.saveAnew(ctx, pos, data)
	}
	if err != nil {
		return 0, fmt.Errorf("position of %s: %w", pos.Name, err)
	}
	return now, nil
}

func (p *Positions) saveAnew(ctx context.Context, pos Position, data []byte) (uint64, error) {
	there, rev, err := p.Load(ctx, pos.Name)
	switch {
	case err != nil:
		return 0, err
	case rev != 0 && there.Node != pos.Node:
		return 0, ErrOtherNode
	}
	return p.kv.Update(ctx, bucketKey(pos.Name), data, rev)
}
