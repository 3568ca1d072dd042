package events

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

var usual = terms{most: 1, timeout: 15 * time.Second, retry: 10 * time.Second, retryMost: 5 * time.Minute, giveUp: 72 * time.Hour}

// TestCourier: a receiver that is new hears of what is from now on, in order, and goes on
// where it has got to after a restart.
func TestCourier(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		w.ended("old", "a@b.example", custody.Delivered)
		c, stop := w.courier(d)
		synctest.Wait()
		w.ended("1", "a@b.example", custody.Delivered)
		w.ended("2", "a@b.example", custody.Diverted) // no end
		w.write("3", "a@b.example", []byte("of another version"))
		w.ended("4", "a@b.example", custody.Failed)
		w.look(c)
		synctest.Wait()
		got, _ := d.take()
		equal(t, "first", got, "1 delivered", "4 failed")
		if s := c.status(); s.State != "idle" || s.Behind != 0 || s.Sent != 2 || s.Answer != "200 OK" {
			t.Errorf("status %+v", s)
		}
		stop()
		w.ended("5", "a@b.example", custody.Expired)
		_, stop = w.courier(d)
		synctest.Wait()
		got, _ = d.take()
		equal(t, "after a restart", got, "5 expired")
		stop()
		if p := w.at("crm"); p.Next != (broker.Mark{Seq: 7}) || p.Sent != 3 {
			t.Errorf("kept is %+v", p)
		}
	})
}

// TestCourierBeginning: the stream of the broker begins with what the journal has.
func TestCourierBeginning(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: StreamName, terms_: terms{most: 256, timeout: time.Second, retry: 1, retryMost: 1, fromTheBeginning: true}}
		for i := range 600 {
			w.ended(fmt.Sprint(i), "a@b.example", custody.Delivered)
		}
		w.gone = 2
		_, stop := w.courier(d)
		synctest.Wait()
		stop()
		got, tries := d.take()
		if len(got) != 598 || got[0] != "2 delivered" || len(tries) > 4 {
			t.Errorf("%d events in %d attempts, beginning with %q", len(got), len(tries), got[0])
		}
		if p := w.at(StreamName); p.Missed != 0 {
			t.Errorf("%d were missed that nobody waited for", p.Missed)
		}
	})
}

// TestCourierRetry: what is not taken is tried again on the schedule, nothing passes it,
// and it comes once.
func TestCourierRetry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		c, stop := w.courier(d)
		defer stop()
		synctest.Wait()
		d.answers(func([]*Event) (string, error) { return "", errDown })
		for i := range 3 {
			w.ended(fmt.Sprint(i), "a@b.example", custody.Delivered)
		}
		w.look(c)
		time.Sleep(time.Hour)
		synctest.Wait()
		_, tries := d.take()
		want := 10 * time.Second
		for i := range tries[1:] {
			pause := tries[i+1].Sub(tries[i])
			if pause > want || pause < want*4/5-1 {
				t.Errorf("pause %d is %v, want %v or up to a fifth less", i, pause, want)
			}
			want = min(2*want, 5*time.Minute)
		}
		if n := len(tries); n < 15 || n > 22 {
			t.Errorf("%d attempts in an hour", n)
		}
		if s := c.status(); s.State != "retrying" || s.Behind != 3 || s.Tries != len(tries) || s.Answer != errDown.Error() || s.Oldest.IsZero() || s.Next.IsZero() {
			t.Errorf("status %+v", s)
		}
		d.answers(nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		got, _ := d.take()
		equal(t, "when it is back", got, "0 delivered", "1 delivered", "2 delivered")
		if s := c.status(); s.State != "idle" || s.Tries != 0 || !s.Next.IsZero() || !s.Failing.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

// TestCourierRetryAfter: a receiver that asks for more time gets it, over a restart too,
// unless an operator says otherwise.
func TestCourierRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		c, stop := w.courier(d)
		synctest.Wait()
		d.refuses(refusal{text: "503 Service Unavailable", after: time.Hour})
		w.ended("1", "a@b.example", custody.Delivered)
		w.look(c)
		synctest.Wait()
		d.answers(nil)
		time.Sleep(30 * time.Minute)
		stop()
		c, stop = w.courier(d)
		defer func() { stop() }()
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		if got, tries := d.take(); len(tries) != 1 || len(got) != 0 {
			t.Errorf("%d attempts, got %v", len(tries), got)
		}
		if s := c.status(); s.Oldest.IsZero() || s.State != "retrying" {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, _ := d.take(); len(got) != 1 {
			t.Errorf("after an hour: %v", got)
		}
		d.refuses(refusal{text: "429 Too Many Requests", after: time.Hour})
		w.ended("2", "a@b.example", custody.Delivered)
		w.look(c)
		synctest.Wait()
		d.answers(nil)
		c.retry(t.Context())
		synctest.Wait()
		got, _ := d.take()
		equal(t, "by an operator", got, "2 delivered")
	})
}

