package admin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
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

// stepsOf are the steps that an outcome lists, or else those that it tells of.
func stepsOf(o Outcome) []storyStep {
	var listed struct {
		Steps []map[string]any `json:"steps"`
	}
	if err := json.Unmarshal(encoded(o), &listed); err == nil && len(listed.Steps) > 0 {
		all := make([]storyStep, len(listed.Steps))
		for i, s := range listed.Steps {
			all[i] = anyStep(s)
		}
		return all
	}
	accepted := storyStep{o.Accepted, "accepted", facts("listener", o.Listener, "from", cmp.Or(o.From, "<>"), "to", o.To)}
	end := storyStep{o.Ended, o.Outcome, facts("made from", o.Part, "attempts", fmt.Sprint(o.Attempts), "proof", o.Proof, "why", o.Reason, "node", o.Node)}
	return []storyStep{accepted, end}
}

// The fields of a step that say what happened and when, the first that is there; and
// those that are told before the others.
var (
	stepTitles = []string{"step", "stage", "event", "outcome"}
	stepTimes  = []string{"at", "time"}
	stepFirst  = []string{"name", "verdict", "shadow", "route", "peer", "answer", "reason"}
)

// anyStep tells a step by its fields, whichever they are.
func anyStep(fields map[string]any) (s storyStep) {
	take := func(names []string) string {
		for _, name := range names {
			if text, ok := fields[name].(string); ok && text != "" {
				delete(fields, name)
				return text
			}
		}
		return ""
	}
	s.Title = take(stepTitles)
	s.Time, _ = time.Parse(time.RFC3339Nano, take(stepTimes)) // zero where it says none
	names := slices.Sorted(maps.Keys(fields))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(place(a), place(b)) })
	for _, name := range names {
		s.Facts = append(s.Facts, facts(strings.ReplaceAll(name, "_", " "), worded(fields[name]))...)
	}
	return s
}

// place is that of a fact among those of a step.
func place(name string) int {
	if i := slices.Index(stepFirst, name); i >= 0 {
		return i
	}
	return len(stepFirst)
}

// worded is a value of JSON for a person, empty for nothing.
func worded(value any) string {
	switch v := value.(type) {
	case string:
		if t, err := time.Parse(time.RFC3339Nano, v); err == nil {
			return stamp(t)
		}
		return v
	case bool:
		return map[bool]string{true: "yes"}[v]
	}
	return string(encoded(value))
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
