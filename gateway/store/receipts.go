package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	receiptBucket = "receipt"
	receiptBytes  = 512 << 20
)

// expected is what is remembered of a message whose author wants to hear of its arrival.
type expected struct {
	Data []byte `json:"data"`
	Told bool   `json:"told,omitempty"` // he has
}

// Receipts are the messages whose authors want to hear that they have arrived. They are
// used from many goroutines.
type Receipts struct{ kv jetstream.KeyValue }

// OpenReceipts opens the bucket, making it if need be. A message is remembered for so long.
func OpenReceipts(ctx context.Context, b Buckets, expiration time.Duration) (*Receipts, error) {
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: receiptBucket, Description: "messages whose arrival is reported", Storage: jetstream.FileStorage,
		History: 1, TTL: expiration, MaxBytes: receiptBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("receipts: open bucket: %w", err)
	}
	return &Receipts{kv}, nil
}

// Expect remembers data under key, unless something is there.
func (r *Receipts) Expect(ctx context.Context, key string, data []byte) error {
	value, err := json.Marshal(expected{Data: data})
	if err == nil {
		_, err = r.kv.Create(ctx, bucketKey(key), value)
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyExists) {
		return fmt.Errorf("receipt: %w", err)
	}
	return nil
}

// Settle says that the author of what is under key is told now, and returns what was
// remembered. first is false where he was told before, and where nothing is there: then
// data is nil.
func (r *Receipts) Settle(ctx context.Context, key string) (data []byte, first bool, err error) {
	for {
		entry, err := r.kv.Get(ctx, bucketKey(key))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, false, nil
		}
		var e expected
		if err == nil {
			err = json.Unmarshal(entry.Value(), &e)
		}
		if err != nil {
			return nil, false, fmt.Errorf("receipt: %w", err)
		}
		if e.Told {
			return e.Data, false, nil
		}
		value, err := json.Marshal(expected{Data: e.Data, Told: true})
		if err == nil {
			_, err = r.kv.Update(ctx, bucketKey(key), value, entry.Revision())
		}
		switch {
		case err == nil:
			return e.Data, true, nil
		case !errors.Is(err, jetstream.ErrKeyRevisionMismatch): // else somebody else was first: look again
			return nil, false, fmt.Errorf("receipt: %w", err)
		}
	}
}
