package custody

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mcmt2xmpp/filters"
)

// StepKind is what a Step is about: one of these, or, of the last step of a message that
// has ended, its End.
type StepKind string

// The kinds, in the order in which most messages go through them.
const (
	StepAccepted  StepKind = "accepted"  // taken from whoever sent it: Name is the listener, Peer who that was
	StepStored    StepKind = "stored"    // the broker has it
	StepConverted StepKind = "converted" // it became a stanza: Name is the part that was made of
	StepFilter    StepKind = "filter"    // a filter has judged it: Name, Verdict, Shadow, Answer
	StepAttempt   StepKind = "attempt"   // it was sent and did not arrive: Route, Answer
	StepDeferred  StepKind = "deferred"  // it waits without having been tried: Answer
	StepRerouted  StepKind = "rerouted"  // a script sends it elsewhere: Name is the script, Route where
	StepDiverted  StepKind = "diverted"  // its e-mail goes out instead: Answer
	StepReported  StepKind = "reported"  // its author is told: Verdict is what, Name the id of the report, Route who
	StepRevived   StepKind = "revived"   // an operator has sent it on its way once more
	StepOmitted   StepKind = "omitted"   // in place of Count steps, because there were too many
)

// Step is one step in the life of a message for one recipient. Fields that say nothing
// of its kind are empty.
type Step struct {
	At      time.Time
	Kind    StepKind
	Node    string // the process; empty: not known
	Name    string // see the kinds
	Peer    string
	Verdict string
	Shadow  bool   // the verdict did not count
	Route   string // where it was sent to: full JIDs of sessions, or a route
	Answer  string // what came back, or why
	Count   int    // how many such steps in a row had the same answer; zero: one
	Until   time.Time
}

// Steps is what has become of a message so far, in the form in which it rides in the
// record from stage to stage: `kind;time;key=value;…|…`, time in microseconds since 1970
// to the base of 36. It is text that needs no escape in JSON, so that a stage which adds
// a step does not take those before it apart. The zero value has none.
type Steps string

// The bounds of Steps. What is too much is left out between the first and the last.
const (
	maxSteps     = 32
	firstSteps   = 12      // are kept
	maxStepBytes = 4 << 10 // of all together
	maxStepText  = 240     // bytes of one text, as it is written
)

// Begun are the steps of a message that a process has just taken.
func Begun(at time.Time, node string) Steps {
	return Steps("").With(Step{At: at, Kind: StepAccepted, Node: node})
}

// With returns the steps with others behind them. An attempt or deferral with the same
// answer as the one before it is counted there.
func (s Steps) With(more ...Step) Steps { return s.with(true, more) }

// Apart is With that counts nothing with what was before.
func (s Steps) Apart(more ...Step) Steps { return s.with(false, more) }

func (s Steps) with(joined bool, more []Step) Steps {
	b := make([]byte, len(s), len(s)+96*len(more))
	copy(b, s)
	node := s.node()
	for _, next := range more {
		if joined && next.repeats() && (next.Node == "" || next.Node == node) {
			if last, from, ok := lastStep(b); ok && last.counts(next) {
				next, b = last.joined(next), b[:from]
				node = Steps(b).node()
			}
		}
		if len(b) > 0 {
			b = append(b, '|')
		}
		if next.Node == node {
			next.Node = ""
		} else if next.Node != "" {
			node = next.Node
		}
		b = next.append(b)
	}
	if len(b) <= maxStepBytes && bytes.Count(b, []byte{'|'}) < maxSteps {
		return Steps(b)
	}
	return shortened(Steps(b).All())
}

// node is the last that is named.
func (s Steps) node() string {
	i := strings.LastIndex(string(s), ";n=")
	if i < 0 {
		return ""
	}
	text := string(s[i+3:])
	if n := strings.IndexAny(text, ";|"); n >= 0 {
		text = text[:n]
	}
	return unescapeStep(text)
}

// repeats says whether there may be many of a step.
func (s *Step) repeats() bool { return s.Kind == StepAttempt || s.Kind == StepDeferred }

// lastStep is the last step that b holds, and where it begins.
func lastStep(b []byte) (last Step, from int, ok bool) {
	i := bytes.LastIndexByte(b, '|')
	last, ok = readStep(string(b[i+1:]))
	return last, max(i, 0), ok
}

