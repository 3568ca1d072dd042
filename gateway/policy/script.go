package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	lua "github.com/yuin/gopher-lua"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// script is one compiled script with its states.
type script struct {
	name, file string
	proto      *lua.FunctionProto
	budget     Budget
	hooks      map[Hook]bool
	warnings   []*Problem
	log        zerolog.Logger
	counts     *counts

	// states has a place for each state that may be; a nil is one that was not made
	// yet, or was thrown away.
	states chan *state

	mu      sync.Mutex
	lines   map[string]time.Time // when a kind of line was logged last
	skipped int
}

// counts are of one script, over all its versions.
type counts struct{ calls, failures, timeouts, nanoseconds atomic.Uint64 }

// newScript compiles a script and runs it once, to see whether that ends well and
// which hooks there are.
func newScript(src Source, o Options, c *counts) (*script, error) {
	sc := &script{
		name: src.Name, file: src.File, budget: o.Budget.withDefaults(), hooks: make(map[Hook]bool), counts: c,
		log: o.Log.With().Str("script", src.Name).Logger(), states: make(chan *state, o.States), lines: make(map[string]time.Time),
	}
	if src.Level != nil {
		sc.log = sc.log.Level(*src.Level)
	}
	problem := func(err error) error {
		var p *Problem
		if !errors.As(err, &p) {
			p = runProblem(err, src.File)
		}
		p.Script, p.File = src.Name, src.File
		return p
	}
	var err error
	if sc.proto, err = compile(src.File, src.Text); err != nil {
		return nil, problem(err)
	}
	s, err := newState(sc)
	if err != nil {
		return nil, problem(err)
	}
	for h := range s.hooks {
		sc.hooks[h] = true
	}
	sc.warnings = sc.check(s, src.Text)
	sc.states <- s
	for len(sc.states) < o.States {
		sc.states <- nil
	}
	return sc, nil
}

// runProblem reads the line out of the message of an error at run time.
func runProblem(err error, file string) *Problem {
	p := &Problem{Message: err.Error()}
	if rest, ok := strings.CutPrefix(p.Message, file+":"); ok {
		var line int
		if n, _ := fmt.Sscanf(rest, "%d:", &line); n == 1 {
			_, p.Message, _ = strings.Cut(rest, ": ")
			p.Line = line
		}
	}
	return p
}

// hookPrefixes begin the names of hooks of the system that scripts were written for.
var hookPrefixes = []string{"core_", "client_", "validate_", "mcmt_", "delivery_", "xmpp_", "server_", "mm7_", "sess_"}

// check finds what looks like a hook and is none of ours, functions that are not here, and
// scripts without any hook.
func (sc *script) check(s *state, text string) []*Problem {
	var found []*Problem
	warn := func(line int, format string, args ...any) {
		found = append(found, &Problem{Script: sc.name, File: sc.file, Line: line, Message: fmt.Sprintf(format, args...)})
	}
	for _, m := range s.modules {
		m.table.ForEach(func(k, v lua.LValue) {
			fn, ok := v.(*lua.LFunction)
			name := k.String()
			if _, known := hookNames[name]; !ok || known || fn.IsG {
				return
			}
			if slices.ContainsFunc(hookPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
				warn(fn.Proto.LineDefined, "%.60s is no hook of this gateway: it is never called", name)
			}
		})
	}
	s.missing(text, warn)
	if len(s.hooks) == 0 {
		warn(0, "registers no hook: it does nothing")
	}
	slices.SortStableFunc(found, func(a, b *Problem) int { return a.Line - b.Line })
	return found
}

// take returns a state, and waits for one where all are in use.
func (sc *script) take(ctx context.Context) (*state, error) {
	var s *state
	select {
	case s = <-sc.states:
	default:
		select {
		case s = <-sc.states:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if s != nil {
		return s, nil
	}
	s, err := newState(sc)
	if err != nil {
		sc.states <- nil
		return nil, err
	}
	return s, nil
}

// give returns a state. One whose script failed may be left half way and is thrown
// away.
func (sc *script) give(s *state, failed bool) {
	if failed || s.spent() {
		s.close()
		s = nil
	}
	sc.states <- s
}

// result is what a script made of a call.
type result struct {
	verdict Verdict
	call    call
}

// run calls the hook of every module of the script, until one decides. A script
// that fails has decided nothing and sends nothing. The error is that of ctx alone.
func (sc *script) run(ctx context.Context, h Hook, c call, args func(*state) []lua.LValue) (result, error) {
	s, err := sc.take(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		sc.failed(h, err)
		return result{call: c}, nil
	}
	failed := true // until the call has ended well: a bug of ours leaves the state half way too
	defer func() {
		s.call = call{host: nobody{}}
		sc.give(s, failed)
	}()
	start := time.Now()
	none := c
	var v Verdict
	for _, m := range s.hooks[h] {
		if v, err = s.run(m, c, args); err != nil || v != Continue {
			break
		}
		c = s.call
	}
	if c = s.call; err == nil && c.element != nil {
		err = valid(c.element)
	}
	if err != nil {
		v, c = Continue, none
	}
	sc.counts.calls.Add(1)
	sc.counts.nanoseconds.Add(uint64(time.Since(start)))
	if failed = err != nil; failed {
		sc.failed(h, err)
	}
	return result{v, c}, nil
}

// valid says why what a script has made of a stanza is none that can be sent.
func valid(e *xmlwire.Element) error {
	switch st, err := asStanza(e); {
	case err != nil:
		return fmt.Errorf("left no valid stanza: %w", err)
	case st.Kind != stanza.Message:
		return errors.New("left no message")
	}
	return nil
}

// failed counts and logs a call that failed.
func (sc *script) failed(h Hook, err error) {
	sc.counts.failures.Add(1)
	var f *Failure
	if errors.As(err, &f) && f.Over != nil {
		sc.counts.timeouts.Add(1)
	}
	if skipped, ok := sc.mayLog("failure"); ok {
		sc.log.Warn().Str("file", sc.file).Stringer("hook", h).Int("not_logged", skipped).Str("error", err.Error()).
			Msg("policy script failed, the message goes on")
	}
}

// say logs what a script prints.
func (sc *script) say(line string) {
	if skipped, ok := sc.mayLog("print"); ok {
		sc.log.Info().Int("not_logged", skipped).Msg(line)
	}
}

// logEvery is how often one script may log lines of one kind.
const logEvery = time.Second

// mayLog says whether another line of a kind may be logged, and how many lines were
// left out since the last one.
func (sc *script) mayLog(kind string) (skipped int, ok bool) {
	sc.mu.Lock()
	defer sc.mu.Unlock()
	now := time.Now()
	if last, logged := sc.lines[kind]; logged && now.Sub(last) < logEvery {
		sc.skipped++
		return 0, false
	}
	sc.lines[kind] = now
	skipped, sc.skipped = sc.skipped, 0
	return skipped, true
}
