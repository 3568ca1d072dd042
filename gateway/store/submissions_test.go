package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

func openSubmissions(t *testing.T, b Buckets) *Submissions {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := OpenSubmissions(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSubmissions: the first under a key is recorded and found again, as it was
// and then as done, also by another process.
func TestSubmissions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	s := openSubmissions(t, b)
	first := Submission{ID: "q1", Digest: "d1"}
	got, began, err := s.Begin(t.Context(), "k", first)
	if err != nil || !began || got != first {
		t.Fatalf("first: %+v, %v, %v", got, began, err)
	}
	for _, key := range []string{"k", "k"} {
		got, began, err = s.Begin(t.Context(), key, Submission{ID: "q2", Digest: "d2"})
		if err != nil || began || got != first {
			t.Fatalf("again: %+v, %v, %v, want what was recorded", got, began, err)
		}
	}
	if err := s.Done(t.Context(), "k", got); err != nil {
		t.Fatal(err)
	}
	closeBroker(t, b)

	s = openSubmissions(t, openBroker(t, dir))
	got, began, err = s.Begin(t.Context(), "k", Submission{ID: "q3"})
	if err != nil || began || got != (Submission{ID: "q1", Digest: "d1", Done: true}) {
		t.Errorf("after a restart: %+v, %v, %v", got, began, err)
	}
}

// TestSubmissionKeys: any text is a key, and two texts are two keys.
func TestSubmissionKeys(t *testing.T) {
	t.Parallel()
	s := openSubmissions(t, openBroker(t, t.TempDir()))
	for _, key := range []string{"", " ", "a.b", "a b", "*", ">", "k/ä", "\x00k", "k\x00", "K", "k", strings.Repeat("x", 1<<16)} {
		if _, began, err := s.Begin(t.Context(), key, Submission{ID: key}); err != nil || !began {
			t.Errorf("key %.20q: %v, %v, want it new", key, began, err)
		}
	}
}

// TestSubmissionsAtOnce: of many that begin under one key one is the first.
func TestSubmissionsAtOnce(t *testing.T) {
	t.Parallel()
	s := openSubmissions(t, openBroker(t, t.TempDir()))
	var firsts atomic.Int64
	var ids sync.Map
	var beginning sync.WaitGroup
	for i := range 16 {
		beginning.Go(func() {
			got, began, err := s.Begin(t.Context(), "k", Submission{ID: fmt.Sprint(i)})
			if err != nil {
				t.Error(err)
			}
			if began {
				firsts.Add(1)
			}
			ids.Store(got.ID, true)
		})
	}
	beginning.Wait()
	n := 0
	ids.Range(func(any, any) bool { n++; return true })
	if firsts.Load() != 1 || n != 1 {
		t.Errorf("%d were the first, %d ids, want one", firsts.Load(), n)
	}
}

// TestSubmissionsExpire: a key is remembered for a day, and the bucket is bounded.
func TestSubmissionsExpire(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	s := openSubmissions(t, b)
	status, err := s.kv.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.TTL() != SubmissionTTL || status.Config().MaxBytes != submissionBytes {
		t.Errorf("bucket with TTL %s and %d bytes", status.TTL(), status.Config().MaxBytes)
	}
}

// TestSubmissionsAway: without the store nothing is known, which is an error and
// never a first time.
func TestSubmissionsAway(t *testing.T) {
	t.Parallel()
	b := openBroker(t, t.TempDir())
	s := openSubmissions(t, b)
	closeBroker(t, b)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, began, err := s.Begin(ctx, "k", Submission{ID: "q"}); err == nil || began {
		t.Errorf("began %v, %v", began, err)
	}
	if err := s.Done(ctx, "k", Submission{ID: "q"}); err == nil {
		t.Error("done without a store")
	}
}

// TestSubmissionDamaged: a record that cannot be read does not pass for a first time.
func TestSubmissionDamaged(t *testing.T) {
	t.Parallel()
	s := openSubmissions(t, openBroker(t, t.TempDir()))
	if _, err := s.kv.Put(t.Context(), bucketKey("k"), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, began, err := s.Begin(t.Context(), "k", Submission{ID: "q"}); err == nil || began {
		t.Errorf("began %v, %v", began, err)
	}
}

// TestSharedSecret: it is made once, whoever asks first, and is still there after
// a restart.
func TestSharedSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := openBroker(t, dir)
	secrets := make([][]byte, 8)
	var asking sync.WaitGroup
	for i := range secrets {
		asking.Go(func() {
			var err error
			if secrets[i], err = SharedSecret(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
	}
	asking.Wait()
	for _, s := range secrets {
		if len(s) != 32 || string(s) != string(secrets[0]) {
			t.Fatalf("secrets %x", secrets)
		}
	}
	closeBroker(t, b)
	again, err := SharedSecret(t.Context(), openBroker(t, dir))
	if err != nil || string(again) != string(secrets[0]) {
		t.Errorf("after a restart %x, %v", again, err)
	}
	other, err := SharedSecret(t.Context(), openBroker(t, t.TempDir()))
	if err != nil || string(other) == string(again) {
		t.Errorf("elsewhere %x, %v", other, err)
	}
}

// noBuckets is a store that opens none.
type noBuckets struct{}

var errNoBuckets = errors.New("no buckets")

func (noBuckets) KV(context.Context, jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	return nil, errNoBuckets
}

// TestWithoutBuckets: the cause survives.
func TestWithoutBuckets(t *testing.T) {
	t.Parallel()
	if _, err := OpenSubmissions(t.Context(), noBuckets{}); !errors.Is(err, errNoBuckets) {
		t.Errorf("submissions: %v", err)
	}
	if _, err := SharedSecret(t.Context(), noBuckets{}); !errors.Is(err, errNoBuckets) {
		t.Errorf("secret: %v", err)
	}
}
