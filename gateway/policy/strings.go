package policy

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// openString replaces the functions of the string library whose work or memory the
// library does not bound.
func (s *state) openString() {
	t := s.L.GetGlobal("string").(*lua.LTable)
	s.functions(t, map[string]lua.LGFunction{
		"char": s.strChar, "find": s.strFind, "format": s.strFormat, "gmatch": s.strGmatch, "gsub": s.strGsub, "lower": s.strLower,
		"match": s.strMatch, "rep": s.strRep, "reverse": s.strReverse, "upper": s.strUpper,
	})
	t.RawSetString("gfind", t.RawGetString("gmatch"))
	t.RawSetString("dump", lua.LNil)
}

func (s *state) strChar(L *lua.LState) int {
	b := make([]byte, L.GetTop())
	s.meter.charge(L, len(b))
	for i := range b {
		c := L.CheckInt(i + 1)
		if c < 0 || c > 255 {
			L.ArgError(i+1, "invalid value")
		}
		b[i] = byte(c)
	}
	L.Push(lua.LString(b))
	return 1
}

func (s *state) strLower(L *lua.LState) int { return s.mapped(L, lowered) }
func (s *state) strUpper(L *lua.LState) int { return s.mapped(L, raised) }

// mapped maps each byte: a text that is not UTF-8 stays what it is.
func (s *state) mapped(L *lua.LState, f func(byte) byte) int {
	text := L.CheckString(1)
	s.meter.charge(L, len(text))
	b := []byte(text)
	for i, c := range b {
		b[i] = f(c)
	}
	L.Push(lua.LString(b))
	return 1
}

