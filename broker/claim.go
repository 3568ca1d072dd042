package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The bucket holds `node.<name>`, which the server drops when its process does
// not renew it, `slice.<stage>.<n>`, which stays, and `slices`, their number. The
// revision of a claim is its epoch.
const (
	leaseBucket = "lease"
	slicePrefix = "slice."
	countKey    = "slices"
)

// leaseKV opens the bucket, and makes it if it is not there.
func (b *Broker) leaseKV(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := b.leases.js.KeyValue(ctx, leaseBucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return b.makeLeases(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	return kv, nil
}

// makeLeases makes the bucket or brings it to the present layout. The markers of
// keys that run out let those who watch see it.
func (b *Broker) makeLeases(ctx context.Context) (jetstream.KeyValue, error) {
	if _, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: leaseBucket, LimitMarkerTTL: b.o.lease.ttl, Storage: jetstream.FileStorage,
	}); err != nil {
		return nil, err
	}
	return b.leases.js.KeyValue(ctx, leaseBucket)
}

// lastLease returns what stands under a key and its revision: the one to put after,
// also where a deletion stands (value nil); zero when nothing does. It asks the
// leader: another server may have something older.
func (b *Broker) lastLease(ctx context.Context, key string) (value []byte, rev uint64, err error) {
	m, err := b.leases.get(ctx, "KV_"+leaseBucket, server.JSApiMsgGetRequest{LastFor: leaseSubject(key)}, 0)
	var api *server.ApiError
	switch {
	case errors.As(err, &api) && server.ErrorIdentifier(api.ErrCode) == server.JSStreamNotFoundErr:
		_, err := b.makeLeases(ctx)
		return nil, 0, err
	case err != nil:
		return nil, 0, fmt.Errorf("lease: %w", err)
	case m == nil:
		return nil, 0, nil
	case m.header.Get("KV-Operation") != "" || m.header.Get(jetstream.MarkerReasonHeader) != "":
		return nil, m.seq, nil
	}
	return m.data, m.seq, nil
}

// putLease writes a key if its last revision is rev, zero for none, and returns the
// new one. The bucket's own interface knows no options.
func (b *Broker) putLease(ctx context.Context, key string, data []byte, rev uint64, opts ...jetstream.PublishOpt) (uint64, error) {
	m := &nats.Msg{Subject: leaseSubject(key), Data: data}
	ack, err := b.leases.js.PublishMsg(ctx, m, append(opts, jetstream.WithExpectLastSequencePerSubject(rev))...)
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant):
		return 0, fmt.Errorf("lease: %w: %w", jetstream.ErrKeyRevisionMismatch, err)
	case err != nil:
		return 0, fmt.Errorf("lease: %w", err)
	}
	return ack.Sequence, nil
}

func leaseSubject(key string) string { return "$KV." + leaseBucket + "." + key }

func (k sliceKey) String() string { return fmt.Sprintf("%s%s.%d", slicePrefix, k.stage, k.index) }

func parseSliceKey(key string) (sliceKey, bool) {
	rest, ok := strings.CutPrefix(key, slicePrefix)
	stage, n, _ := strings.Cut(rest, ".")
	index, err := strconv.Atoi(n)
	return sliceKey{Stage(stage), index}, ok && err == nil
}

// parseEntry reads who owns a slice. What it cannot read is an owner that nobody
// knows: one of a version before this layout.
func parseEntry(value []byte, rev uint64) entry {
	var e entry
	if err := json.Unmarshal(value, &e); err != nil || e.Of < 1 || e.Of > Partitions {
		e = entry{Node: "?", Of: 1}
	}
	e.rev = rev
	return e
}

// errOwned means that a slice has a live owner, or has found one this moment.
var errOwned = errors.New("slice has an owner")

// claim makes this process the owner of a slice and returns the epoch, greater
// than every one before. held says that it was ours already: then errLost means
// that it is not any more. Without held errOwned means that it is another's.
// fresh: it never had an owner.
func (b *Broker) claim(ctx context.Context, stage Stage, s Slice, held bool) (epoch uint64, fresh bool, err error) {
	err = b.leases.insist(ctx, createTimeout, func(ctx context.Context) (err error) {
		for range claimTries {
			epoch, fresh, err = b.tryClaim(ctx, stage, s, held)
			if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
				return err
			}
		}
		return err
	})
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) && !held {
		return 0, false, errOwned
	}
	return epoch, fresh, err
}

// claimTries is how often a claim is tried that somebody else was faster with:
// ourselves perhaps, a moment ago, when the answer was lost.
const claimTries = 3

func (b *Broker) tryClaim(ctx context.Context, stage Stage, s Slice, held bool) (epoch uint64, fresh bool, err error) {
	k := sliceKey{stage, s.Index}
	value, rev, err := b.lastLease(ctx, k.String())
	if err != nil {
		return 0, false, err
	}
	last := entry{rev: rev}
	if value != nil {
		last = parseEntry(value, rev)
		b.members.note(k, last)
	}
	switch {
	case held && value != nil && last.Node != b.node:
		return 0, false, errLost
	case !held && b.members.owned(stage, last):
		return 0, false, errOwned
	}
	epoch, err = b.putEntry(ctx, k, entry{Node: b.node, Name: b.members.name(), Of: s.Of, rev: last.rev})
	return epoch, rev == 0, err
}

// unclaim says that the slice is given up in order.
func (b *Broker) unclaim(ctx context.Context, stage Stage, s Slice, epoch uint64) error {
	_, err := b.putEntry(ctx, sliceKey{stage, s.Index}, entry{Of: s.Of, rev: epoch})
	return err
}

// putEntry writes e if nothing was written after e.rev.
func (b *Broker) putEntry(ctx context.Context, k sliceKey, e entry) (uint64, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return 0, err
	}
	rev, err := b.putLease(ctx, k.String(), data, e.rev)
	if err != nil {
		return 0, err
	}
	e.rev = rev
	b.members.note(k, e)
	return rev, nil
}

// agree finds out how many slices each stage has: as many as stand in the
// bucket, or as this process wants when nobody else lives.
func (b *Broker) agree(ctx context.Context) error {
	for {
		value, rev, err := b.lastLease(ctx, countKey)
		if err != nil {
			return fmt.Errorf("number of slices: %w", err)
		}
		n, _ := strconv.Atoi(string(value)) // garbage is no number
		valid := n > 0 && n <= Partitions
		switch {
		case valid && n != b.o.Slices && b.members.others() > 0:
			b.log.Warn().Int("slices", n).Int("wanted", b.o.Slices).Msg("other processes live that use another number of slices, it changes when none does")
			fallthrough
		case n == b.o.Slices:
			b.members.setSlices(n)
			return nil
		}
		kv, err := b.leaseKV(ctx)
		if err != nil {
			return err
		}
		_, err = kv.Update(ctx, countKey, []byte(strconv.Itoa(b.o.Slices)), rev)
		if err == nil {
			b.members.setSlices(b.o.Slices)
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return fmt.Errorf("number of slices: %w", err)
		}
	}
}
