package delivery

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
)

// lives are the steps of the messages that have ended, by stanza id.
func (w *world) lives() map[string][]custody.Step {
	w.t.Helper()
	rs, err := w.broker.Records(w.t.Context(), "", "", time.Time{}, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	all := make(map[string][]custody.Step)
	for _, r := range rs {
		o, err := custody.DecodeOutcome(r.Data)
		if err != nil {
			w.t.Fatal(err)
		}
		all[o.StanzaID] = o.Timeline()
	}
	return all
}

// TestUnprovenNoted: what was sent to a client that did not prove it says so, with the
// session and the answer, though nothing was stored meanwhile.
func TestUnprovenNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	dead := w.login("alice@localhost/dead", deaf)
	id := w.put(alice, 1)[0]
	dead.wait(t, []string{id})
	w.logout(dead)
	w.login("alice@localhost/alive")
	w.events.wait(t, trace.Delivered, 1)
	var life []custody.Step
	eventually(t, "its record", func() bool { life = w.lives()[id]; return life != nil })
	i := slices.IndexFunc(life, func(s custody.Step) bool { return s.Kind == custody.StepAttempt })
	if i < 0 || life[i].Route != "alice@localhost/dead" || !strings.HasPrefix(life[i].Answer, "not proven: ") {
		t.Errorf("steps %+v", life)
	}
	if last := life[len(life)-1]; last.Route != "alice@localhost/alive" || last.Answer == "" {
		t.Errorf("the end %+v", last)
	}
}

// TestWaitsNoted: the first of those that wait was tried, and the others say why they were
// not.
func TestWaitsNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	ids := w.put(alice, 3)
	w.events.wait(t, trace.Deferred, 3)
	w.login("alice@localhost/a")
	w.events.wait(t, trace.Delivered, 3)
	var lives map[string][]custody.Step
	eventually(t, "their records", func() bool { lives = w.lives(); return len(lives) == 3 })
	tried := 0
	for _, id := range ids {
		life := lives[id]
		if len(life) != 3 || life[1].Answer == "" || life[1].Kind != custody.StepAttempt && life[1].Kind != custody.StepDeferred {
			t.Fatalf("steps %+v", life)
		}
		if life[1].Kind == custody.StepAttempt {
			tried++
		}
	}
	if lives[ids[0]][1].Kind != custody.StepAttempt || lives[ids[0]][1].Route != "alice@localhost" {
		t.Errorf("the first: %+v", lives[ids[0]])
	}
	if tried == 3 {
		t.Error("all were tried, though the first waited")
	}
}

// TestTried: a message has the attempts since it began to wait, and no earlier ones.
func TestTried(t *testing.T) {
	t.Parallel()
	dl := New(Options{Node: "N1"})
	rt := &route{name: "alice@localhost"}
	vain := func(n int, reason string) {
		for range n {
			dl.inVain(rt, reason)
		}
	}
	vain(3, "away")
	parked := time.Now()
	rt.anew = true
	vain(2, "away")
	vain(1, "refused")
	all := Tried(rt.RouteState, time.Time{})
	if len(all) != 3 || all[0].Count != 3 || all[1].Count != 2 || all[2].Answer != "refused" || all[2].Node != "N1" || all[2].Route != "alice@localhost" {
		t.Errorf("all: %+v", all)
	}
	if later := Tried(rt.RouteState, parked); len(later) > 2 && all[0].At.Before(parked.Truncate(time.Microsecond)) || len(later) < 2 || later[len(later)-1].Answer != "refused" {
		t.Errorf("since then: %+v", later)
	}
	if rt.Attempts != 6 || rt.Reason != "refused" {
		t.Errorf("state %+v", rt.RouteState)
	}
}