// counts says whether next is like s but for its time.
func (s *Step) counts(next Step) bool {
	return s.Kind == next.Kind && s.Name == next.Name && s.Route == next.Route && s.Answer == unescapeStep(string(appendStepText(nil, next.Answer)))
}

// joined is s with next counted in it.
func (s *Step) joined(next Step) Step {
	all := *s
	all.Count, all.Until = max(s.Count, 1)+max(next.Count, 1), next.At
	if !next.Until.IsZero() {
		all.Until = next.Until
	}
	return all
}

// append writes the step.
func (s *Step) append(b []byte) []byte {
	b = appendStepText(b, string(s.Kind))
	b = strconv.AppendInt(append(b, ';'), s.At.UnixMicro(), 36)
	text := func(key byte, v string) {
		if v != "" {
			b = appendStepText(append(b, ';', key, '='), v)
		}
	}
	text('n', s.Node)
	text('w', s.Name)
	text('p', s.Peer)
	text('v', s.Verdict)
	if s.Shadow {
		b = append(b, ";s="...)
	}
	text('t', s.Route)
	text('a', s.Answer)
	if s.Count > 1 || s.Count == 1 && s.Kind == StepOmitted {
		b = strconv.AppendInt(append(b, ";c="...), int64(s.Count), 10)
	}
	if !s.Until.IsZero() {
		b = strconv.AppendInt(append(b, ";u="...), s.Until.UnixMicro(), 36)
	}
	return b
}

// All returns the steps in their order, each with its node where that is known. What is
// damaged is left out.
func (s Steps) All() []Step {
	if s == "" {
		return nil
	}
	all := make([]Step, 0, strings.Count(string(s), "|")+1)
	node := ""
	for text := range strings.SplitSeq(string(s), "|") {
		step, ok := readStep(text)
		if !ok {
			continue
		}
		if step.Node == "" {
			step.Node = node
		}
		node = step.Node
		all = append(all, step)
	}
	return all
}

// readStep is the reverse of append.
func readStep(text string) (s Step, ok bool) {
	kind, rest, _ := strings.Cut(text, ";")
	at, rest, _ := strings.Cut(rest, ";")
	s.Kind = StepKind(unescapeStep(kind))
	if s.At, ok = readMicro(at); !ok || kind == "" {
		return s, false
	}
	for rest != "" {
		var f string
		f, rest, _ = strings.Cut(rest, ";")
		if len(f) < 2 || f[1] != '=' {
			continue
		}
		s.set(f[0], f[2:])
	}
	return s, true
}

// set reads one field. One that is not known is of a later version.
func (s *Step) set(key byte, v string) {
	switch key {
	case 'n':
		s.Node = unescapeStep(v)
	case 'w':
		s.Name = unescapeStep(v)
	case 'p':
		s.Peer = unescapeStep(v)
	case 'v':
		s.Verdict = unescapeStep(v)
	case 's':
		s.Shadow = true
	case 't':
		s.Route = unescapeStep(v)
	case 'a':
		s.Answer = unescapeStep(v)
	case 'c':
		if n, err := strconv.ParseInt(v, 10, 32); err == nil && n > 0 {
			s.Count = int(n)
		}
	case 'u':
		s.Until, _ = readMicro(v)
	}
}

func readMicro(v string) (time.Time, bool) {
	us, err := strconv.ParseInt(v, 36, 64)
	return time.UnixMicro(us).UTC(), err == nil
}

// shortened leaves steps out until they are within the bounds: the oldest of those behind
// the first, and of the first only where they alone are too much. The last one stays.
func shortened(all []Step) Steps {
	left := 0
	rest := all[:0]
	for _, s := range all {
		if s.Kind == StepOmitted {
			left += max(s.Count, 1)
			continue
		}
		rest = append(rest, s)
	}
	for {
		at := min(firstSteps, len(rest)-1)
		if out := write(rest, at, left); len(rest) < 2 || len(rest) < maxSteps && len(out) <= maxStepBytes {
			return out
		}
		at = min(at, len(rest)-2)
		left += max(rest[at].Count, 1)
		rest = append(rest[:at:at], rest[at+1:]...)
	}
}