// TestCourierGone: who answers 410 is left alone, over a restart too, until an operator
// or another URL says otherwise; then nothing is missing.
func TestCourierGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		c, stop := w.courier(d)
		synctest.Wait()
		d.refuses(refusal{text: "410 Gone", gone: true})
		w.ended("1", "a@b.example", custody.Delivered)
		w.look(c)
		time.Sleep(48 * time.Hour)
		stop()
		d.answers(nil)
		c, stop = w.courier(d)
		w.ended("2", "a@b.example", custody.Delivered)
		w.look(c)
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if got, tries := d.take(); len(tries) != 1 || len(got) != 0 {
			t.Errorf("%d attempts, got %v", len(tries), got)
		}
		if s := c.status(); s.State != "given up" || s.GivenUp != "410 Gone" || s.Behind != 2 {
			t.Errorf("status %+v", s)
		}
		c.retry(t.Context())
		synctest.Wait()
		got, _ := d.take()
		equal(t, "after retry", got, "1 delivered", "2 delivered")

		d.refuses(refusal{text: "410 Gone", gone: true})
		w.ended("3", "a@b.example", custody.Delivered)
		w.look(c)
		synctest.Wait()
		stop()
		d.answers(nil)
		c = newCourier(c.e, d, true)
		c.start(t.Context())
		synctest.Wait()
		c.stop()
		got, _ = d.take()
		equal(t, "after a change of the configuration", got, "3 delivered")
	})
}

// TestCourierGivesUp: an event that is too old to be tried again makes way for the next,
// and is counted; while the receiver takes events none is too old.
func TestCourierGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		c, stop := w.courier(d)
		defer stop()
		synctest.Wait()
		d.answers(func(events []*Event) (string, error) {
			if events[0].Data.ID == "poison" {
				return "400 Bad Request", &refusal{text: "400 Bad Request"}
			}
			return "", nil
		})
		w.ended("poison", "a@b.example", custody.Delivered)
		w.ended("old", "a@b.example", custody.Delivered)
		w.look(c)
		time.Sleep(71 * time.Hour)
		w.ended("next", "a@b.example", custody.Delivered)
		w.look(c)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		got, _ := d.take()
		equal(t, "taken", got, "next delivered")
		if s := c.status(); s.Passed != 2 || s.State != "idle" {
			t.Errorf("status %+v", s)
		}
		w.ended("ancient", "a@b.example", custody.Delivered, func(o *custody.Outcome) { o.Ended = o.Ended.Add(-1000 * time.Hour) })
		w.look(c)
		synctest.Wait()
		got, _ = d.take()
		equal(t, "while it takes events", got, "ancient delivered")
	})
}

