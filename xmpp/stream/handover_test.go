package stream

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

// handOver takes a handover to where it is restored, as JSON.
func handOver(t *testing.T, old *Writer, h uint32) (w *Writer, p *pipe, held *Writer) {
	t.Helper()
	o, err := old.HandOver(h)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var there Handover
	if err := json.Unmarshal(text, &there); err != nil {
		t.Fatal(err)
	}
	p = pipes(t, false)
	w = newWriter(p, NSClient, 1<<20, time.Minute)
	w.unacked, w.unackedBytes = 1000, 1<<20
	t.Cleanup(func() { w.kill(); w.join() })
	return w, p, (&Stream{o: Options{Content: NSClient}, out: w}).Restore(there)
}

// TestHandOver: what a peer has not acknowledged it is sent again by whoever resumes the
// stream, in order and counted on, but for what its senders keep.
func TestHandOver(t *testing.T) {
	t.Parallel()
	w := manage(t, pipes(t, false), Managing{Resumable: true})
	if _, err := w.HandOver(0); !errors.Is(err, ErrClosed) {
		t.Errorf("of a stream that lives: %v", err)
	}
	send(t, w, "1", "2")
	sendKept(t, w, "k1", "k2")
	send(t, w, "3")
	old := w.Suspend()
	send(t, w, "4")
	var high *AckError
	if _, err := old.HandOver(7); !errors.As(err, &high) || high.Sent != 6 {
		t.Errorf("too high: %v", err)
	}
	next, p, held := handOver(t, old, 3) // 1 2 k1
	send(t, w, "5")                      // while it is on its way
	send(t, held, "6")
	rest := old.HandedOver()
	held.Insert(rest)
	if err := next.resume(held, 3, []*xmlwire.Element{Ack(7)}, Managing{Resumable: true}); err != nil {
		t.Fatal(err)
	}
	p.want(t, next, "<a xmlns='urn:xmpp:sm:3' h='7'/>"+wireOf("3")+wireOf("4")+wireOf("5")+wireOf("6")+request)
	if err := next.Acknowledge(7); err != nil {
		t.Errorf("the peer counts on from what it has received: %v", err)
	}
	if err := next.Acknowledge(8); !errors.As(err, &high) || high.Sent != 7 {
		t.Errorf("too high: %v", err)
	}
	// Its sender does not know of k1, and k2 was dropped behind it.
	if had, err := next.SendKept(t.Context(), message("k1"), "k1"); !had || err != nil {
		t.Errorf("k1: had %v, %v", had, err)
	}
	if _, err := next.SendKept(t.Context(), message("k3"), "k3"); !errors.Is(err, ErrSuspended) {
		t.Errorf("k3, before k2: %v", err)
	}
	sendKept(t, next, "k2", "k3")
	if err := w.SendStanza(t.Context(), message("7")); err == nil {
		t.Error("sent where the stream is no more")
	}
	if err := w.Prove(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("proof where the stream is no more: %v", err)
	}
	if left := w.Release(); left != nil || old.HandedOver() != nil {
		t.Errorf("%v is left where the stream is no more", left)
	}
}

// TestHandOverUnasked: a kept stanza may not come before one that was dropped and that its
// sender has not asked about yet.
func TestHandOverUnasked(t *testing.T) {
	t.Parallel()
	for name, asked := range map[string]bool{"asked": true, "not asked": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := manage(t, pipes(t, false), Managing{Resumable: true})
			sendKept(t, w, "k1")
			old := w.Suspend()
			if asked {
				if err := w.Prove(t.Context()); !errors.Is(err, ErrSuspended) {
					t.Fatal(err)
				}
			}
			next, _, held := handOver(t, old, 0)
			old.HandedOver()
			if err := next.resume(held, 0, nil, Managing{Resumable: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := next.SendKept(t.Context(), message("k2"), "k2"); errors.Is(err, ErrSuspended) == asked {
				t.Errorf("k2: %v", err)
			}
		})
	}
}

// TestHandOverRefused: what was refused once is not refused again after another handover that
// has dropped nothing.
func TestHandOverRefused(t *testing.T) {
	t.Parallel()
	w := manage(t, pipes(t, false), Managing{Resumable: true})
	sendKept(t, w, "k1")
	for _, first := range []bool{true, false} {
		old := w.Suspend()
		next, _, held := handOver(t, old, 0)
		old.HandedOver()
		if err := next.resume(held, 0, nil, Managing{Resumable: true}); err != nil {
			t.Fatal(err)
		}
		w = next
		if first {
			if _, err := w.SendKept(t.Context(), message("k2"), "k2"); !errors.Is(err, ErrSuspended) {
				t.Fatalf("k2: %v", err)
			}
		}
	}
	sendKept(t, w, "k1")
}

// TestHandOverKept: a stream that is not resumed elsewhere after all goes on with all that it
// had.
func TestHandOverKept(t *testing.T) {
	t.Parallel()
	w := manage(t, pipes(t, false), Managing{Resumable: true})
	send(t, w, "1", "2")
	old := w.Suspend()
	if o, err := old.HandOver(1); err != nil || o.Acked != 1 || len(o.Sent) != 1 || o.Sent[0].XML != wireOf("2") {
		t.Fatalf("%+v, %v", o, err)
	}
	send(t, w, "3")
	var ids []string
	for _, u := range w.Release() {
		ids = append(ids, u.Stanza.ID)
	}
	if !slices.Equal(ids, []string{"2", "3"}) {
		t.Errorf("left are %v", ids)
	}
}
