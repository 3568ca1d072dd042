package filters

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

func from(sender, mail string) *Item {
	return &Item{Stanza: stanza.NewMessage(jid.MustParse("juliet@capulet.lit"), jid.MustParse(sender), stanza.TypeChat, "hi"), Sender: mail}
}

// TestRate: so many of one sender at once, and then one for each part of the time.
func TestRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newRate("flood", 3, 6*time.Second, Defer)
		for i, step := range []struct {
			wait         time.Duration
			sender, mail string
			want         Action
		}{
			{0, "romeo@montague.lit/a", "", Continue},
			{0, "romeo@montague.lit/b", "", Continue}, // another device of the same sender
			{0, "romeo@montague.lit/a", "", Continue},
			{0, "romeo@montague.lit/a", "", Defer},
			{0, "mercutio@montague.lit/a", "", Continue}, // another sender
			{1999 * time.Millisecond, "romeo@montague.lit/a", "", Defer},
			{time.Millisecond, "romeo@montague.lit/a", "", Continue}, // those that were refused did not count
			{0, "romeo@montague.lit/a", "", Defer},
			{6 * time.Second, "romeo@montague.lit/a", "", Continue}, // all of them are back
			{0, "romeo@montague.lit/a", "", Continue},
			{0, "romeo@montague.lit/a", "", Continue},
			{0, "romeo@montague.lit/a", "", Defer},
			// Mail addresses are told apart, though they come from one JID, and not by how
			// they are spelt.
			{0, "romeo@montague.lit", "a@corp.example", Continue},
			{0, "romeo@montague.lit", "b@corp.example", Continue},
			{0, "romeo@montague.lit", "A@Corp.example", Continue},
			{0, "romeo@montague.lit", "a@corp.example", Continue},
			{0, "romeo@montague.lit", "a@corp.EXAMPLE", Defer},
		} {
			time.Sleep(step.wait)
			v, err := f.Apply(t.Context(), from(step.sender, step.mail))
			if err != nil || v.Action != step.want {
				t.Errorf("step %d: %+v, %v, want %s", i, v, err, step.want)
			}
		}
		presence := &Item{Stanza: stanza.NewPresence(jid.MustParse("a@b"), jid.MustParse("romeo@montague.lit/a"), "")}
		if v, _ := f.Apply(t.Context(), presence); v.Action != Continue {
			t.Errorf("presence counts: %+v", v)
		}
	})
}

// TestRateIsKept: whatever the rate and the times, a sender gets no more through
// than the rate at once and one for each part of the time since.
func TestRateIsKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 20).Draw(t, "count")
		per := time.Duration(rapid.IntRange(1, 30).Draw(t, "per")) * time.Second
		f := newRate("flood", count, per, Drop)
		start := time.Unix(1e9, 0)
		now, passed := start, 0
		for _, wait := range rapid.SliceOfN(rapid.IntRange(0, 5000), 1, 200).Draw(t, "waits") {
			now = now.Add(time.Duration(wait) * time.Millisecond)
			if f.allow("a", now) {
				passed++
			}
			if most := count + int(now.Sub(start)/(per/time.Duration(count))); passed > most {
				t.Fatalf("%d after %s, at most %d in %s", passed, now.Sub(start), count, per)
			}
		}
		if passed == 0 {
			t.Fatal("nothing passes")
		}
	})
}

// TestRateIsBounded: any number of senders costs bounded memory, and the latest are
// remembered.
func TestRateIsBounded(t *testing.T) {
	t.Parallel()
	f := newRate("flood", 1, time.Hour, Drop)
	now, last := time.Now(), ""
	for i := range 2*maxSenders + 10 {
		last = fmt.Sprintf("romeo%d@montague.lit", i)
		if !f.allow(last, now) {
			t.Fatalf("sender %d is not known and yet too fast", i)
		}
		if n := len(f.young) + len(f.old); n > maxSenders {
			t.Fatalf("%d senders are remembered, more than %d", n, maxSenders)
		}
	}
	if f.allow(last, now) {
		t.Error("the latest sender was forgotten")
	}
}
