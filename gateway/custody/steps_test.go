package custody

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/filters"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

// TestSteps: what is written is read again, each step with the node that it was on.
func TestSteps(t *testing.T) {
	t.Parallel()
	all := []Step{
		{At: noon, Kind: StepAccepted, Node: "N1"},
		{At: noon, Kind: StepConverted, Node: "N2", Name: "smpp"},
		{At: noon.Add(time.Microsecond), Kind: StepFilter, Node: "N2", Name: "a;b|c~7C", Verdict: "drop", Shadow: true, Answer: "<é> & \"\\\" \x00"},
		{At: noon, Kind: StepAttempt, Node: "N1", Route: `bob\40corp@mail.localhost/x`, Answer: "away", Count: 3, Until: noon.Add(time.Hour)},
		{At: noon, Kind: StepReported, Node: "N1", Name: "q2", Verdict: "failed", Route: "a@b", Peer: "p"},
	}
	s := Steps("").With(all[:2]...).With(all[2:]...)
	if got := s.All(); !reflect.DeepEqual(got, all) {
		t.Errorf("got  %+v\nwant %+v\nfrom %s", got, all, s)
	}
	if n := plain(string(s)); n != len(s) {
		t.Errorf("%q has to be escaped in JSON", s[n:])
	}
	if n := strings.Count(string(s), ";n="); n != 3 {
		t.Errorf("%d nodes are written, want one for each change: %s", n, s)
	}
	if n := Tries(all); n != 3 {
		t.Errorf("%d tries", n)
	}
}

