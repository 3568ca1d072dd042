package delivery

import (
	"context"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/trace"
)

// dieAfterParking runs a Delivery that parks what it is given and dies before
// any acknowledgement is out: the messages are in both stages then.
func (w *world) dieAfterParking() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dead := broker.HandlerFunc(func(ctx context.Context, ds []*broker.Delivery) []broker.Disposition {
		w.dl.Handle(ctx, ds)
		if w.waiting()[ds[0].Route] == w.count {
			cancel()
		}
		return nil
	})
	if err := w.broker.Consume(ctx, broker.Deliver, dead, broker.ConsumeOptions{Batch: 64}); err != nil {
		w.t.Fatal(err)
	}
	w.close(w.broker)
	w.open()
}

// TestCrashAfterPark: messages that a crash left in DELIVER and in PARK arrive
// once, although their recipient logs in before DELIVER gives them again and
// PARK is empty by then; what came since follows.
func TestCrashAfterPark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ids := w.put(alice, 3)
	w.dieAfterParking()
	if n := w.waiting()["alice@localhost"]; n != 3 {
		t.Fatalf("%d parked, want 3", n)
	}
	if n := w.broker.Stats().Stages[broker.Deliver].Messages; n != 3 {
		t.Fatalf("%d in DELIVER, want 3: the test proves nothing", n)
	}
	c := w.login("alice@localhost/a")
	w.run()
	w.events.wait(t, trace.Delivered, 3)
	live := w.put(alice, 2)
	w.events.wait(t, trace.Delivered, 5)
	c.expect(t, append(ids, live...))
	eventually(t, "DELIVER is empty", func() bool { return w.broker.Stats().Stages[broker.Deliver].Messages == 0 })
	if s := w.dl.Stats(); s.Delivered != 5 {
		t.Errorf("%d delivered, want 5", s.Delivered)
	}
}

// TestMarkOfAnotherStream: a mark says nothing about messages that came after it
// was made, whatever their position: DELIVER may have been made anew.
func TestMarkOfAnotherStream(t *testing.T) {
	t.Parallel()
	at := time.Now()
	for _, c := range []struct {
		name string
		d    broker.Delivery
		want int
	}{
		{"before the mark", broker.Delivery{Seq: 7, Stored: at.Add(-time.Second), Redelivered: true}, 1},
		{"the mark itself", broker.Delivery{Seq: 9, Stored: at.Add(-time.Second), Redelivered: true}, 1},
		{"a later position", broker.Delivery{Seq: 10, Stored: at.Add(-time.Second), Redelivered: true}, 0},
		{"stored after the mark was made", broker.Delivery{Seq: 7, Stored: at.Add(time.Second), Redelivered: true}, 0},
		{"stored since this process began", broker.Delivery{Seq: 7, Stored: at.Add(-time.Second)}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := &owned{slice: broker.Slice{Index: 0, Of: 1}, marks: map[string]mark{"alice@localhost": {seq: 9, at: at}}}
			dl := &Delivery{owned: []*owned{o}}
			got, err := dl.alreadyParked(t.Context(), &route{name: "alice@localhost"}, []*broker.Delivery{&c.d})
			if err != nil || len(got) != c.want {
				t.Errorf("%d taken for parked, %v, want %d", len(got), err, c.want)
			}
			if _, kept := o.marks["alice@localhost"]; kept != (c.want == 1) {
				t.Errorf("mark kept: %v", kept)
			}
		})
	}
}
