package broker

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// KV opens a bucket, making it or bringing it to cfg as needed. Zero Replicas
// are those of the broker. Buckets have no size limit unless cfg sets one.
func (b *Broker) KV(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	if cfg.Replicas == 0 {
		cfg.Replicas = b.o.Replicas
	}
	kv, err := b.admin.js.CreateOrUpdateKeyValue(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("broker: bucket %s: %w", cfg.Bucket, requestRefusal(err))
	}
	return kv, nil
}
