package delivery

import (
	"errors"
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
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/xmpp/stanza"
)

// Delayed makes a report of a delay.
func (p *post) Delayed(l custody.Letter, err error, until time.Time) []broker.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delays = append(p.delays, fmt.Sprintf("%s: %v, tried for %d minutes", l.ID, err, int(until.Sub(l.Accepted).Minutes())))
	rec := custody.Record{ID: l.ID + "-delayed", To: mcmt.Recipient{Address: l.From}, Accepted: time.Now(), Part: "email"}
	msg, bad := custody.Mail(rec, l.Key+".delayed", []byte("report"))
	if bad != nil {
		panic(bad)
	}
	return []broker.Message{msg}
}

func (p *post) delayed() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.delays)
}

// putAsking stores a message whose author wants to hear of some outcomes.
func (w *world) putAsking(id string, age time.Duration, notify ...string) {
	w.t.Helper()
	st := stanza.NewMessage(alice, news, stanza.TypeChat, id)
	st.ID = id
	rec := custody.Record{ID: mcmt.ID(id), From: "news@corp.example", To: mcmt.Recipient{Address: "alice@localhost", Notify: notify},
		Accepted: time.Now().Add(-age), JID: alice, StanzaID: id, Part: "xmpp"}
	msg, err := custody.Deliver(rec, id, st.Append(nil, ""))
	if err != nil {
		w.t.Fatal(err)
	}
	w.store(msg)
}

// TestWarn: who has asked for it hears once that a message waits, when it has waited for
// long; others do not, and what becomes of the message stays as it was.
func TestWarn(t *testing.T) {
	t.Parallel()
	outgoing := func(string) config.Outgoing {
		out := patientOutgoing("")
		out.Expiration, out.DelayWarning = 2*time.Hour, time.Hour
		return out
	}
	w := newWorldOf(t, outgoing)
	p := new(post)
	w.states = &memory{states: make(map[string]store.RouteState)}
	reporting := func() {
		bus := new(trace.Bus)
		bus.Subscribe(w.events.add)
		w.dl = New(Options{Broker: hookedBroker{w.broker, w}, Router: hookedRouter{w}, States: w.states, Reporter: p, Outgoing: outgoing, Trace: bus, Log: zerolog.Nop(), Node: "here"})
	}
	reporting()
	stop := w.run()
	w.putAsking("old", 90*time.Minute, "DELAY", "FAILURE")
	w.putAsking("unasked", 90*time.Minute)
	w.putAsking("unwanted", 90*time.Minute, "FAILURE")
	w.putAsking("old too", 80*time.Minute, "DELAY")
	w.putAsking("young", time.Minute, "DELAY")
	w.events.wait(t, trace.Deferred, 5)
	w.due()
	const why = "recipient has no available resource"
	want := []string{"old: " + why + ", tried for 120 minutes", "old too: " + why + ", tried for 120 minutes"}
	eventually(t, "two are told", func() bool { return slices.Equal(p.delayed(), want) })
	eventually(t, "the next one has its time", func() bool {
		w.dl.mu.Lock()
		defer w.dl.mu.Unlock()
		at := w.dl.routes["alice@localhost"].Warn
		return time.Until(at) > 50*time.Minute && time.Until(at) < time.Hour
	})
	w.putAsking("older", 100*time.Minute, "DELAY")
	w.events.wait(t, trace.Deferred, 6)
	w.due()
	eventually(t, "nobody twice", func() bool { return slices.Equal(p.delayed(), want) }) // what came later waits for those before it
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	// Another process has its place.
	reporting()
	w.run()
	w.due()
	eventually(t, "another attempt", func() bool {
		w.dl.mu.Lock()
		defer w.dl.mu.Unlock()
		rt := w.dl.routes["alice@localhost"]
		return rt != nil && rt.Next.After(time.Now())
	})
	if got := p.delayed(); !slices.Equal(got, want) {
		t.Errorf("told %q", got)
	}
	w.login("alice@localhost/a").expect(t, []string{"old", "unasked", "unwanted", "old too", "young", "older"})
	w.idle()
}

// forgetWarning makes a warning that was put off due.
func (w *world) forgetWarning(name string) {
	rt := w.dl.lock(name)
	w.dl.mu.Lock()
	rt.Warn = time.Now()
	w.dl.mu.Unlock()
	w.dl.unlock(rt)
}

// TestWarnLater: while the report cannot be stored the author is told later.
func TestWarnLater(t *testing.T) {
	t.Parallel()
	w := newWorldOf(t, func(string) config.Outgoing {
		out := patientOutgoing("")
		out.Expiration, out.DelayWarning = 2*time.Hour, time.Hour
		return out
	})
	p := new(post)
	w.dl.o.Reporter = p
	var full atomic.Bool
	w.hooks.store = func(msgs []broker.Message, store func() error) error {
		if full.Load() && strings.HasSuffix(msgs[0].ID, ".delayed") {
			return errors.New("no room")
		}
		return store()
	}
	w.run()
	w.putAsking("old", 90*time.Minute, "DELAY")
	w.events.wait(t, trace.Deferred, 1)
	full.Store(true)
	w.due()
	eventually(t, "an attempt", func() bool { return len(p.delayed()) == 1 })
	full.Store(false)
	w.forgetWarning("alice@localhost")
	eventually(t, "it is told", func() bool {
		w.due()
		return len(p.delayed()) > 1
	})
	w.login("alice@localhost/a").expect(t, []string{"old"})
}
