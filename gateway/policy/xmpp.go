package policy

import (
	"strings"

	lua "github.com/yuin/gopher-lua"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// constants are the results of hooks, under the names of the system that scripts
// were written for. What a hook returns is compared by its number, so that the same
// names exist as globals and in msys.core.
var constants = map[string]Verdict{
	"EC_MESSAGE_ENQUEUE_HOOK_CONT": Continue,
	"EC_MESSAGE_ENQUEUE_HOOK_OK":   Done,
	"EC_MESSAGE_ENQUEUE_HOOK_ERR":  Refuse,
	"EC_MSG_MCMT_OK":               Continue,
	"EC_MSG_MCMT_INVALID":          Refuse,
	"EC_MSG_MCMT_ERROR":            Refuse,
}

// openXMPP gives a state the modules msys and xmpp.
func (s *state) openXMPP() {
	L := s.L
	core, xmpp, msys := L.NewTable(), L.NewTable(), L.NewTable()
	for name, v := range constants {
		core.RawSetString(name, lua.LNumber(v))
		L.SetGlobal(name, lua.LNumber(v))
	}
	core.RawSetString("EM_SUCCEEDED", lua.LNumber(1)) // what scripts store in msg.delivered
	s.functions(core, map[string]lua.LGFunction{"ec_message_new": s.messageNew})
	xmpp.RawSetString("CONT", lua.LNumber(Continue))
	xmpp.RawSetString("DONE", lua.LNumber(Done))
	xmpp.RawSetString("FAIL", lua.LNumber(Refuse))
	s.functions(xmpp, map[string]lua.LGFunction{
		"send": s.xmppSend, "routeStanza": s.xmppRoute, "connected": s.xmppConnected, "online": s.xmppOnline,
		"valid_domain": s.xmppValidDomain, "jid": s.xmppJID, "registerModule": s.registerModule,
	})
	s.functions(msys, map[string]lua.LGFunction{"registerModule": s.registerModule})
	msys.RawSetString("core", core)
	msys.RawSetString("xmpp", xmpp)
	L.SetGlobal("msys", msys)
	L.SetGlobal("xmpp", xmpp)
	s.sessions = s.methods(map[string]lua.LGFunction{"jid": s.sessionJID})
	s.openOffline()
}

// openOffline lets the answer for somebody who is not online be nil and still be
// asked for its elements. xmpp.online returns a table of availability, show and
// status, and the reference example takes it for a condition; a table is true in
// Lua, whoever is offline, so it has to be nil then. All else about nil is as ever.
func (s *state) openOffline() {
	mt := s.L.NewTable()
	mt.RawSetString("__index", s.L.NewFunction(func(L *lua.LState) int {
		switch key := L.Get(2).String(); key {
		case "availability":
			L.Push(lua.LFalse)
		case "show", "status":
			L.Push(lua.LNil)
		default:
			L.RaiseError("attempt to index a nil value (field '%s')", clip(key, 60))
		}
		return 1
	}))
	s.L.SetMetatable(lua.LNil, mt)
}

// registerModule is msys.registerModule(name, module): the hooks are functions of
// the table.
func (s *state) registerModule(L *lua.LState) int {
	name, t := L.CheckString(1), L.CheckTable(2)
	if s.loaded {
		L.RaiseError("a module is registered while the script is loaded, not in a hook")
	}
	s.modules = append(s.modules, module{name, t})
	return 0
}

// self is how many arguments of a call a colon brought: xmpp:send(x) and
// xmpp.send(x) both do.
func (s *state) self(L *lua.LState) int {
	if L.GetTop() > 1 && L.Get(1).Type() == lua.LTTable {
		return 1
	}
	return 0
}

// xmppSend is xmpp:send(text): whether the text is a stanza that can be routed.
func (s *state) xmppSend(L *lua.LState) int {
	text := L.CheckString(1 + s.self(L))
	s.meter.charge(L, 4*len(text))
	e, err := xmlwire.Parse([]byte(text), xmlwire.DefaultLimits)
	if err != nil {
		L.Push(lua.LFalse)
		return 1
	}
	L.Push(lua.LBool(s.route(L, e)))
	return 1
}

// xmppRoute is xmpp.routeStanza(node).
func (s *state) xmppRoute(L *lua.LState) int {
	n := checkNode(L, 1+s.self(L))
	L.Push(lua.LBool(s.route(L, n.element)))
	return 1
}

// route notes a stanza that is to be sent when the hook has returned.
func (s *state) route(L *lua.LState, e *xmlwire.Element) bool {
	st, err := asStanza(e)
	if err != nil || st.To.IsZero() || st.Type != stanza.TypeError && st.Kind == stanza.IQ {
		return false // nobody would wait for the answer to a request
	}
	s.meter.charge(L, nodeSize*(1+len(st.Element.Children)))
	s.act(L, act{stanza: st})
	return true
}

// xmppConnected is xmpp.connected(jid): whether the user has a session.
func (s *state) xmppConnected(L *lua.LState) int {
	j := address(L, 1+s.self(L))
	L.Push(lua.LBool(!j.IsZero() && s.call.host.Connected(j)))
	return 1
}

// xmppOnline is xmpp.online(jid): a table of availability, show and status, nil for
// who has no session (see openOffline).
func (s *state) xmppOnline(L *lua.LState) int {
	j := address(L, 1+s.self(L))
	if j.IsZero() {
		L.Push(lua.LNil)
		return 1
	}
	p, ok := s.call.host.Online(j)
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	s.meter.charge(L, tableSize+firstEntry+len(p.Status))
	t := L.CreateTable(0, 3)
	t.RawSetString("availability", lua.LBool(p.Available))
	t.RawSetString("show", lua.LString(p.Show))
	t.RawSetString("status", lua.LString(p.Status))
	L.Push(t)
	return 1
}

// xmppValidDomain is xmpp.valid_domain(domain): whether stanzas can be sent there.
func (s *state) xmppValidDomain(L *lua.LState) int {
	domain := L.CheckString(1 + s.self(L))
	L.Push(lua.LBool(s.call.host.ValidDomain(strings.ToLower(domain))))
	return 1
}

// xmppJID is xmpp.jid(text): the address, nil where the text is none.
func (s *state) xmppJID(L *lua.LState) int {
	j := address(L, 1+s.self(L))
	if j.IsZero() {
		L.Push(lua.LNil)
		return 1
	}
	s.meter.charge(L, jidSize)
	L.Push(s.newJID(j))
	return 1
}

// sessionJID is sess:jid(): the full JID of the client that sent the stanza.
func (s *state) sessionJID(L *lua.LState) int {
	ud := L.CheckUserData(1)
	sess, ok := ud.Value.(session)
	if !ok {
		L.ArgError(1, "a session is expected")
	}
	s.meter.charge(L, jidSize)
	L.Push(s.newJID(sess.jid))
	return 1
}
