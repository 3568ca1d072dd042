package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// consumerName names what belongs to no slice.
func consumerName(epoch uint64) string { return Slice{}.consumer(epoch) }

// consumer is `s<slice>-<epoch>`.
func (s Slice) consumer(epoch uint64) string { return fmt.Sprintf("s%d-%d", s.Index, epoch) }

// parseConsumer is the reverse of consumer; ok is false for a name that is not ours.
func parseConsumer(name string) (index int, epoch uint64, ok bool) {
	rest, ours := strings.CutPrefix(name, "s")
	first, rest, dash := strings.Cut(rest, "-")
	index, err := strconv.Atoi(first)
	if err != nil || !ours || !dash {
		return 0, 0, false
	}
	epoch, err = strconv.ParseUint(rest, 10, 64)
	return index, epoch, err == nil
}

// epochs lists our consumers that get messages of a slice: those of its former
// owners, and those of another number of slices.
func (b *Broker) epochs(ctx context.Context, stage Stage, s Slice) (map[string]uint64, error) {
	stream, err := b.admin.js.Stream(ctx, streamOf(stage))
	if err != nil {
		return nil, fmt.Errorf("consumers of %s: %w", stage, err)
	}
	found := make(map[string]uint64)
	l := stream.ConsumerNames(ctx)
	for name := range l.Name() {
		index, e, ours := parseConsumer(name)
		if !ours {
			continue
		}
		meets := index == s.Index
		if !meets && b.members.layout(sliceKey{stage, index}) != s.Of {
			if meets, err = consumerMeets(ctx, stream, stage, name, s); err != nil {
				return nil, fmt.Errorf("consumer %s: %w", name, err)
			}
		}
		if meets {
			found[name] = e
		}
	}
	if err := l.Err(); err != nil {
		return nil, fmt.Errorf("consumers of %s: %w", stage, err)
	}
	return found, nil
}

func consumerMeets(ctx context.Context, stream jetstream.Stream, stage Stage, name string, s Slice) (bool, error) {
	cons, err := stream.Consumer(ctx, name)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	cfg := cons.CachedInfo().Config
	filters := cfg.FilterSubjects
	if cfg.FilterSubject != "" { // as the server gives a single one
		filters = append(filters, cfg.FilterSubject)
	}
	return s.meets(stage, filters), nil
}

// epoch is one consumer of ours on a slice.
type epoch struct {
	number uint64
	cons   jetstream.Consumer
	cfg    jetstream.ConsumerConfig
	old    bool // there was another before it
}

// beginEpoch begins an epoch on a slice that we have claimed: it ends every older
// one by deleting its consumer, which fences its owner, and makes a consumer of
// our own. The work queue then begins again at the oldest message that was not
// acknowledged, in order.
//
// To reset the consumer that is there (CONSUMER.RESET) would save an election, and
// loses messages: a server that was away meanwhile takes the state that was reset for
// an old one and keeps its own (nats-server 2.15.2), and when it leads, removes what
// comes then as acknowledged long ago.
func (b *Broker) beginEpoch(ctx context.Context, stage Stage, s Slice, claimed uint64, maxAckPending int) (*epoch, error) {
	var names map[string]uint64
	err := b.admin.insist(ctx, createTimeout, func(ctx context.Context) (err error) {
		names, err = b.epochs(ctx, stage, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	n := claimed
	for name, e := range names {
		if e >= claimed {
			// Of a newer owner, or of a bucket that was lost.
			if err := b.stillOurs(ctx, stage, s, claimed); err != nil {
				return nil, err
			}
			n = max(n, e+1)
		}
		if err := b.deleteConsumer(ctx, stage, name); err != nil {
			return nil, err
		}
	}
	cfg := jetstream.ConsumerConfig{
		Name: s.consumer(n), Durable: s.consumer(n), FilterSubjects: s.filters(stage),
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxAckPending,
	}
	cons, err := b.createConsumer(ctx, stage, cfg)
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	return &epoch{number: n, cons: cons, cfg: cfg, old: len(names) > 0}, nil
}

// stillOurs returns nil when nobody has claimed the slice after us.
func (b *Broker) stillOurs(ctx context.Context, stage Stage, s Slice, claimed uint64) error {
	_, rev, err := b.lastLease(ctx, sliceKey{stage, s.Index}.String())
	if err != nil {
		return err
	}
	if rev != claimed {
		return errLost
	}
	return nil
}

// endEpoch deletes the consumer.
func (b *Broker) endEpoch(ctx context.Context, stage Stage, e *epoch) error {
	return b.deleteConsumer(ctx, stage, e.cfg.Name)
}

// deleteConsumer deletes a consumer that may be gone already.
func (b *Broker) deleteConsumer(ctx context.Context, stage Stage, name string) error {
	err := b.admin.insist(ctx, createTimeout, func(ctx context.Context) error {
		return b.admin.js.DeleteConsumer(ctx, streamOf(stage), name)
	})
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete consumer %s: %w", name, err)
	}
	return nil
}
