package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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
	gone   bool // the consumer is not there, or of no use
}

// beginEpoch begins an epoch on a slice that we have claimed: it ends every older
// one by deleting its consumer, which fences its owner, and makes a consumer of
// our own. The work queue then begins again at the oldest message that was not
// acknowledged, in order.
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

const (
	// electionTime is how long a consumer may be without a leader whose server has died.
	electionTime = 10 * time.Second

	// quietPoll is how often a consumer is looked at that may still be giving messages.
	quietPoll = 50 * time.Millisecond
)

// restart has an epoch begin over again, at the oldest message that was not
// acknowledged and counting from one. Its consumer is there already, and once the
// servers that are left have a leader for it, it serves; a new one might be given to
// a server that has just died, and would have to wait for an election then.
//
// What a server with replicas (2.15.2) is giving out while it is reset it writes down
// after the reset, and with it that all before was given out: its next leader would
// pass over what was not acknowledged by then. So nobody may be asking.
func (b *Broker) restart(ctx context.Context, stage Stage, e *epoch) error {
	if !resettable(b.work.nc.ConnectedServerVersion()) {
		return errors.New("the server cannot reset a consumer")
	}
	ctx, cancel := context.WithTimeout(ctx, electionTime)
	defer cancel()
	for {
		err := b.awaitQuiet(ctx, e)
		if err != nil {
			return err
		}
		var after *jetstream.ConsumerResetResponse
		err = b.work.insist(ctx, electionTime, func(ctx context.Context) (err error) {
			after, err = b.work.js.ResetConsumerToSequence(ctx, streamOf(stage), e.cfg.Name, 1)
			return err
		})
		switch {
		case err == nil && after.NumWaiting == 0 && after.Delivered.Consumer == 0:
			return nil
		case err != nil && (!errors.Is(err, nats.ErrNoResponders) || b.o.Replicas == 1):
			return err
		}
		if !pause(ctx, quietPoll) { // no leader for the moment
			return context.Cause(ctx)
		}
	}
}

// awaitQuiet waits until nobody asks the consumer for messages any more: a server
// forgets who asked with the connection, or when the request has run out.
func (b *Broker) awaitQuiet(ctx context.Context, e *epoch) error {
	for {
		var info *jetstream.ConsumerInfo
		err := b.work.insist(ctx, electionTime, func(ctx context.Context) (err error) {
			info, err = e.cons.Info(ctx)
			return err
		})
		if err != nil || info.NumWaiting == 0 {
			return err
		}
		if !pause(ctx, quietPoll) {
			return context.Cause(ctx)
		}
	}
}

// resettable reports whether a server of a version can reset a consumer: from 2.14.
func resettable(version string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return n == 2 && (major > 2 || major == 2 && minor >= 14)
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
