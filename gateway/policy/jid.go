package policy

import (
	lua "github.com/yuin/gopher-lua"

	"mcmt2xmpp/xmpp/jid"
)

// jidSize is what an address takes.
const jidSize = 256

// openJID makes the methods of addresses.
func (s *state) openJID() {
	part := func(read func(jid.JID) string) lua.LGFunction {
		return func(L *lua.LState) int {
			L.Push(lua.LString(read(checkJID(L, 1))))
			return 1
		}
	}
	s.jids = s.methods(map[string]lua.LGFunction{
		"user": part(jid.JID.Local), "domain": part(jid.JID.Domain), "resource": part(jid.JID.Resource), "get": part(jid.JID.String),
		"bare": part(func(j jid.JID) string { return j.Bare().String() }),
	})
	s.jids.RawSetString("__tostring", s.L.NewFunction(part(jid.JID.String)))
}

func (s *state) newJID(j jid.JID) lua.LValue {
	return &lua.LUserData{Value: j, Metatable: s.jids, Env: s.L.Env}
}

func checkJID(L *lua.LState, n int) jid.JID {
	if ud, ok := L.Get(n).(*lua.LUserData); ok {
		if j, ok := ud.Value.(jid.JID); ok {
			return j
		}
	}
	L.ArgError(n, "a JID is expected")
	return jid.JID{}
}

// address is argument n as an address: a JID, or the text of one. The zero JID is
// text that is none.
func address(L *lua.LState, n int) jid.JID {
	if L.Get(n).Type() == lua.LTUserData {
		return checkJID(L, n)
	}
	j, err := jid.Parse(L.CheckString(n))
	if err != nil {
		return jid.JID{}
	}
	return j
}
