package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
)

// post is a mail server that is made up, and an office that writes reports. It is a
// Carrier and a Reporter.
type post struct {
	delays  []string
	mu      sync.Mutex
	answer  func(run []custody.Letter) (custody.Carried, error) // nil: everything is taken, one by one
	mails   [][]string                                          // ids of the messages of each mail
	bodies  []string
	endings []string // "id end"
}

var errBusy = errors.New("mailbox is busy")

// mailOf is a message for someone's mailbox.
func mailOf(t *testing.T, id, address string) broker.Message {
	t.Helper()
	rec := custody.Record{ID: mcmt.ID(id), From: "news@corp.example", To: mcmt.Recipient{Address: address}, Accepted: time.Now(), Part: "email"}
	msg, err := custody.Mail(rec, id, []byte("mail "+id))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func (p *post) Carry(_ context.Context, run []custody.Letter) (custody.Carried, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, err := custody.Carried{N: 1, Proof: "250 ok"}, error(nil)
	if p.answer != nil {
		c, err = p.answer(run)
	}
	if err == nil && c.Wait == 0 {
		var ids []string
		for _, l := range run[:c.N] {
			ids = append(ids, string(l.ID))
			p.bodies = append(p.bodies, string(l.Body))
		}
		p.mails = append(p.mails, ids)
	}
	return c, err
}

func (p *post) answers(f func(run []custody.Letter) (custody.Carried, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// Report makes a report of each failure, and of each success where that is wanted.
func (p *post) Report(_ context.Context, l custody.Letter, e custody.Ending) ([]broker.Message, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endings = append(p.endings, fmt.Sprintf("%s %s", l.ID, e.End))
	if l.From == "" || e.Err == nil && !slices.Contains(l.To.Notify, "SUCCESS") {
		return nil, l.Author != ""
	}
	rec := custody.Record{ID: l.ID + "-report", To: mcmt.Recipient{Address: l.From}, Accepted: time.Now(), Part: "email"}
	msg, err := custody.Mail(rec, l.Key+".report", []byte("report"))
	if err != nil {
		panic(err)
	}
	return []broker.Message{msg}, false
}

func (p *post) sent() [][]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.mails)
}

// mailing is a delivery of mail beside that of stanzas.
func (w *world) mailing(p *post) *Delivery {
	bus := new(trace.Bus)
	bus.Subscribe(w.events.add)
	return New(Options{Broker: hookedBroker{w.broker, w}, Carrier: p, Reporter: p, States: w.states, Outgoing: w.outgoing, Exchange: w.broker, Trace: bus, Log: zerolog.Nop(), Node: "here"})
}

// start runs a Delivery until the end of the test, or until it is stopped.
func (w *world) start(dl *Delivery) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- dl.Run(ctx, broker.ConsumeOptions{}) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// TestMail: mail goes out in its order, and its end is recorded with the answer.
func TestMail(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), new(post)
	dl := w.mailing(p)
	w.start(dl)
	for i := range 5 {
		w.store(mailOf(t, fmt.Sprintf("m%d", i), "bob@Corp.example"))
	}
	w.events.wait(t, trace.Relayed, 5)
	if got := fmt.Sprint(p.sent()); got != "[[m0] [m1] [m2] [m3] [m4]]" {
		t.Errorf("sent %s", got)
	}
	eventually(t, "a record", func() bool {
		rs, err := w.broker.Records(t.Context(), "m4", "mailto:bob@corp.example", time.Time{}, 10)
		if err != nil || len(rs) == 0 {
			return false
		}
		o, err := custody.DecodeOutcome(rs[0].Data)
		return err == nil && o.End == custody.Relayed && o.Proof == "250 ok" && o.Address == "mailto:bob@corp.example"
	})
	if s := dl.Stats(); s.Relayed != 5 || s.Failed != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestMailLater: what a server does not take now waits in PARK, as that of its recipient
// alone; delivery of stanzas has nothing to do with it.
func TestMailLater(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), new(post)
	w.states = &memory{states: make(map[string]store.RouteState)} // else the next owner tries at once
	p.answers(func(run []custody.Letter) (custody.Carried, error) {
		if run[0].To.Address == "bob@corp.example" {
			return custody.Carried{N: 1}, errBusy
		}
		return custody.Carried{N: 1}, nil
	})
	dl := w.mailing(p)
	stop := w.start(dl)
	w.run()
	w.store(mailOf(t, "m0", "bob@corp.example"))
	w.events.wait(t, trace.Deferred, 1)
	w.store(mailOf(t, "m1", "bob@corp.example"))
	w.store(mailOf(t, "m2", "eve@corp.example"))
	w.events.wait(t, trace.Relayed, 1)
	eventually(t, "both wait", func() bool { return w.waiting()["mailto:bob@corp.example"] == 2 })
	if n := w.dl.Stats().ParkedRoutes; n != 0 {
		t.Errorf("delivery of stanzas knows of %d routes", n)
	}
	// Another process takes over what waits, and an operator has it tried.
	stop()
	p.answers(nil)
	dl = w.mailing(p)
	w.start(dl)
	eventually(t, "taken over", func() bool { return dl.Stats().Parked == 2 })
	eventually(t, "tried", func() bool {
		n, err := dl.Retry(t.Context(), []string{"mailto:bob@corp.example"})
		return err == nil && n == 2 || dl.Stats().Relayed == 2
	})
	w.events.wait(t, trace.Relayed, 3)
	if got := fmt.Sprint(p.sent()); got != "[[m2] [m0] [m1]]" {
		t.Errorf("sent %s", got)
	}
}

