package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// both is a message for to as conversion stores it where its e-mail is kept with it.
func both(t testing.TB, id string, to jid.JID) (custody.Record, broker.Message) {
	t.Helper()
	st := stanza.NewMessage(to, news, stanza.TypeChat, "hello")
	st.ID = id
	body := st.Append(nil, "")
	rec := custody.Record{ID: mcmt.ID(id), From: "news@corp.example", To: mcmt.Recipient{Address: to.Bare().String()},
		Accepted: time.Now(), JID: to, StanzaID: id, Part: "xmpp", Stanza: len(body)}
	msg, err := custody.Deliver(rec, id, append(body, "mail "+id...))
	if err != nil {
		t.Fatal(err)
	}
	return rec, msg
}

// ends are the records of a message.
func (w *world) ends(id, recipient string) (all []custody.End) {
	w.t.Helper()
	rs, err := w.broker.Records(w.t.Context(), id, recipient, time.Time{}, 10)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rs {
		o, err := custody.DecodeOutcome(r.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, o.End)
	}
	return all
}

// TestFallback: the e-mail of what was not delivered in time goes out, of what was
// refused at once, and of what was delivered never. The stanza is not sent any more.
func TestFallback(t *testing.T) {
	t.Parallel()
	w, p := newWorldOf(t, falling(100*time.Millisecond)), new(post)
	w.run()
	w.start(w.mailing(p))
	client := w.login("bob@localhost/b")
	for id, to := range map[string]jid.JID{"away": alice, "there": bob, "nobody": jid.MustParse("nobody@localhost")} {
		_, msg := both(t, id, to)
		w.store(msg)
	}
	w.events.wait(t, trace.Relayed, 2)
	client.expect(t, []string{"there"})
	var got []string
	for _, ids := range p.sent() {
		got = append(got, ids...)
	}
	if slices.Sort(got); !slices.Equal(got, []string{"away", "nobody"}) {
		t.Errorf("mails of %q", got)
	}
	if !slices.Contains(p.bodies, "mail away") {
		t.Errorf("mails %q", p.bodies)
	}
	eventually(t, "one record, of the end", func() bool { return slices.Equal(w.ends("away", "alice@localhost"), []custody.End{custody.Relayed}) })
	eventually(t, "nothing waits", func() bool { return len(w.waiting()) == 0 })
	late := w.login("alice@localhost/a")
	w.put(alice, 1)
	late.expect(t, []string{"m1"})
	if s := w.dl.Stats(); s.FellBack != 2 || s.Failed != 0 || w.dead() != 0 {
		t.Errorf("stats %+v, %d dead", s, w.dead())
	}
}

// TestFallbackUnwilling: the e-mail goes out too where a client is there and refuses.
func TestFallbackUnwilling(t *testing.T) {
	t.Parallel()
	w, p := newWorldOf(t, falling(time.Millisecond)), new(post)
	w.run()
	w.start(w.mailing(p))
	c := w.login("alice@localhost/a")
	close(c.over) // its session has ended, and nobody knows
	_, msg := both(t, "m", alice)
	w.store(msg)
	w.events.wait(t, trace.Relayed, 1)
}

// TestNoFallback: nothing goes out instead where there is no e-mail, or no mail address.
func TestNoFallback(t *testing.T) {
	t.Parallel()
	w, p := newWorldOf(t, falling(time.Millisecond)), new(post)
	w.run()
	w.start(w.mailing(p))
	w.put(jid.MustParse("nobody@localhost"), 1)
	rec, msg := both(t, "phone", jid.MustParse("nobody@localhost"))
	rec.To.Address = "+4915112345678"
	phone, err := custody.Deliver(rec, "phone", msg.Body)
	if err != nil {
		t.Fatal(err)
	}
	w.store(phone)
	eventually(t, "both are dead", func() bool { return w.dead() == 2 })
	if got := p.sent(); len(got) != 0 {
		t.Errorf("sent %q", got)
	}
}

