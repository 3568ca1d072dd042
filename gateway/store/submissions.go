package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// SubmissionTTL is how long an Idempotency-Key is remembered.
const SubmissionTTL = 24 * time.Hour

const (
	submissionBucket = "submission"
	submissionBytes  = 256 << 20
)

// Submission is what is remembered of a message that came with an
// Idempotency-Key.
type Submission struct {
	ID     string `json:"id"`     // of the message
	Digest string `json:"digest"` // of the message and its envelope
	Done   bool   `json:"done"`   // the message is stored
}

// Submissions are the Idempotency-Keys of the last SubmissionTTL. They are used
// from many goroutines.
type Submissions struct{ kv jetstream.KeyValue }

// OpenSubmissions opens the bucket, making it if need be.
func OpenSubmissions(ctx context.Context, b Buckets) (*Submissions, error) {
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: submissionBucket, Description: "Idempotency-Keys", Storage: jetstream.FileStorage,
		History: 1, TTL: SubmissionTTL, MaxBytes: submissionBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("submissions: open bucket: %w", err)
	}
	return &Submissions{kv}, nil
}

// Begin records s under key and returns it with true, or what was recorded
// before with false. An error means that it is not known now.
func (s *Submissions) Begin(ctx context.Context, key string, want Submission) (Submission, bool, error) {
	data, err := json.Marshal(want)
	if err != nil {
		return Submission{}, false, fmt.Errorf("submission: %w", err)
	}
	_, err = s.kv.Create(ctx, bucketKey(key), data)
	if err == nil {
		return want, true, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return Submission{}, false, fmt.Errorf("submission: %w", err)
	}
	entry, err := s.kv.Get(ctx, bucketKey(key))
	if err != nil {
		return Submission{}, false, fmt.Errorf("submission: %w", err)
	}
	var got Submission
	if err := json.Unmarshal(entry.Value(), &got); err != nil {
		return Submission{}, false, fmt.Errorf("submission: record: %w", err)
	}
	return got, false, nil
}

// Done marks the submission under key as stored.
func (s *Submissions) Done(ctx context.Context, key string, sub Submission) error {
	sub.Done = true
	data, err := json.Marshal(sub)
	if err == nil {
		_, err = s.kv.Put(ctx, bucketKey(key), data)
	}
	if err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	return nil
}

// bucketKey is a key that a bucket can hold, whatever the client's may be.
func bucketKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
