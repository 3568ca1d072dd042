package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// secretBucket holds what all nodes share and nobody else may know.
const secretBucket = "secret"

// SharedSecret returns 32 random bytes that are made once and kept, the
// same after a restart and on every node. It makes the salts of accounts that do not
// exist, which must look as steady as real ones.
func SharedSecret(ctx context.Context, b Buckets) ([]byte, error) {
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{Bucket: secretBucket, Description: "secrets of the installation", Storage: jetstream.FileStorage, MaxBytes: 1 << 20})
	if err != nil {
		return nil, err
	}
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails (crypto/rand)
	if _, err := kv.Create(ctx, "salt", fresh); err == nil {
		return fresh, nil
	} else if !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, fmt.Errorf("secret: %w", err)
	}
	entry, err := kv.Get(ctx, "salt")
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	return entry.Value(), nil
}
