package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
)

func always() bool { return true }

// deferring has the Deliveries of a world record deferrals.
func (w *world) deferring() {
	bus := new(trace.Bus)
	bus.Subscribe(w.events.add)
	w.dl = New(Options{Broker: hookedBroker{w.broker, w}, Router: hookedRouter{w}, Outgoing: w.outgoing, Deferrals: always, Trace: bus, Log: zerolog.Nop(), Node: "here"})
}

// told is what the journal has, in the order in which it was written.
func (w *world) told() (all []custody.Outcome) {
	w.t.Helper()
	first, _, err := w.broker.JournalEnds(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	records, err := w.broker.RecordsFrom(w.t.Context(), first, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		o, err := custody.DecodeOutcome(r.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

func (w *world) deferrals() (all []custody.Outcome) {
	return slices.DeleteFunc(w.told(), func(o custody.Outcome) bool { return o.End != custody.Deferred })
}

// TestDeferral: that a message waits is recorded once, before it ends, however often it is
// tried and whoever owns it; a store that fails in between changes nothing.
func TestDeferral(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deferring()
	var failed atomic.Bool
	w.hooks.store = func(msgs []broker.Message, store func() error) error {
		if msgs[0].Stage == broker.Park && !failed.Swap(true) {
			return fmt.Errorf("no room: %w", broker.ErrFull)
		}
		return store()
	}
	stop := w.run()
	w.put(alice, 3)
	w.events.wait(t, trace.Deferred, 3)
	for try := 2; try <= 4; try++ {
		w.due()
		eventually(t, "another attempt", func() bool {
			w.dl.mu.Lock()
			defer w.dl.mu.Unlock()
			return w.dl.routes["alice@localhost"].Attempts == try
		})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.deferring()
	w.run()
	w.put(alice, 1)
	w.events.wait(t, trace.Deferred, 4)
	client := w.login("alice@localhost/a")
	client.expect(t, []string{"m1", "m2", "m3", "m4"})
	eventually(t, "four ends", func() bool { return len(w.told()) == 8 })
	seen := make(map[string][]custody.End)
	for _, o := range w.told() {
		seen[string(o.ID)] = append(seen[string(o.ID)], o.End)
		switch {
		case o.End == custody.Delivered:
		case o.Why != "recipient has no available resource" && o.Why != "earlier messages wait", !o.Next.IsZero(), o.Ended.Before(o.Accepted), o.Address != "alice@localhost", o.Node != "here":
			t.Errorf("recorded is %+v", o)
		}
	}
	for id, ends := range seen {
		if !slices.Equal(ends, []custody.End{custody.Deferred, custody.Delivered}) {
			t.Errorf("%s: %v", id, ends)
		}
	}
}

// TestDeferralUnwanted: where nobody asks for it nothing is recorded.
func TestDeferralUnwanted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.put(alice, 1)
	w.events.wait(t, trace.Deferred, 1)
	if got := w.told(); len(got) != 0 {
		t.Errorf("recorded is %+v", got)
	}
}

// TestDeferralFirst: a journal that does not answer has the message parked later, and not
// in silence; one that refuses the record does not hold it up.
func TestDeferralFirst(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err  error
		want int
	}{
		{broker.ErrUnavailable, 1},
		{broker.ErrInvalid, 0},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.deferring()
			w.dl.broker = &failingJournal{Broker: w.dl.broker, err: tc.err}
			w.run()
			w.put(alice, 1)
			w.events.wait(t, trace.Deferred, 1)
			if got := w.deferrals(); len(got) != tc.want {
				t.Errorf("recorded is %+v", got)
			}
		})
	}
}

// failingJournal fails once.
type failingJournal struct {
	Broker
	failed atomic.Bool
	err    error
}

func (b *failingJournal) Record(ctx context.Context, r broker.Record) error {
	if !b.failed.Swap(true) {
		return b.err
	}
	return b.Broker.Record(ctx, r)
}

// TestDeferralOfMail: it says when the mail is tried again. An e-mail that takes the place
// of a message that has waited waits in silence.
func TestDeferralOfMail(t *testing.T) {
	t.Parallel()
	var after atomic.Int64 // when mail goes out instead
	after.Store(int64(time.Hour))
	w, p := newWorldOf(t, func(domain string) config.Outgoing { return falling(time.Duration(after.Load()))(domain) }), new(post)
	w.deferring()
	p.answers(func([]custody.Letter) (custody.Carried, error) { return custody.Carried{}, errBusy })
	w.run()
	mail := w.mailing(p)
	mail.o.Deferrals = always
	w.start(mail)
	before := time.Now()
	w.store(mailOf(t, "own", "bob@corp.example"))
	w.events.wait(t, trace.Deferred, 1)
	_, msg := both(t, "instead", alice)
	w.store(msg)
	w.events.wait(t, trace.Deferred, 2)
	after.Store(0)
	w.dl.lock("alice@localhost").expires = time.Time{} // it was an hour
	w.dl.unlock(w.dl.current("alice@localhost"))
	w.due()
	w.events.wait(t, trace.Deferred, 3)
	var got []string
	for _, o := range w.deferrals() {
		got = append(got, string(o.ID)+" "+o.Address)
		if o.ID == "own" && (!strings.Contains(o.Why, errBusy.Error()) || o.Next.Before(before) || o.Next.After(time.Now().Add(w.outgoing("").RetryInterval))) {
			t.Errorf("recorded is %+v", o)
		}
	}
	if want := []string{"own mailto:bob@corp.example", "instead alice@localhost"}; !slices.Equal(got, want) {
		t.Errorf("recorded are %q, want %q", got, want)
	}
	p.answers(nil)
}
