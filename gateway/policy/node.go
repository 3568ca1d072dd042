package policy

import (
	lua "github.com/yuin/gopher-lua"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// nodeSize is what an element takes, beside its text.
const nodeSize = 256

// node is an XML element as scripts see it.
type node struct {
	element *xmlwire.Element
	frozen  bool // somebody else's: may be read only
}

// newNode gives a script an element.
func (s *state) newNode(e *xmlwire.Element, frozen bool) *lua.LUserData {
	return &lua.LUserData{Value: &node{e, frozen}, Metatable: s.nodes, Env: s.L.Env}
}

// checkNode is argument n, which has to be a node.
func checkNode(L *lua.LState, n int) *node {
	if ud, ok := L.Get(n).(*lua.LUserData); ok {
		if v, ok := ud.Value.(*node); ok {
			return v
		}
	}
	L.ArgError(n, "an XML node is expected")
	return nil
}

// changeable is argument n, which has to be a node that is the script's own.
func changeable(L *lua.LState, n int) *node {
	v := checkNode(L, n)
	if v.frozen {
		L.RaiseError("this stanza cannot be changed: make a new one with xml.newnode")
	}
	return v
}

// openXML gives a state the module xml and the methods of nodes.
func (s *state) openXML() {
	t := s.L.NewTable()
	s.functions(t, map[string]lua.LGFunction{"newnode": s.xmlNewNode})
	s.L.SetGlobal("xml", t)
	s.nodes = s.methods(map[string]lua.LGFunction{
		"attr": s.nodeAttr, "addchild": s.nodeAddChild, "children": s.nodeChildren, "name": s.nodeName, "contents": s.nodeContents,
	})
	s.nodes.RawSetString("__tostring", s.L.NewFunction(s.nodeString))
}

// methods makes the metatable of a kind of value.
func (s *state) methods(all map[string]lua.LGFunction) *lua.LTable {
	index := s.L.NewTable()
	s.functions(index, all)
	mt := s.L.NewTable()
	mt.RawSetString("__index", index)
	mt.RawSetString("__metatable", lua.LFalse) // getmetatable gives no way in
	return mt
}

// xmlNewNode is xml.newnode(name).
func (s *state) xmlNewNode(L *lua.LState) int {
	L.Push(s.newNode(s.element(L, 1), false))
	return 1
}

// element makes an element named by argument n.
func (s *state) element(L *lua.LState, n int) *xmlwire.Element {
	name := L.CheckString(n)
	if !validName(name) {
		L.ArgError(n, "not the name of an XML element")
	}
	s.meter.charge(L, nodeSize+len(name))
	return xmlwire.New("", name)
}

// validName accepts the names without a prefix that protocols use.
func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.') {
			return false
		}
	}
	return name != ""
}

// nodeAttr is node:attr(name[, value]): the value that is there, nil for none. The
// name xmlns stands for the namespace; a new value of nil removes.
func (s *state) nodeAttr(L *lua.LState) int {
	n, name := checkNode(L, 1), L.CheckString(2)
	if L.GetTop() >= 3 {
		changeable(L, 1)
		if !validName(name) {
			L.ArgError(2, "not the name of an XML attribute")
		}
		value := ""
		if L.Get(3) != lua.LNil {
			value = L.CheckString(3)
		}
		s.meter.charge(L, nodeSize+len(value))
		s.meter.work(L, len(n.element.Attrs)*cellSize) // each is looked at
		if name == "xmlns" {
			n.element.Name.Space = value
		} else {
			n.element.SetAttr(name, value)
		}
	}
	value, ok := n.element.LookupAttr(xmlwire.Name{Local: name})
	if name == "xmlns" {
		value, ok = n.element.Name.Space, n.element.Name.Space != ""
	}
	if !ok {
		L.Push(lua.LNil)
		return 1
	}
	L.Push(lua.LString(value))
	return 1
}

// nodeAddChild is node:addchild(name): the new element.
func (s *state) nodeAddChild(L *lua.LState) int {
	n := changeable(L, 1)
	child := s.element(L, 2)
	n.element.Add(child)
	L.Push(s.newNode(child, false))
	return 1
}

// nodeChildren is node:children(): an iterator over the elements in it.
func (s *state) nodeChildren(L *lua.LState) int {
	n, i := checkNode(L, 1), 0
	s.meter.charge(L, closeSize)
	L.Push(L.NewFunction(func(L *lua.LState) int {
		for i < len(n.element.Children) {
			i++
			if e := n.element.Children[i-1].Element; e != nil {
				s.meter.charge(L, closeSize)
				L.Push(s.newNode(e, n.frozen))
				return 1
			}
			s.meter.work(L, cellSize)
		}
		return 0
	}))
	return 1
}

// nodeName is node:name().
func (s *state) nodeName(L *lua.LState) int {
	L.Push(lua.LString(checkNode(L, 1).element.Name.Local))
	return 1
}

// nodeContents is node:contents([text]): the text directly in the element. New text
// replaces all that is in it.
func (s *state) nodeContents(L *lua.LState) int {
	n := checkNode(L, 1)
	if L.GetTop() >= 2 {
		changeable(L, 1)
		text := L.CheckString(2)
		s.meter.charge(L, len(text))
		n.element.Children = nil
		n.element.AddText(text)
	}
	text := n.element.Text()
	s.meter.charge(L, len(text))
	L.Push(lua.LString(text))
	return 1
}

// nodeString is tostring(node): its XML.
func (s *state) nodeString(L *lua.LState) int {
	text := checkNode(L, 1).element.String()
	s.meter.charge(L, len(text))
	L.Push(lua.LString(text))
	return 1
}

// visible is a stanza as an element that a script may have: the common attributes
// are those of its fields.
func visible(st *stanza.Stanza) *xmlwire.Element {
	e := st.Element.Clone()
	e.SetAttr("to", st.To.String())
	e.SetAttr("from", st.From.String())
	e.SetAttr("id", st.ID)
	e.SetAttr("type", st.Type)
	return e
}

// asStanza reads what a script has made. Elements without a namespace are in that
// of the element around them, the outermost in that of clients.
func asStanza(e *xmlwire.Element) (*stanza.Stanza, error) {
	e = e.Clone()
	inherit(e, stanza.Client)
	// What a script has put together is held to what a client may send.
	return stanza.ParseBytes(xmlwire.Append(nil, e, ""), xmlwire.DefaultLimits)
}

func inherit(e *xmlwire.Element, space string) {
	if e.Name.Space == "" {
		e.Name.Space = space
	}
	for c := range e.Elements() {
		inherit(c, e.Name.Space)
	}
}

// bareOf is the bare JID of an address that may have a resource; what is no JID
// stays as it is.
func bareOf(addr string) string {
	if j, err := jid.Parse(addr); err == nil {
		return j.Bare().String()
	}
	return addr
}
