package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"

	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/mcmt"
)

// once stores a message under an Idempotency-Key. The id is recorded before the
// message is stored: a client that repeats after a crash between the two gets
// the same id, and the broker recognises a copy by it.
func (in *Intake) once(ctx context.Context, sub submission) (mcmt.ID, error) {
	if in.o.Submissions == nil {
		return "", refuse(554, [3]int{5, 3, 3}, 422, "Idempotency-Key is not kept here", nil)
	}
	// No key holds a NUL, so those of two users never meet.
	key := sub.env.User + "\x00" + sub.env.IdempotencyKey
	leave, err := in.keys.enter(ctx, key)
	if err != nil {
		return "", refuse(451, [3]int{4, 3, 0}, 503, "the first request under this key is not done yet", err)
	}
	defer leave()
	want := store.Submission{ID: string(sub.id), Digest: digest(sub.env, sub.raw)}
	got, first, err := in.o.Submissions.Begin(ctx, key, want)
	switch {
	case err != nil:
		return "", refuse(451, [3]int{4, 3, 0}, 503, "the message cannot be stored now", err)
	case !first && got.Digest != want.Digest:
		return "", refuse(554, [3]int{5, 6, 0}, 422, "Idempotency-Key was used for another message", nil)
	case !first && got.Done:
		return mcmt.ID(got.ID), nil
	}
	// Not done may mean that another process is at it this moment: both store,
	// and the broker keeps one.
	sub.id = mcmt.ID(got.ID)
	if err := in.store(ctx, sub); err != nil {
		return "", err
	}
	if err := in.o.Submissions.Done(ctx, key, got); err != nil {
		// Stored all the same: a repetition stores again under the same id.
		in.o.Log.Warn().Err(err).Str("id", got.ID).Msg("idempotency key not marked, a repetition may be delivered twice")
	}
	return sub.id, nil
}

// keys are those that this process is working on. A client that repeats before it
// has its answer waits for the first, rather than store and count it twice.
type keys struct {
	mu   sync.Mutex
	busy map[string]chan struct{} // closed when the key is left
}

// enter waits until nobody else works on key. The error is that of ctx.
func (k *keys) enter(ctx context.Context, key string) (leave func(), err error) {
	for {
		k.mu.Lock()
		other := k.busy[key]
		if other == nil {
			if k.busy == nil {
				k.busy = make(map[string]chan struct{})
			}
			mine := make(chan struct{})
			k.busy[key] = mine
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.busy, key)
				k.mu.Unlock()
				close(mine)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// digest tells two submissions under one key apart. What the listener adds to a
// message is the same at every repetition, or the second would pass for another.
func digest(env mcmt.Envelope, raw []byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q", env.From)
	for _, r := range env.To {
		fmt.Fprintf(h, " %q", r.Address)
	}
	fmt.Fprintf(h, "\n")
	h.Write(raw)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