// TestMailRefused: what a server refuses for good, and what brings out a bug of ours, is
// dead, its author is told, and what is behind it goes on.
func TestMailRefused(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), new(post)
	p.answers(func(run []custody.Letter) (custody.Carried, error) {
		switch {
		case strings.HasSuffix(string(run[0].ID), "-refused"):
			return custody.Carried{N: 1}, &mcmt.Refusal{Code: 550, Enhanced: [3]int{5, 1, 1}, Text: "no such user"}
		case strings.HasSuffix(string(run[0].ID), "-bug"):
			panic("bug")
		}
		return custody.Carried{N: 1}, nil
	})
	w.start(w.mailing(p))
	for _, id := range []string{"m0", "m1-refused", "m2-bug", "m3"} {
		w.store(mailOf(t, id, "bob@corp.example"))
	}
	w.events.wait(t, trace.Failed, 2)
	w.events.wait(t, trace.Relayed, 4) // two reports
	eventually(t, "dead", func() bool { return w.dead() == 2 })
	if got := p.sent(); len(got) != 4 || !slices.ContainsFunc(got, func(ids []string) bool { return ids[0] == "m1-refused-report" }) {
		t.Errorf("sent %q", got)
	}
}

// TestMailJoins: a message that is to wait for others is given again with them, also when
// it has waited in PARK, and no failure is made of it.
func TestMailJoins(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), new(post)
	p.answers(func(run []custody.Letter) (custody.Carried, error) {
		if len(run) < 3 {
			return custody.Carried{N: 1, Wait: 10 * time.Millisecond}, nil
		}
		return custody.Carried{N: 3, Proof: "250"}, nil
	})
	dl := w.mailing(p)
	w.start(dl)
	for i := range 3 {
		w.store(mailOf(t, fmt.Sprintf("m%d", i), "bob@corp.example"))
	}
	w.events.wait(t, trace.Relayed, 3)
	if got := fmt.Sprint(p.sent()); got != "[[m0 m1 m2]]" {
		t.Errorf("sent %s", got)
	}
	if s := dl.Stats(); s.Deferred != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestReports: who wants to hear of success does, and who wrote in Jabber hears of failure
// there, so that his message is not among the dead.
func TestReports(t *testing.T) {
	t.Parallel()
	w, p := newWorld(t), new(post)
	p.answers(func(run []custody.Letter) (custody.Carried, error) {
		if run[0].Author != "" {
			return custody.Carried{N: 1}, &mcmt.Refusal{Code: 550, Text: "no"}
		}
		return custody.Carried{N: 1, Proof: "250"}, nil
	})
	w.start(w.mailing(p))
	for _, rec := range []custody.Record{
		{ID: "wanted", From: "news@corp.example", To: mcmt.Recipient{Address: "a@corp.example", Notify: []string{"SUCCESS"}}},
		{ID: "jabber", Author: "alice@localhost/a", To: mcmt.Recipient{Address: "b@corp.example"}},
	} {
		rec.Accepted = time.Now()
		msg, err := custody.Mail(rec, string(rec.ID), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		w.store(msg)
	}
	w.events.wait(t, trace.Relayed, 2)
	w.events.wait(t, trace.Failed, 1)
	if got := fmt.Sprint(p.sent()); got != "[[wanted] [wanted-report]]" {
		t.Errorf("sent %s", got)
	}
	if n := w.dead(); n != 0 {
		t.Errorf("%d dead", n)
	}
}

// falling is how messages are sent where their e-mail goes out after so long.
func falling(after time.Duration) func(string) config.Outgoing {
	return func(string) config.Outgoing {
		out := patientOutgoing("")
		out.Fallback, out.FallbackAfter = true, after
		return out
	}
}