// TestCourierReplay: an operator has a part of the journal sent again, beside what is new,
// over a restart, and under the same ids.
func TestCourierReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		begin := time.Now()
		c, stop := w.courier(d)
		synctest.Wait()
		for i := range 300 {
			w.ended(fmt.Sprint(i), "a@b.example", custody.Delivered)
			time.Sleep(time.Minute)
		}
		w.look(c)
		synctest.Wait()
		first, _ := d.take()
		ids := d.ids
		if len(first) != 300 {
			t.Fatalf("%d at first", len(first))
		}
		if err := c.replay(t.Context(), begin.Add(10*time.Minute), begin.Add(12*time.Minute)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got, _ := d.take()
		equal(t, "replayed", got, "10 delivered", "11 delivered")
		equal(t, "ids", d.ids[300:], ids[10], ids[11])
		if s := c.status(); s.Replay != 0 || s.State != "idle" {
			t.Errorf("status %+v", s)
		}
		// All, while the receiver is away, with a restart and something new.
		d.answers(func([]*Event) (string, error) { return "", errDown })
		if err := c.replay(t.Context(), time.Time{}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := c.status(); s.Replay != 300 || s.State != "retrying" {
			t.Errorf("status %+v", s)
		}
		stop()
		c, stop = w.courier(d)
		defer func() { stop() }()
		w.ended("new", "a@b.example", custody.Delivered)
		w.look(c)
		d.answers(nil)
		d.take()
		time.Sleep(time.Minute)
		synctest.Wait()
		got, _ = d.take()
		if len(got) != 301 || got[0] != "new delivered" && got[1] != "new delivered" {
			t.Errorf("%d, beginning with %q", len(got), got[:2])
		}
		if err := c.replay(t.Context(), time.Now().Add(time.Hour), time.Time{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got, _ := d.take(); len(got) != 0 {
			t.Errorf("of the future: %v", got)
		}
	})
}

// TestCourierReplayGivenUp: a replay that its receiver does not take ends, too.
func TestCourierReplayGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		c, stop := w.courier(d)
		defer stop()
		synctest.Wait()
		w.ended("1", "a@b.example", custody.Delivered)
		w.look(c)
		synctest.Wait()
		d.answers(func([]*Event) (string, error) { return "", errDown })
		if err := c.replay(t.Context(), time.Time{}, time.Time{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(71 * time.Hour)
		if s := c.status(); s.Replay == 0 {
			t.Errorf("given up early: %+v", s)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if s := c.status(); s.Replay != 0 || s.Passed != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestCourierMissed: what the journal has let go of before it was sent is counted.
func TestCourierMissed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		_, stop := w.courier(d)
		synctest.Wait()
		stop()
		for i := range 5 {
			w.ended(fmt.Sprint(i), "a@b.example", custody.Delivered)
		}
		w.gone = 3
		c, stop := w.courier(d)
		defer stop()
		synctest.Wait()
		got, _ := d.take()
		equal(t, "what is left", got, "3 delivered", "4 delivered")
		if s := c.status(); s.Missed != 3 {
			t.Errorf("status %+v", s)
		}
	})
}

// TestCourierOtherNode: a process that has lost its turn has a last word, and the one
// whose turn it is goes on and prevails.
func TestCourierOtherNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		c, stop := w.courier(d)
		synctest.Wait()
		for i := range 4 {
			w.mu.Lock()
			w.taker = "M"
			w.mu.Unlock()
			w.ended(fmt.Sprint(i), "a@b.example", custody.Delivered)
			w.look(c)
			synctest.Wait()
		}
		w.mu.Lock()
		w.taker = ""
		w.mu.Unlock()
		w.ended("last", "a@b.example", custody.Delivered)
		w.look(c)
		synctest.Wait()
		stop()
		if got, _ := d.take(); len(got) != 5 {
			t.Errorf("got %q", got)
		}
		if p := w.at("crm"); p.Next != (broker.Mark{Seq: 6}) || p.Node != "N" {
			t.Errorf("kept is %+v", p)
		}
	})
}

// TestCourierBroken: a broker that cannot answer is asked again, and nothing is skipped.
func TestCourierBroken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, d := newWorld(t), &desk{called: "crm", terms_: usual}
		w.fail(errDown)
		c, stop := w.courier(d)
		defer stop()
		if err := c.replay(t.Context(), time.Time{}, time.Time{}); err == nil {
			t.Error("a replay of what is not known")
		}
		if s := c.status(); s.State != "starting" {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute)
		w.fail(nil)
		time.Sleep(time.Minute)
		w.ended("1", "a@b.example", custody.Delivered)
		w.fail(errDown)
		c.journal(broker.Mark{Seq: 1}, broker.Mark{Seq: 2}, true)
		time.Sleep(time.Minute)
		w.fail(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		got, _ := d.take()
		equal(t, "when it answers again", got, "1 delivered")
	})
}
