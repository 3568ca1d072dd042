package policy

import (
	"sort"
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// pruned are the functions of the base library that a script does not get: they
// reach files, compile text that was not bounded, print, stop the world, or get at
// the environments of others.
var pruned = []string{
	"collectgarbage", "dofile", "getfenv", "load", "loadfile", "loadstring", "module", "newproxy", "setfenv",
	"_printregs", "_GOPHER_LUA_VERSION",
}

// openLibraries gives a state the libraries base, table, string and math, without
// what is not bounded.
func (s *state) openLibraries() {
	L := s.L
	for _, open := range []lua.LGFunction{lua.OpenBase, lua.OpenTable, lua.OpenString, lua.OpenMath} {
		L.Push(L.NewFunction(open))
		L.Call(0, 0)
	}
	for _, name := range pruned {
		L.SetGlobal(name, lua.LNil)
	}
	s.functions(L.Get(lua.GlobalsIndex).(*lua.LTable), map[string]lua.LGFunction{
		"print": s.print, "rawset": s.rawset, "require": s.require,
	})
	// The generator is that of the process.
	L.GetGlobal("math").(*lua.LTable).RawSetString("randomseed", lua.LNil)
	s.functions(L.GetGlobal("table").(*lua.LTable), map[string]lua.LGFunction{
		"concat": s.tableConcat, "insert": s.tableInsert, "sort": s.tableSort,
	})
	s.openString()
}

// functions puts functions into a table of the state's own.
func (s *state) functions(t *lua.LTable, all map[string]lua.LGFunction) {
	for name, f := range all {
		t.RawSetString(name, s.L.NewFunction(f))
	}
}

// maxPrint is how much of a line goes into the log.
const maxPrint = 500

// print writes a line into the log of the gateway.
func (s *state) print(L *lua.LState) int {
	var words []string
	size := 0
	for i := 1; i <= L.GetTop() && size <= maxPrint; i++ {
		word := L.ToStringMeta(L.Get(i)).String()
		size += len(word)
		words = append(words, word)
	}
	s.script.say(clip(strings.Join(words, "\t"), maxPrint))
	return 0
}

// rawset stores without metamethods.
func (s *state) rawset(L *lua.LState) int {
	s.store(L, L.CheckTable(1), L.CheckAny(2), L.CheckAny(3))
	L.SetTop(1)
	return 1
}

// require returns the modules that are there anyhow: a script brings no files in.
func (s *state) require(L *lua.LState) int {
	name := L.CheckString(1)
	switch name {
	case "msys", "msys.core", "msys.xmpp":
		v := L.GetGlobal("msys")
		if _, sub, ok := strings.Cut(name, "."); ok {
			v = L.GetField(v, sub)
		}
		L.Push(v)
	case "xml", "string", "table", "math":
		L.Push(L.GetGlobal(name))
	case "msys.extended.message", "msys.extended.message_routing":
		L.Push(lua.LTrue) // their methods are those of every message
	default:
		L.RaiseError("module %.60q is not there: scripts load no files", name)
	}
	return 1
}

func (s *state) tableConcat(L *lua.LState) int {
	t, sep := L.CheckTable(1), L.OptString(2, "")
	from, to := L.OptInt(3, 1), L.OptInt(4, t.Len())
	var b strings.Builder
	for i := from; i <= to; i++ {
		v := t.RawGetInt(i)
		if !lua.LVCanConvToString(v) {
			L.RaiseError("invalid value (%s) at index %d in table for concat", v.Type(), i)
		}
		text := lua.LVAsString(v)
		s.meter.charge(L, len(text)+len(sep)+1)
		if i > from {
			b.WriteString(sep)
		}
		b.WriteString(text)
	}
	L.Push(lua.LString(b.String()))
	return 1
}

func (s *state) tableInsert(L *lua.LState) int {
	t := L.CheckTable(1)
	s.meter.charge(L, cellSize)
	switch L.GetTop() {
	case 2:
		t.Append(L.Get(2))
	case 3:
		at, n := L.CheckInt(2), t.Len()
		if at < 1 || at > n+1 {
			L.ArgError(2, "position out of bounds")
		}
		s.meter.work(L, (n-at+1)*cellSize)
		if at > n {
			s.store(L, t, lua.LNumber(at), L.Get(3))
		} else {
			t.Insert(at, L.Get(3))
		}
	default:
		L.RaiseError("wrong number of arguments to insert")
	}
	return 0
}

// tableSort sorts within the budget also where it compares long strings without
// coming back to the interpreter.
func (s *state) tableSort(L *lua.LState) int {
	t := L.CheckTable(1)
	less := L.OptFunction(2, nil)
	values := make([]lua.LValue, t.Len())
	s.meter.charge(L, len(values)*cellSize)
	for i := range values {
		values[i] = t.RawGetInt(i + 1)
	}
	sort.Sort(&sorter{s, values, less})
	for i, v := range values {
		t.RawSetInt(i+1, v)
	}
	return 0
}

type sorter struct {
	s      *state
	values []lua.LValue
	less   *lua.LFunction // nil: the operator <
}

func (o *sorter) Len() int      { return len(o.values) }
func (o *sorter) Swap(i, j int) { o.values[i], o.values[j] = o.values[j], o.values[i] }

func (o *sorter) Less(i, j int) bool {
	L, a, b := o.s.L, o.values[i], o.values[j]
	if o.less == nil {
		if text, ok := a.(lua.LString); ok {
			o.s.meter.work(L, len(text))
		}
		o.s.meter.work(L, 64)
		if o.s.meter.steps%clockEvery < 4 {
			o.s.meter.clock()
		}
		return L.LessThan(a, b)
	}
	L.Push(o.less)
	L.Push(a)
	L.Push(b)
	L.Call(2, 1)
	smaller := lua.LVAsBool(L.Get(-1))
	L.Pop(1)
	return smaller
}

// clip cuts a text that goes to a person.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
