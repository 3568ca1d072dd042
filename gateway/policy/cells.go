package policy

import (
	"strings"

	lua "github.com/yuin/gopher-lua"
)

// What a value takes, in bytes, as measured of the interpreter.
const (
	cellSize   = 16   // an element of an array
	entrySize  = 128  // a key and its value in a table's hash
	firstEntry = 2048 // the hash itself, which is made for 32 entries
	tableSize  = 160
	closeSize  = 128 // a function made at run time
)

// concat is the operator .. of any number of operands.
func (s *state) concat(L *lua.LState) int {
	n, size := L.GetTop(), 0
	for i := 1; i <= n; i++ {
		v := L.Get(i)
		if !lua.LVCanConvToString(v) {
			return s.concatMeta(L, n)
		}
		if text, ok := v.(lua.LString); ok {
			size += len(text)
		} else {
			size += 24
		}
	}
	s.meter.charge(L, size)
	var b strings.Builder
	b.Grow(size)
	for i := 1; i <= n; i++ {
		b.WriteString(lua.LVAsString(L.Get(i)))
	}
	L.Push(lua.LString(b.String()))
	return 1
}

// concatMeta joins from the right, by the metamethod __concat where an operand is
// neither string nor number.
func (s *state) concatMeta(L *lua.LState, n int) int {
	right := L.Get(n)
	for i := n - 1; i >= 1; i-- {
		left := L.Get(i)
		if lua.LVCanConvToString(left) && lua.LVCanConvToString(right) {
			a, b := lua.LVAsString(left), lua.LVAsString(right)
			s.meter.charge(L, len(a)+len(b))
			right = lua.LString(a + b)
			continue
		}
		op := L.GetMetaField(left, "__concat")
		if op == lua.LNil {
			op = L.GetMetaField(right, "__concat")
		}
		if op == lua.LNil {
			wrong := left
			if lua.LVCanConvToString(left) {
				wrong = right
			}
			L.RaiseError("attempt to concatenate a %s value", wrong.Type())
		}
		L.Push(op)
		L.Push(left)
		L.Push(right)
		L.Call(2, 1)
		right = L.Get(-1)
		L.Pop(1)
	}
	L.Push(right)
	return 1
}

// track counts a table or a function that was just made.
func (s *state) track(L *lua.LState) int {
	v := L.Get(1)
	if t, ok := v.(*lua.LTable); ok {
		s.meter.charge(L, tableSize+t.Len()*cellSize)
	} else {
		s.meter.charge(L, closeSize)
	}
	L.SetTop(1)
	return 1
}

// maxChain is how far a store follows __newindex, as the interpreter does.
const maxChain = 100

// set is the statement object[key] = value.
func (s *state) set(L *lua.LState) int {
	object, key, value := L.Get(1), L.Get(2), L.Get(3)
	for range maxChain {
		t, ok := object.(*lua.LTable)
		if !ok {
			L.SetTable(object, key, value) // by metamethod, or the usual error
			return 0
		}
		next := lua.LValue(lua.LNil)
		if mt, ok := t.Metatable.(*lua.LTable); ok {
			next = mt.RawGetString("__newindex")
		}
		if next == lua.LNil || t.RawGet(key) != lua.LNil {
			s.store(L, t, key, value)
			return 0
		}
		if _, ok := next.(*lua.LFunction); ok {
			L.Push(next)
			L.Push(object)
			L.Push(key)
			L.Push(value)
			L.Call(3, 0)
			return 0
		}
		object = next
	}
	L.RaiseError("too many recursions in settable")
	return 0
}

// store puts a value into a table that has a place for it, or makes one.
func (s *state) store(L *lua.LState, t *lua.LTable, key, value lua.LValue) {
	if key == lua.LNil {
		L.RaiseError("table index is nil")
	}
	s.room(L, t, key, value)
	L.RawSet(t, key, value) // which refuses NaN
}

// room counts what a new key takes. The interpreter fills an array up to the
// index that is stored to.
func (s *state) room(L *lua.LState, t *lua.LTable, key, value lua.LValue) {
	if n, ok := key.(lua.LNumber); ok && n == lua.LNumber(int64(n)) && n > 0 && n < lua.LNumber(lua.MaxArrayIndex) {
		if gap := int(n) - t.Len(); gap > 0 {
			s.meter.charge(L, gap*cellSize)
		}
		return
	}
	if value == lua.LNil || t.RawGet(key) != lua.LNil {
		return
	}
	size := entrySize
	if first, _ := t.Next(lua.LNil); first == lua.LNil {
		size += firstEntry
	}
	s.meter.charge(L, size)
}