// write writes steps, and before the one at a place how many are left out there.
func write(all []Step, place, left int) Steps {
	var b []byte
	node := ""
	for i, s := range all {
		if i > 0 {
			b = append(b, '|')
		}
		if left > 0 && i == place {
			omitted := Step{At: s.At, Kind: StepOmitted, Count: left}
			b = append(omitted.append(b), '|')
		}
		if s.Node == node {
			s.Node = ""
		} else if s.Node != "" {
			node = s.Node
		}
		b = s.append(b)
	}
	return Steps(b)
}

// appendStepText writes a text, of which what needs an escape in JSON, or stands between
// texts, is written as ~ and two digits. One that is too long is cut between characters.
func appendStepText(b []byte, v string) []byte {
	const digits = "0123456789ABCDEF"
	if len(v) <= maxStepText && plainSteps(v) {
		return append(b, v...) // as most are
	}
	begin := len(b)
	for v != "" {
		_, n := utf8.DecodeRuneInString(v)
		size := n
		if !plainStep(v[0]) {
			size = 3 * n
		}
		if len(b)-begin+size > maxStepText {
			break
		}
		if size == n {
			b = append(b, v[:n]...)
		} else {
			for i := range n {
				b = append(b, '~', digits[v[i]>>4], digits[v[i]&15])
			}
		}
		v = v[n:]
	}
	return b
}

func plainSteps(v string) bool {
	for i := range len(v) {
		if !plainStep(v[i]) {
			return false
		}
	}
	return true
}

// plainStep says whether a byte is written as it is.
func plainStep(c byte) bool {
	switch c {
	case '"', '\\', '<', '>', '&', '~', ';', '|':
		return false
	}
	return c >= ' ' && c < 0x7f
}

// unescapeStep is the reverse of appendStepText.
func unescapeStep(v string) string {
	if !strings.Contains(v, "~") {
		return v
	}
	b := make([]byte, 0, len(v))
	for i := 0; i < len(v); i++ {
		if v[i] == '~' && i+2 < len(v) {
			if c, err := strconv.ParseUint(v[i+1:i+3], 16, 8); err == nil {
				b = append(b, byte(c))
				i += 2
				continue
			}
		}
		b = append(b, v[i])
	}
	return string(b)
}

// Verdicts are the steps of what filters have decided at a moment.
func Verdicts(at time.Time, all []filters.Applied) []Step {
	steps := make([]Step, len(all))
	for i, v := range all {
		verdict := v.Action
		if verdict == filters.Continue {
			verdict = filters.Pass // for a person: this filter had nothing against it
		}
		steps[i] = Step{At: at, Kind: StepFilter, Name: v.Filter, Verdict: verdict.String(), Shadow: v.Shadow, Answer: v.Reason}
	}
	return steps
}

// Whole says whether the steps began with the acceptance: of a message that was accepted by
// a version without steps they do not.
func (s Steps) Whole() bool { return strings.HasPrefix(string(s), string(StepAccepted)+";") }

// Timeline is the life of a message so far. Of one that was accepted by a version which
// kept no steps it is what else the record tells.
func (r Record) Timeline() []Step {
	all := r.Steps.All()
	if len(all) == 0 || all[0].Kind != StepAccepted {
		old := []Step{{At: r.Accepted, Kind: StepAccepted}}
		if len(all) == 0 && !r.Parked.IsZero() {
			old = append(old, Step{At: r.Parked, Kind: StepDeferred, Answer: r.Reason})
		}
		if len(all) == 0 && !r.Revived.IsZero() {
			old = append(old, Step{At: r.Revived, Kind: StepRevived})
		}
		all = append(old, all...)
	}
	all[0].Name, all[0].Peer = r.Listener, r.Peer
	return all
}

// Timeline is the life of a message, up to its end.
func (o Outcome) Timeline() []Step {
	end := Step{At: o.Ended, Kind: StepKind(o.End), Node: o.Node, Route: o.Via, Answer: o.Proof}
	if end.Answer == "" {
		end.Answer = o.Why
	}
	return append(o.Record.Timeline(), end)
}

// Tried is how many attempts there were, also those before the last stage.
func (o Outcome) Tried() int { return max(o.Attempts, Tries(o.Timeline())) }

// Tries is how many attempts steps tell of, that of the end included.
func Tries(all []Step) (n int) {
	for _, s := range all {
		switch s.Kind {
		case StepAttempt:
			n += max(s.Count, 1)
		case StepKind(Delivered), StepKind(Relayed):
			n++
		}
	}
	return n
}
