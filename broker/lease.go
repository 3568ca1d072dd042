package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// leaseBucket holds `node.<id>` and `slice.<stage>.<n>`. A key that its owner
// does not renew is gone after leaseTTL; the revision of a write is the epoch.
const (
	leaseBucket = "lease"
	leaseTTL    = 10 * time.Second
)

// slice is the only slice there is on a single node.
const slice = 0

// nextEpoch takes the slice of a stage over and returns the epoch of this
// ownership, greater than every one before.
func (b *Broker) nextEpoch(ctx context.Context, stage Stage) (uint64, error) {
	kv, err := b.leases(ctx)
	if err != nil {
		return 0, err
	}
	epoch, err := kv.PutString(ctx, sliceKey(stage), b.node)
	if err != nil {
		return 0, fmt.Errorf("lease: %w", err)
	}
	return epoch, nil
}

func (b *Broker) leases(ctx context.Context) (jetstream.KeyValue, error) {
	return b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: leaseBucket, TTL: leaseTTL, LimitMarkerTTL: leaseTTL, Storage: jetstream.FileStorage,
	})
}

func sliceKey(stage Stage) string { return fmt.Sprintf("slice.%s.%d", stage, slice) }

// fenced reports whether somebody has taken the stage over since epoch: by the
// lease, which is written before our consumer is deleted, or, when that has
// run out, by the newer consumer.
func (b *Broker) fenced(ctx context.Context, stage Stage, epoch uint64) (bool, error) {
	kv, err := b.leases(ctx)
	if err != nil {
		return false, err
	}
	entry, err := kv.Get(ctx, sliceKey(stage))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
	case err != nil:
		return false, fmt.Errorf("lease: %w", err)
	case entry.Revision() > epoch:
		return true, nil
	}
	names, err := b.epochs(ctx, stage)
	if err != nil {
		return false, err
	}
	for _, e := range names {
		if e > epoch {
			return true, nil
		}
	}
	return false, nil
}

// consumerName is `s<slice>-<epoch>`, with `-w<n>` behind it for the n-th wave
// over parked routes.
func consumerName(epoch uint64) string { return fmt.Sprintf("s%d-%d", slice, epoch) }

// epochOf is the reverse of consumerName; ok is false for a name that is not ours.
func epochOf(name string) (epoch uint64, ok bool) {
	rest, ok := strings.CutPrefix(name, "s"+strconv.Itoa(slice)+"-")
	if !ok {
		return 0, false
	}
	rest, _, _ = strings.Cut(rest, "-")
	epoch, err := strconv.ParseUint(rest, 10, 64)
	return epoch, err == nil
}

// epochs lists the consumers of a stage by name.
func (b *Broker) epochs(ctx context.Context, stage Stage) (map[string]uint64, error) {
	s, err := b.admin.js.Stream(ctx, streamOf(stage))
	if err != nil {
		return nil, fmt.Errorf("consumers of %s: %w", stage, err)
	}
	names := make(map[string]uint64)
	l := s.ConsumerNames(ctx)
	for name := range l.Name() {
		if e, ok := epochOf(name); ok {
			names[name] = e
		}
	}
	if err := l.Err(); err != nil {
		return nil, fmt.Errorf("consumers of %s: %w", stage, err)
	}
	return names, nil
}

// takeOver ends every older ownership of the stage by deleting its consumer,
// which fences its owner, and makes a consumer of our own: the work queue then
// begins again at the oldest message that was not acknowledged, in order.
func (b *Broker) takeOver(ctx context.Context, stage Stage, maxAckPending int) (jetstream.Consumer, uint64, error) {
	epoch, err := b.nextEpoch(ctx, stage)
	if err != nil {
		return nil, 0, err
	}
	old, err := b.epochs(ctx, stage)
	if err != nil {
		return nil, 0, err
	}
	for name, e := range old {
		epoch = max(epoch, e+1)
		err := b.admin.js.DeleteConsumer(ctx, streamOf(stage), name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return nil, 0, fmt.Errorf("delete consumer %s: %w", name, err)
		}
	}
	cons, err := b.createConsumer(ctx, stage, jetstream.ConsumerConfig{
		Name: consumerName(epoch), Durable: consumerName(epoch),
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxAckPending,
	})
	if err != nil {
		return nil, 0, fmt.Errorf("create consumer: %w", err)
	}
	return cons, epoch, nil
}