// TestStepsCounted: attempts with one answer are one step, with the first and the last
// time; another answer, step or node begins another.
func TestStepsCounted(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	try := func(n int, node, answer string) Step {
		return Step{At: at(n), Kind: StepAttempt, Node: node, Route: "r", Answer: answer}
	}
	long := strings.Repeat("é", 400)
	s := Begun(noon, "N1").With(try(1, "N1", "away")).With(try(2, "N1", "away"), try(3, "", "away"))
	s = s.With(try(4, "N1", long), try(5, "N1", long)).With(try(6, "N2", long))
	s = s.With(Step{At: at(7), Kind: StepAttempt, Node: "N2", Route: "r", Answer: long, Count: 4, Until: at(9)})
	s = s.With(Step{At: at(10), Kind: StepStored}, Step{At: at(11), Kind: StepStored})
	type brief struct {
		node        string
		count       int
		from, until time.Time
	}
	var got []brief
	for _, step := range s.All() {
		got = append(got, brief{step.Node, step.Count, step.At, step.Until})
	}
	want := []brief{{"N1", 0, noon, time.Time{}}, {"N1", 3, at(1), at(3)}, {"N1", 2, at(4), at(5)}, {"N2", 5, at(6), at(9)}, {"N2", 0, at(10), time.Time{}}, {"N2", 0, at(11), time.Time{}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestStepsBounded: however much becomes of a message its record stays small; the first
// steps and the last are kept, and the others are counted.
func TestStepsBounded(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"short": "a", "long": strings.Repeat("\x00", 1000)} {
		s := Begun(noon, "N1")
		for i := range 1000 {
			s = s.With(Step{At: noon.Add(time.Duration(i) * time.Second), Kind: StepAttempt, Node: fmt.Sprint("N", i%2), Name: text, Route: text, Answer: fmt.Sprint(i, text)})
			if len(s) > maxStepBytes || strings.Count(string(s), "|") > maxSteps {
				t.Fatalf("%s: %d bytes after %d", name, len(s), i)
			}
		}
		all, left, seen := s.All(), 0, 0
		for _, step := range all {
			if step.Kind == StepOmitted {
				left += step.Count
			} else {
				seen++
			}
		}
		if last := all[len(all)-1]; all[0].Kind != StepAccepted || !strings.HasPrefix(last.Answer, "999") || last.Node != "N1" || left+seen != 1001 || left == 0 {
			t.Errorf("%s: %d steps and %d left out: %+v", name, seen, left, all)
		}
	}
}

// TestTimeline: the life of a message from its record, also of one that was accepted by a
// version without steps.
func TestTimeline(t *testing.T) {
	t.Parallel()
	kinds := func(all []Step) (s string) {
		for _, step := range all {
			s += string(step.Kind) + " "
		}
		return s
	}
	old := full()
	old.Steps = ""
	if got := kinds(old.Timeline()); got != "accepted deferred revived " {
		t.Errorf("an old one: %s", got)
	}
	o := Outcome{Record: full(), End: Delivered, Proof: "ack", Ended: noon, Node: "N9", Via: "a@b/c"}
	all := o.Timeline()
	end := Step{At: noon, Kind: "delivered", Node: "N9", Route: "a@b/c", Answer: "ack"}
	if kinds(all) != "accepted stored delivered " || all[0].Name != o.Listener || all[0].Peer != o.Peer || all[2] != end {
		t.Errorf("%+v", all)
	}
}

// TestStored: the stage that reads a message first notes when the broker got it; not the
// stages after it, and not what lies among the dead.
func TestStored(t *testing.T) {
	t.Parallel()
	r := full()
	r.Steps = Begun(noon, "N1")
	m, err := Ingest(r, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := handed(m)
	d.Stored = noon.Add(time.Second)
	read := func() Record {
		t.Helper()
		got, err := Read(d)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	want := r.Steps.With(Step{At: d.Stored, Kind: StepStored})
	if got := read(); got.Steps != want {
		t.Errorf("steps %s, want %s", got.Steps, want)
	}
	Note(d, Step{At: noon.Add(time.Minute), Kind: StepAttempt, Answer: "away"})
	d.Stored = noon.Add(time.Hour)
	if got := read().Steps.All(); len(got) != 3 || got[2].Answer != "away" {
		t.Errorf("noted: %+v", got)
	}
	if m, err = Ingest(r, 0, nil); err != nil {
		t.Fatal(err)
	}
	d = handed(m)
	d.Stage, d.Stored = broker.Dead, noon
	if got := read(); got.Steps != r.Steps {
		t.Errorf("among the dead: %s", got.Steps)
	}
}

// TestReviveSteps: what is sent on its way again says that it had died, and why.
func TestReviveSteps(t *testing.T) {
	t.Parallel()
	m, err := Deliver(full(), "q1.0", []byte("body"))
	if err != nil {
		t.Fatal(err)
	}
	for reason, kind := range map[string]StepKind{"refused: no": "failed", "expired: on its way for too long": "expired"} {
		p := &broker.Peeked{Delivery: *handed(m), Reason: reason, Died: noon, From: broker.Deliver, FromID: "d.q1.0"}
		p.Stage = broker.Dead
		again, err := Revive(noon.Add(time.Hour))(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(handed(again))
		all := got.Steps.All()
		if err != nil || len(all) != 4 || all[2].Kind != kind || all[2].Answer != reason || !all[2].At.Equal(noon) || all[3].Kind != StepRevived {
			t.Errorf("%+v, %v", all, err)
		}
	}
}

// TestVerdicts: a filter without an opinion has let it pass.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	got := Verdicts(noon, []filters.Applied{{Filter: "f", Verdict: filters.Verdict{Reason: "why"}}, {Filter: "g", Verdict: filters.Verdict{Action: filters.Drop}, Shadow: true}})
	want := []Step{{At: noon, Kind: StepFilter, Name: "f", Verdict: "pass", Answer: "why"}, {At: noon, Kind: StepFilter, Name: "g", Verdict: "drop", Shadow: true}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
}

// FuzzSteps: whatever stands there is read, and what was read is written within the bounds
// so that it is read the same.
func FuzzSteps(f *testing.F) {
	f.Add(string(full().Steps), "answer", 3)
	f.Add("accepted;|;a=~zz;c=-1;u=|x;zzzzzzzzzzzzzz;n=~00", "\xff~;|", -1)
	f.Fuzz(func(t *testing.T, text, answer string, count int) {
		s := Steps("").With(Steps(text).All()...).With(Step{At: noon, Kind: StepAttempt, Answer: answer, Count: count, Node: answer})
		if len(s) > maxStepBytes+3*maxStepText || plain(string(s)) != len(s) {
			t.Fatalf("%d bytes, %d of them plain", len(s), plain(string(s)))
		}
		again := Steps("").With(s.All()...)
		if third := Steps("").With(again.All()...); third != again {
			t.Errorf("%q became %q", again, third)
		}
	})
}

func BenchmarkWith(b *testing.B) {
	begun := Begun(noon, "ABCDEFGHIJKLMNOPQRSTUVWXYZ").With(Step{At: noon, Kind: StepStored})
	next := []Step{{At: noon, Kind: StepConverted, Node: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Name: "smpp"}, {At: noon, Kind: StepFilter, Name: "chat-states", Verdict: "pass", Answer: "has a body"}}
	b.ReportAllocs()
	for b.Loop() {
		_ = begun.With(next...)
	}
}
