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

// TestResumedEarly: what a sender keeps does not come before what was dropped when the
// stream was resumed in its midst, and is taken when the sender knows of that, or does not
// want to.
func TestResumedEarly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		ask  bool
	}{{"the sender asks", true}, {"another sender, who does not know of it", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			o := Managing{Resumable: true}
			w := manage(t, pipes(t, false), o)
			sendKept(t, w, "first")
			n := newWriter(pipes(t, false), NSClient, 1<<20, time.Minute)
			t.Cleanup(n.kill)
			if err := n.resume(w.Suspend(), 0, nil, o); err != nil {
				t.Fatal(err)
			}
			if had, err := w.SendKept(ctx, message("second"), "second"); had || !errors.Is(err, ErrSuspended) {
				t.Fatalf("%t, %v: want it refused", had, err)
			}
			if c.ask {
				if err := n.Prove(ctx); !errors.Is(err, ErrSuspended) {
					t.Fatalf("asked: %v", err)
				}
			}
			for _, id := range []string{"first", "second"} {
				sendKept(t, w, id)
			}
		})
	}
}

// TestResumedRefused: a stanza that was refused once is not refused again after another
// resumption that has dropped nothing: its sender may be one who does not ask, and the
// connection one that is lost soon each time.
func TestResumedRefused(t *testing.T) {
	t.Parallel()
	o := Managing{Resumable: true}
	w := manage(t, pipes(t, false), o)
	sendKept(t, w, "first")
	for _, first := range []bool{true, false} {
		n := newWriter(pipes(t, false), NSClient, 1<<20, time.Minute)
		t.Cleanup(n.kill)
		if err := n.resume(w.Suspend(), 0, nil, o); err != nil {
			t.Fatal(err)
		}
		w = n
		if first {
			if had, err := n.SendKept(t.Context(), message("second"), "second"); had || !errors.Is(err, ErrSuspended) {
				t.Fatalf("%t, %v: want it refused", had, err)
			}
		}
	}
	sendKept(t, w, "first")
}
