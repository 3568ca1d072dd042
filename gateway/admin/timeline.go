package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// story is what became of a message for one recipient, for a person.
type story struct {
	Outcome
	Who   string
	Steps []storyStep
}

// storyStep is one thing that happened to a message.
type storyStep struct {
	Time  time.Time // zero: not known
	Title string
	Facts []fact
}

// fact is a word or two about a step, with what it is.
type fact struct{ Name, Value string }

// storiesOf tells outcomes, the message accepted last before the others.
func storiesOf(outcomes []Outcome) []story {
	var all []story
	for _, o := range slices.Backward(outcomes) {
		all = append(all, story{Outcome: o, Who: cmp.Or(o.JID, o.To), Steps: stepsOf(o)})
	}
	return all
}

// stepsOf are the steps of an outcome, or else those that it tells of itself: a record of
// an older version has none.
func stepsOf(o Outcome) []storyStep {
	if len(o.Steps) == 0 {
		return []storyStep{
			{o.Accepted, "accepted", facts("listener", o.Listener, "from", cmp.Or(o.From, "<>"), "to", o.To)},
			{o.Ended, string(o.Outcome), facts("made from", o.Part, "attempts", fmt.Sprint(o.Attempts), "proof", o.Proof, "why", o.Reason, "node", o.Node)},
		}
	}
	all := make([]storyStep, len(o.Steps))
	for i, s := range o.Steps {
		all[i] = storyStep{s.At, s.Step, facts("name", s.Name, "verdict", s.Verdict, "shadow", map[bool]string{true: "yes"}[s.Shadow], "route", s.Route,
			"peer", s.Peer, "answer", s.Answer, "count", times(s.Count), "until", untold(s.Until), "node", s.Node)}
	}
	return all
}

// times is how often something happened, empty for once.
func times(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// untold is a time for a person, empty for none.
func untold(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(t)
}

// facts are the pairs that say something.
func facts(pairs ...string) (all []fact) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, fact{pairs[i], pairs[i+1]})
		}
	}
	return all
}
