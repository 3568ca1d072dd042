package stream

import (
	"errors"
	"testing"
	"time"
)

// TestResumedUnasked: what a sender keeps and has not asked about when the stream is
// suspended is not sent again. Once he asks he must learn that, though the peer has
// acknowledged all that was sent since.
func TestResumedUnasked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		ask  bool // before it is resumed
		h    uint32
		want error
	}{
		{"not received", false, 0, ErrSuspended},
		{"received", false, 1, nil},
		{"asked while it was suspended", true, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			o := Managing{Resumable: true}
			w := manage(t, pipes(t, false), o)
			sendKept(t, w, "kept")
			held := w.Suspend()
			if c.ask {
				if err := held.Prove(ctx); !errors.Is(err, ErrSuspended) {
					t.Fatalf("while suspended: %v", err)
				}
			}
			n := newWriter(pipes(t, false), NSClient, 1<<20, time.Minute)
			t.Cleanup(n.kill)
			if err := n.resume(held, c.h, nil, o); err != nil {
				t.Fatal(err)
			}
			if err := n.Prove(ctx); !errors.Is(err, c.want) {
				t.Errorf("asked once: %v, want %v", err, c.want)
			}
			if err := n.Prove(ctx); err != nil {
				t.Errorf("asked again: %v", err)
			}
		})
	}
}
