package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Events lie in their order under subjects that one can filter by, a repetition is
// none, and the oldest make room.
func TestPublish(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	event := func(i int) Event {
		return Event{ID: fmt.Sprint("id", i), Kind: "delivered", Of: "chat.example", Data: fmt.Append(nil, i)}
	}
	if err := b.Publish(ctx, []Event{event(0)}); err == nil {
		t.Error("published without a stream")
	}
	o := EventOptions{MaxAge: time.Hour, MaxBytes: mib}
	if err := b.OpenEvents(ctx, o); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Publish(ctx, []Event{event(1), event(2), {ID: "x", Kind: "failed", Of: "a.*.>", Data: []byte("f")}}); err != nil {
			t.Fatal(err)
		}
	}
	s, err := b.admin.js.Stream(ctx, streamEvent)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"event.delivered.chat%2Eexample 1", "event.delivered.chat%2Eexample 2", "event.failed.a%2E%2A%2E%3E f"} {
		m, err := s.GetMsg(ctx, uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Subject + " " + string(m.Data); got != want {
			t.Errorf("message %d is %s, want %s", i+1, got, want)
		}
	}
	if n := s.CachedInfo().State.Msgs; n != 3 {
		t.Errorf("%d messages", n)
	}
	o.MaxBytes = 2 * mib
	if err := b.OpenEvents(ctx, o); err != nil {
		t.Fatal(err)
	}
	if info, err := s.Info(ctx); err != nil || info.Config.MaxBytes != o.MaxBytes || info.Config.Discard != jetstream.DiscardOld {
		t.Errorf("the stream is %+v, %v", info.Config, err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if err := b.Publish(over, []Event{event(9)}); !errors.Is(err, ErrUnavailable) && !errors.Is(err, context.Canceled) {
		t.Errorf("after its context: %v", err)
	}
}