func lowered(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

func raised(c byte) byte {
	if c >= 'a' && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

func (s *state) strReverse(L *lua.LState) int {
	text := L.CheckString(1)
	s.meter.charge(L, len(text))
	b := make([]byte, len(text))
	for i := range len(text) {
		b[len(text)-1-i] = text[i]
	}
	L.Push(lua.LString(b))
	return 1
}

func (s *state) strRep(L *lua.LState) int {
	text, n := L.CheckString(1), max(0, L.CheckInt(2))
	if len(text) > 0 && n > s.meter.budget.Memory/len(text) {
		s.meter.charge(L, -1)
	}
	s.meter.charge(L, len(text)*n)
	if len(text) == 0 {
		n = 0
	}
	L.Push(lua.LString(strings.Repeat(text, n)))
	return 1
}

// matcher makes what matches a pattern within the budget of the call.
func (s *state) matcher(L *lua.LState, text, pattern string) *matcher {
	s.meter.charge(L, maxCaptures*cellSize)
	return &matcher{text: text, pattern: pattern, step: s.matchStep}
}

// matchStep counts as an instruction.
func (s *state) matchStep() error {
	s.meter.Done()
	return s.meter.Err()
}

// from returns the place that the optional argument n names, and whether it is in
// the text.
func from(L *lua.LState, n int, text string) (int, bool) {
	i := L.OptInt(n, 1)
	switch {
	case i > 0:
		i--
	case i < 0:
		i = max(0, len(text)+i)
	}
	return i, i <= len(text)
}

func (s *state) strFind(L *lua.LState) int {
	text, pattern := L.CheckString(1), L.CheckString(2)
	if plain := lua.LVAsBool(L.Get(4)) || !strings.ContainsAny(pattern, "^$*+?.([%-"); !plain {
		return s.search(L, text, pattern, true)
	}
	start, ok := from(L, 3, text)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	s.meter.work(L, len(text)-start)
	at := strings.Index(text[start:], pattern)
	if at < 0 {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LNumber(start + at + 1))
	L.Push(lua.LNumber(start + at + len(pattern)))
	return 2
}

func (s *state) strMatch(L *lua.LState) int {
	return s.search(L, L.CheckString(1), L.CheckString(2), false)
}

// search pushes what find or match returns of the first match.
func (s *state) search(L *lua.LState, text, pattern string, places bool) int {
	start, ok := from(L, 3, text)
	m := s.matcher(L, text, pattern)
	end := -1
	if ok {
		start, end = s.next(L, m, start)
	}
	switch {
	case end < 0:
		L.Push(lua.LNil)
		return 1
	case !places:
		return pushCaptures(L, m, start, end, true)
	}
	L.Push(lua.LNumber(start + 1))
	L.Push(lua.LNumber(end))
	return 2 + pushCaptures(L, m, start, end, false)
}

// next finds the first match from start on. end is negative where there is none.
func (s *state) next(L *lua.LState, m *matcher, start int) (at, end int) {
	p, anchored := 0, strings.HasPrefix(m.pattern, "^")
	if anchored {
		p = 1
	}
	for ; start <= len(m.text); start++ {
		end, err := m.at(start, p)
		if err != nil {
			L.RaiseError("%s", err)
		}
		if end >= 0 || anchored {
			return start, end
		}
	}
	return start, -1
}

// captured is the value of a capture.
func captured(L *lua.LState, m *matcher, i int) lua.LValue {
	c := m.captures[i]
	switch {
	case c.length == capturePosition:
		return lua.LNumber(c.start + 1)
	case c.length < 0:
		L.RaiseError("unfinished capture")
	}
	return lua.LString(m.text[c.start:][:c.length])
}

// pushCaptures pushes the captures, or the whole match where there are none and
// whole asks for it, and returns how many.
func pushCaptures(L *lua.LState, m *matcher, start, end int, whole bool) int {
	if m.level == 0 && whole {
		L.Push(lua.LString(m.text[start:end]))
		return 1
	}
	for i := range m.level {
		L.Push(captured(L, m, i))
	}
	return m.level
}

func (s *state) strGmatch(L *lua.LState) int {
	m := s.matcher(L, L.CheckString(1), L.CheckString(2))
	start := 0
	L.Push(L.NewFunction(func(L *lua.LState) int {
		at, end := s.next(L, m, start)
		if end < 0 {
			start = len(m.text) + 1
			return 0
		}
		start = end
		if end == at {
			start++
		}
		return pushCaptures(L, m, at, end, true)
	}))
	return 1
}

func (s *state) strGsub(L *lua.LState) int {
	text, pattern := L.CheckString(1), L.CheckString(2)
	if repl := L.Get(3); repl.Type() != lua.LTTable && repl.Type() != lua.LTFunction {
		L.CheckString(3)
	}
	limit := L.OptInt(4, len(text)+1)
	m := s.matcher(L, text, pattern)
	var b strings.Builder
	add := func(part string) {
		s.meter.charge(L, len(part))
		b.WriteString(part)
	}
	p, done, n := 0, 0, 0
	if anchored := strings.HasPrefix(pattern, "^"); anchored {
		p, limit = 1, min(limit, 1)
	}
	for n < limit {
		end, err := m.at(done, p)
		if err != nil {
			L.RaiseError("%s", err)
		}
		if end >= 0 {
			n++
			add(s.replacement(L, m, done, end))
		}
		switch {
		case end > done:
			done = end
		case done < len(text):
			add(text[done : done+1])
			done++
		default:
			done++
		}
		if done > len(text) || p == 1 {
			break
		}
	}
	if done < len(text) {
		add(text[done:])
	}
	L.Push(lua.LString(b.String()))
	L.Push(lua.LNumber(n))
	return 2
}

// replacement is what stands for one match, as the third argument of gsub says.
func (s *state) replacement(L *lua.LState, m *matcher, start, end int) string {
	whole := m.text[start:end]
	first := lua.LValue(lua.LString(whole))
	if m.level > 0 {
		first = captured(L, m, 0)
	}
	var v lua.LValue
	switch repl := L.Get(3).(type) {
	case *lua.LTable:
		v = L.GetTable(repl, first)
	case *lua.LFunction:
		// The matcher is not used while the script runs, but for its captures.
		L.Push(repl)
		L.Call(pushCaptures(L, m, start, end, true), 1)
		v = L.Get(-1)
		L.Pop(1)
	default:
		return s.template(L, m, whole, lua.LVAsString(repl))
	}
	switch {
	case lua.LVIsFalse(v):
		return whole
	case !lua.LVCanConvToString(v):
		L.RaiseError("invalid replacement value (a %s)", v.Type())
	}
	return lua.LVAsString(v)
}

// template puts captures into a replacement text.
func (s *state) template(L *lua.LState, m *matcher, whole, repl string) string {
	if !strings.Contains(repl, "%") {
		return repl
	}
	var b strings.Builder
	for i := 0; i < len(repl); i++ {
		if repl[i] != '%' || i+1 == len(repl) {
			b.WriteByte(repl[i])
			continue
		}
		i++
		part := repl[i : i+1]
		switch c := repl[i]; {
		case c == '0' || c == '1' && m.level == 0:
			part = whole
		case c >= '1' && c <= '9':
			if int(c-'1') >= m.level {
				L.RaiseError("invalid capture index")
			}
			part = lua.LVAsString(captured(L, m, int(c-'1')))
		}
		s.meter.charge(L, len(part))
		b.WriteString(part)
	}
	return b.String()
}