// TestFallbackCrash: a process dies at each moment between the decision and the end of
// the message. The next one sends the e-mail if it was not sent, and never twice.
func TestFallbackCrash(t *testing.T) {
	t.Parallel()
	decided := func(w *world, rec custody.Record) {
		w.record(custody.Outcome{Record: rec, End: custody.Diverted})
	}
	among := func(w *world, rec custody.Record) broker.Message {
		decided(w, rec)
		rec.Origin, rec.Part = rec.Recipient(), "email"
		msg, err := custody.Mail(rec, "d."+string(rec.ID), []byte("mail "+rec.ID))
		if err != nil {
			w.t.Fatal(err)
		}
		w.store(msg)
		return msg
	}
	for name, c := range map[string]struct {
		before func(w *world, rec custody.Record)
		mails  int
	}{
		"before the decision": {func(*world, custody.Record) {}, 1},
		"after the decision":  {decided, 1},
		"among the mail":      {func(w *world, rec custody.Record) { among(w, rec) }, 1},
		"the mail was sent":   {func(w *world, rec custody.Record) { w.record(custody.Outcome{Record: rec, End: custody.Relayed}) }, 0},
		"the mail was refused": {func(w *world, rec custody.Record) {
			decided(w, rec)
			w.record(custody.Outcome{Record: rec, End: custody.Failed})
		}, 1},
		"the stanza was got":     {func(w *world, rec custody.Record) { w.record(custody.Outcome{Record: rec, End: custody.Delivered}) }, 0},
		"an operator dropped it": {func(w *world, rec custody.Record) { w.record(custody.Outcome{Record: rec, End: custody.Dropped}) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, p := newWorldOf(t, falling(time.Millisecond)), new(post)
			rec, msg := both(t, "x", alice)
			park, err := custody.Park(&broker.Delivery{Stage: broker.Deliver, Route: msg.Route, Recipient: msg.Recipient, ID: msg.ID, Header: msg.Header, Body: msg.Body, Seq: 1},
				rec, "away", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			w.store(park)
			c.before(w, rec)
			w.run()
			w.start(w.mailing(p))
			eventually(t, "taken over", func() bool { return len(w.waiting()) == 0 || w.dl.Stats().Parked == 1 })
			eventually(t, "the message has ended", func() bool { w.due(); return len(w.waiting()) == 0 })
			eventually(t, "its mail too", func() bool { return len(p.sent()) == c.mails })
			w.events.wait(t, trace.Relayed, c.mails)
		})
	}
}

// record notes how a message has ended, as a process that died did.
func (w *world) record(o custody.Outcome) {
	w.t.Helper()
	if err := w.broker.Record(w.t.Context(), journal(o)); err != nil {
		w.t.Fatal(err)
	}
}

// mortal is the broker, and the router, of a Delivery that dies: of what it does from
// then on nothing is stored, and nothing reaches a client.
type mortal struct {
	hookedBroker
	dl   *Delivery
	gate gate

	mu    sync.Mutex
	steps int             // until it dies by itself; less than zero: it does not
	half  bool            // it dies between the store of an e-mail and the end of the message
	lost  map[string]bool // what it had in hand then, and had not decided to send as mail
}

var errDead = errors.New("the process is dead")

// mortal makes the Delivery of w one.
func (w *world) mortal(lost map[string]bool) *mortal {
	m := &mortal{hookedBroker: hookedBroker{w.broker, w}, dl: w.dl, gate: gate{Router: w.router}, steps: -1, lost: lost}
	w.dl.broker, w.dl.router = m, &m.gate
	return m
}

// dieWithin has it die before that many more steps are stored, or now.
func (m *mortal) dieWithin(steps int, half bool) {
	m.mu.Lock()
	m.steps, m.half = steps, half
	m.mu.Unlock()
	m.lives(0)
}

// lives says whether it is alive after so many more steps.
func (m *mortal) lives(steps int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.steps > 0 {
		m.steps = max(0, m.steps-steps)
	}
	if m.steps == 0 {
		m.gate.shut()
	}
	return m.steps != 0
}

func (m *mortal) Store(ctx context.Context, msgs ...broker.Message) error {
	if !m.lives(1) {
		return errDead
	}
	return m.hookedBroker.Store(ctx, msgs...)
}

func (m *mortal) Record(ctx context.Context, r broker.Record) error {
	if !m.lives(1) {
		return errDead
	}
	return m.hookedBroker.Record(ctx, r)
}

func (m *mortal) Consume(ctx context.Context, stage broker.Stage, h broker.Handler, o broker.ConsumeOptions) error {
	return m.hookedBroker.Consume(ctx, stage, m.handler(h), o)
}

func (m *mortal) Drain(ctx context.Context, stage broker.Stage, route string, h broker.Handler) (int, error) {
	return m.hookedBroker.Drain(ctx, stage, route, m.handler(h))
}

// handler is h, whose dispositions of a dead process nobody hears of.
func (m *mortal) handler(h broker.Handler) broker.Handler {
	return broker.HandlerFunc(func(ctx context.Context, ds []*broker.Delivery) []broker.Disposition {
		if !m.lives(0) {
			return nil
		}
		out := h.Handle(ctx, ds)
		if m.lives(1) {
			return out
		}
		m.dies(ds, out)
		return nil
	})
}

// dies notes what it had in hand.
func (m *mortal) dies(ds []*broker.Delivery, out []broker.Disposition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, d := range ds {
		rec, err := custody.Read(d)
		switch {
		case err != nil:
			m.w.t.Error(err)
		case !slices.Equal(m.w.ends(string(rec.ID), rec.Recipient()), []custody.End{custody.Diverted}):
			m.lost[string(rec.ID)] = true
		case m.half && i < len(out) && !out[i].Again():
			if msg, err := m.dl.instead(rec, d); err == nil {
				m.w.store(msg)
			}
		}
	}
}

// TestFallbackRaces: clients come and go, prove what they get or not, while the time of
// messages runs out, and processes are restarted or killed between any two of their steps.
// Each message is proven by a client or goes out as mail: never twice as mail, never
// neither, and both only where a process died with the proof in its hands.
func TestFallbackRaces(t *testing.T) {
	t.Parallel()
	w, p := newWorldOf(t, falling(30*time.Millisecond)), new(post)
	lost := make(map[string]bool)
	life := w.mortal(lost)
	stop := w.start(w.dl)
	w.start(w.mailing(p))
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		user := jid.MustParse(fmt.Sprintf("user%d@localhost", round))
		n := rapid.IntRange(1, 4).Draw(rt, "messages")
		var mu sync.Mutex
		proven := make(map[string]int)
		note := func(c *client) {
			c.proved = func(ids []string) {
				mu.Lock()
				defer mu.Unlock()
				for _, id := range ids {
					proven[id]++
				}
			}
		}
		var ids []string
		for i := range n {
			id := fmt.Sprintf("r%d-%d", round, i)
			ids = append(ids, id)
			event := rapid.SampledFrom([]string{"none", "login", "login", "zombie", "restart", "kill", "kill"}).Draw(rt, "event")
			if event == "kill" {
				life.dieWithin(rapid.SampledFrom([]int{1, 2, 3, 4, 5, 6}).Draw(rt, "steps"), rapid.Bool().Draw(rt, "half"))
			}
			_, msg := both(t, id, user)
			w.store(msg)
			if rapid.Bool().Draw(rt, "pause") {
				<-time.After(time.Duration(rapid.IntRange(0, 40).Draw(rt, "ms")) * time.Millisecond)
			}
			switch event {
			case "login":
				w.login(user.String()+"/a", note)
			case "zombie":
				c := w.login(user.String()+"/b", note, deaf)
				<-time.After(10 * time.Millisecond)
				w.logout(c)
			case "kill":
				for range 20 {
					if w.due(); !life.lives(0) {
						break
					}
					<-time.After(4 * time.Millisecond)
				}
				life.dieWithin(0, false)
				fallthrough
			case "restart":
				stop()
				w.renew(w.dl.trace)
				life = w.mortal(lost)
				stop = w.start(w.dl)
			}
		}
		eventually(t, "each message has ended", func() bool {
			w.due() // after a restart it would take until the next look
			mu.Lock()
			defer mu.Unlock()
			life.mu.Lock()
			defer life.mu.Unlock()
			mailed := make(map[string]int)
			for _, m := range p.sent() {
				mailed[m[0]]++
			}
			for _, id := range ids {
				switch {
				case mailed[id] > 1, mailed[id] > 0 && proven[id] > 0 && !lost[id]:
					rt.Fatalf("%s: %d mails, proven %d times", id, mailed[id], proven[id])
				case mailed[id]+proven[id] == 0, lost[id] && mailed[id] == 0 && !slices.Equal(w.ends(id, user.String()), []custody.End{custody.Delivered}):
					return false
				}
			}
			return true
		})
	})
}
