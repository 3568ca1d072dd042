package policy

import (
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// Budget bounds one call of a hook. A zero field means its default.
type Budget struct {
	// Time is how long a script may run, without what the gateway does on its
	// behalf afterwards. Default 50 ms.
	Time time.Duration
	// Memory is how many bytes a script may ask for, whether or not it keeps
	// them. Default 8 MiB.
	Memory int
	// Steps is how many instructions a script may run: what still ends it where
	// the clock stands. Default 10 million.
	Steps int
}

func (b Budget) withDefaults() Budget {
	if b.Time == 0 {
		b.Time = 50 * time.Millisecond
	}
	if b.Memory == 0 {
		b.Memory = 8 << 20
	}
	if b.Steps == 0 {
		b.Steps = 10_000_000
	}
	return b
}

// OverBudget is a script that was ended because it used up what it may use.
type OverBudget struct{ What string }

// Error names what was used up.
func (e *OverBudget) Error() string { return e.What + " used up" }

// meter counts what a call uses. It is the context of its Lua state, because the
// interpreter asks its context for Done before every instruction: a count and a
// look at the clock there cost less than a timer for every call. Once over
// budget it stays so until reset, so that pcall gives a script no second one.
type meter struct {
	budget   Budget
	limit    time.Duration // of this call
	deadline time.Time
	steps    int
	memory   int // bytes asked for
	over     *OverBudget
	lifetime int // bytes asked for by all calls
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

const (
	// clockEvery is after how many instructions the clock is looked at, a power of
	// two. One instruction takes at most about a millisecond: a comparison of
	// two strings as long as the budget.
	clockEvery = 64
	// clockBytes is how much a library function may work through without a look
	// at the clock.
	clockBytes = 4 << 10
)

// reset begins a call that may take so long.
func (m *meter) reset(limit time.Duration) {
	m.limit, m.deadline = limit, time.Now().Add(limit)
	m.steps, m.memory, m.over = 0, 0, nil
}

// Done implements context.Context.
func (m *meter) Done() <-chan struct{} {
	if m.over != nil {
		return closed
	}
	m.steps++
	if m.steps%clockEvery == 0 {
		m.clock()
	}
	m.count()
	if m.over != nil {
		return closed
	}
	return nil
}

// count says whether there were too many instructions.
func (m *meter) count() {
	if m.over == nil && m.steps > m.budget.Steps {
		m.over = &OverBudget{fmt.Sprintf("budget of %d instructions", m.budget.Steps)}
	}
}

func (m *meter) clock() {
	if m.over == nil && time.Now().After(m.deadline) {
		m.over = &OverBudget{fmt.Sprintf("time budget of %s", m.limit)}
	}
}

// Err implements context.Context.
func (m *meter) Err() error {
	if m.over == nil {
		return nil // and not a nil pointer in an interface
	}
	return m.over
}

// Deadline implements context.Context.
func (m *meter) Deadline() (time.Time, bool) { return m.deadline, true }

// Value implements context.Context.
func (m *meter) Value(any) any { return nil }

// charge counts memory before it is taken, and ends the script in L where that
// would be too much.
func (m *meter) charge(L *lua.LState, bytes int) {
	if bytes < 0 || m.memory+bytes > m.budget.Memory {
		m.over = &OverBudget{fmt.Sprintf("memory budget of %d bytes", m.budget.Memory)}
	} else {
		m.memory += bytes
		m.lifetime += bytes
	}
	m.work(L, bytes)
}

// work counts what a library function goes through, a byte being about as much
// as an instruction at most.
func (m *meter) work(L *lua.LState, n int) {
	m.steps += n / 16
	m.count()
	if n > clockBytes {
		m.clock()
	}
	if m.over != nil {
		L.RaiseError("%s", m.over.Error())
	}
}
