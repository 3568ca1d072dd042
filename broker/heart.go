package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// heartbeat is the value of `node.<name>`. Nobody looks at the time of day in it.
type heartbeat struct {
	Node    string    `json:"node"`
	Stages  []Stage   `json:"stages"`
	Leaving []Stage   `json:"leaving,omitempty"`
	Started time.Time `json:"started"`
}

const nodePrefix = "node."

// errSuperseded means that another process goes by our name: the folder with it
// was copied.
var errSuperseded = errors.New("another process has the name of this node")

// heart writes our heartbeats. It belongs to one goroutine at a time.
type heart struct {
	b       *Broker
	joined  bool // the first was written
	failing bool // the last was not
	resting bool // for so long that the lease has run out
}

// beats writes a heartbeat every now and then, and when kicked, until ctx ends.
func (h *heart) beats(ctx context.Context) {
	t := time.NewTimer(h.b.o.lease.beat)
	defer t.Stop()
	for {
		again := h.b.leases.reconnected()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-h.b.kick:
		case <-again:
		}
		next := h.b.o.lease.beat
		err := h.write(ctx)
		if ctx.Err() != nil {
			return
		}
		if h.tell(err); err != nil {
			next /= 6
		}
		t.Reset(next)
	}
}

// tell logs how the heartbeats go when that changes.
func (h *heart) tell(err error) {
	if err == nil {
		if h.failing {
			h.b.log.Info().Msg("heartbeats are written again")
		}
		h.failing, h.resting = false, false
		return
	}
	if !h.failing {
		h.failing = true
		h.b.log.Warn().Err(err).Msg("heartbeat not written")
	}
	if !h.resting && !h.b.lease.valid() {
		h.resting = true
		h.b.forsake(err)
		h.b.log.Error().Err(errExpired).Msg("work on our slices rests")
	}
}

// write puts one heartbeat. The first takes the place of a former process of
// our name; later ones find nobody there, or we have to give way.
func (h *heart) write(ctx context.Context) error {
	ctx, cancel := h.b.leases.within(ctx, h.b.o.lease.patience())
	defer cancel()
	for try := 0; ; try++ {
		beat, name, last := h.b.members.own()
		var rev uint64
		var sent time.Time
		err := h.b.leases.insist(ctx, h.b.o.lease.patience(), func(ctx context.Context) (err error) {
			sent = time.Now()
			rev, err = h.put(ctx, name, beat, last)
			return err
		})
		if err == nil {
			h.joined = true
			h.b.members.written(rev)
			h.b.lease.renew(sent)
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) || try == 3 {
			return fmt.Errorf("heartbeat: %w", err)
		}
		switch rev, err := h.look(ctx, name); {
		case errors.Is(err, errSuperseded):
			h.b.supersede()
		case err != nil:
			return fmt.Errorf("heartbeat: %w", err)
		default:
			h.b.members.written(rev)
		}
	}
}

// put writes the key if its last revision is rev, zero for none. The server drops
// it when nothing follows for long.
func (h *heart) put(ctx context.Context, name string, beat heartbeat, rev uint64) (uint64, error) {
	data, err := json.Marshal(beat)
	if err != nil {
		return 0, err
	}
	rev, err = h.b.putLease(ctx, nodePrefix+name, data, rev, jetstream.WithMsgTTL(h.b.o.lease.ttl))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		// No bucket, or no server. The next heartbeat finds out.
		_, kerr := h.b.leaseKV(ctx)
		return 0, errors.Join(err, kerr)
	}
	return rev, err
}

// look finds what stands where our heartbeat was to go: the revision to put it after.
func (h *heart) look(ctx context.Context, name string) (uint64, error) {
	value, rev, err := h.b.lastLease(ctx, nodePrefix+name)
	if err != nil {
		return 0, err
	}
	var found heartbeat
	if err := json.Unmarshal(value, &found); h.joined && err == nil && found.Node != h.b.node {
		return 0, errSuperseded
	}
	return rev, nil // nobody's, or ours and its answer was lost, or our former self's
}

// supersede gives our name up to another process and takes a new one. What we
// own may be taken from us at once: nothing is done about it before the lease is
// renewed under the new name.
func (b *Broker) supersede() {
	b.lease.revoke()
	name := rand.Text()
	b.log.Error().Str("node", b.node).Str("name", name).Msg("another process goes by the name of this node: is its folder a copy? this one takes a new name")
	b.members.rename(name, time.Now())
}

// beatNow has a heartbeat written that tells what has changed.
func (b *Broker) beatNow() {
	select {
	case b.kick <- struct{}{}:
	default:
	}
}
