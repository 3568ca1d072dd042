package policy

import (
	"mime"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"

	"mcmt2xmpp/mcmt"
)

// Message is a mail or MCMT message for one recipient, as hooks are given it.
type Message struct {
	ID   string        // stays the same on every attempt
	From string        // reverse-path; empty for none
	To   string        // the recipient's address
	Mail *mcmt.Message // nil where only the stanza is known
	// Received is when the gateway took it, and dates what scripts make of it, the
	// same on every attempt. Zero: now.
	Received time.Time
}

// message is a Message in the hands of a script, or a new one of its own.
type message struct {
	*Message
	own       bool // made by ec_message_new
	raw       []byte
	delivered lua.LValue
}

// messageSize is what a message that is being made takes, beside its text.
const messageSize = 1024

func (s *state) newMessage(m *message) lua.LValue {
	return &lua.LUserData{Value: m, Metatable: s.messages, Env: s.L.Env}
}

func checkMessage(L *lua.LState, n int) *message {
	if ud, ok := L.Get(n).(*lua.LUserData); ok {
		if m, ok := ud.Value.(*message); ok {
			return m
		}
	}
	L.ArgError(n, "a message is expected")
	return nil
}

// openMessage makes the methods of messages.
func (s *state) openMessage() {
	text := func(read func(m *message) string) lua.LGFunction {
		return func(L *lua.LState) int {
			v := read(checkMessage(L, 1))
			s.meter.charge(L, cellSize)
			L.Push(lua.LString(v))
			return 1
		}
	}
	s.messages = s.methods(map[string]lua.LGFunction{
		"text": text((*message).text), "html": text((*message).html), "subject": text((*message).subject),
		"id": text(func(m *message) string { return m.ID }), "mailfrom": text(func(m *message) string { return m.From }),
		"rcptto": s.messageRcptTo, "routing_domain": s.messageDomain, "header": s.messageHeader, "is_mcmt": s.messageIsMCMT,
		"build": s.messageBuild, "inject": s.messageInject,
	})
	s.messages.RawSetString("__newindex", s.L.NewFunction(s.messageStore))
	methods := s.messages.RawGetString("__index")
	s.messages.RawSetString("__index", s.L.NewFunction(func(L *lua.LState) int {
		m, key := checkMessage(L, 1), L.CheckString(2)
		if key == "delivered" && m.delivered != nil {
			L.Push(m.delivered)
			return 1
		}
		L.Push(methods.(*lua.LTable).RawGetString(key))
		return 1
	}))
}

// text is what conversion would take for the text: of the short message where there
// is one, else of the mail.
func (m *message) text() string {
	switch {
	case m.Mail == nil:
		return ""
	case m.Mail.SMS != nil:
		return m.Mail.SMS.Text
	case m.Mail.Email != nil:
		return m.Mail.Email.Text
	}
	return ""
}

func (m *message) html() string {
	if m.Mail == nil || m.Mail.Email == nil {
		return ""
	}
	return m.Mail.Email.HTML
}

func (m *message) subject() string {
	if m.Mail == nil || m.Mail.Email == nil {
		return ""
	}
	return m.Mail.Email.Subject
}

// messageNew is msys.core.ec_message_new(): an empty message.
func (s *state) messageNew(L *lua.LState) int {
	s.meter.charge(L, messageSize)
	L.Push(s.newMessage(&message{Message: new(Message), own: true}))
	return 1
}

// messageRcptTo is msg:rcptto([address]): the recipient, who can be replaced.
func (s *state) messageRcptTo(L *lua.LState) int {
	m := checkMessage(L, 1)
	if L.GetTop() >= 2 {
		s.readdress(L, m, L.CheckString(2))
	}
	L.Push(lua.LString(m.To))
	return 1
}

// messageDomain is msg:routing_domain([domain]): that of the recipient.
func (s *state) messageDomain(L *lua.LState) int {
	m := checkMessage(L, 1)
	at := strings.LastIndexByte(m.To, '@')
	if L.GetTop() >= 2 {
		s.readdress(L, m, m.To[:max(at, 0)]+"@"+L.CheckString(2))
		at = strings.LastIndexByte(m.To, '@')
	}
	L.Push(lua.LString(strings.ToLower(m.To[at+1:])))
	return 1
}

// maxAddress is the longest address, in bytes (RFC 5321 §4.5.3.1.3, RFC 7622 §3.1).
const maxAddress = 2047

// readdress replaces the recipient.
func (s *state) readdress(L *lua.LState, m *message, to string) {
	at := strings.LastIndexByte(to, '@')
	if len(to) > maxAddress || at < 1 || at == len(to)-1 || strings.ContainsAny(to, "\r\n\x00 <>") {
		L.RaiseError("not an address that a message could go to")
	}
	s.meter.charge(L, len(to))
	if !m.own && to != m.To {
		s.call.recipient = to
	}
	m.To = to
}

// messageHeader is msg:header(name): the values of all fields of that name.
func (s *state) messageHeader(L *lua.LState) int {
	m, name := checkMessage(L, 1), L.CheckString(2)
	t := L.NewTable()
	s.meter.charge(L, tableSize)
	if m.Mail != nil {
		for _, v := range header(m.Mail, name) {
			s.meter.charge(L, len(v)+cellSize)
			if decoded, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
				v = decoded
			}
			t.Append(lua.LString(v))
		}
	}
	L.Push(t)
	return 1
}

// header returns the fields of the message, or where it has none of that name those
// of the mail within.
func header(m *mcmt.Message, name string) []string {
	values := m.Header.Values(name)
	if len(values) == 0 && m.Email != nil {
		values = m.Email.Header.Values(name)
	}
	return values
}

// messageIsMCMT is msg:is_mcmt().
func (s *state) messageIsMCMT(L *lua.LState) int {
	m := checkMessage(L, 1)
	L.Push(lua.LBool(m.Mail != nil && m.Mail.MCMT))
	return 1
}

// messageStore is msg.delivered = …, which scripts set beside the result of their
// hook. The result alone decides.
func (s *state) messageStore(L *lua.LState) int {
	m, key := checkMessage(L, 1), L.CheckString(2)
	if key != "delivered" {
		L.RaiseError("a message has no field %.60q to set", key)
	}
	m.delivered = L.Get(3)
	return 0
}

// messageBuild is msg:build(headers, parts[, attachments]).
func (s *state) messageBuild(L *lua.LState) int {
	m := checkMessage(L, 1)
	if !m.own || m.raw != nil {
		L.RaiseError("build needs a new message: msys.core.ec_message_new()")
	}
	b := builder{fields: stringTable(L, 2), parts: stringTable(L, 3), date: s.call.now}
	if L.Get(4) != lua.LNil {
		b.attachments = attachments(L, 4)
	}
	s.meter.charge(L, messageSize+b.size())
	raw, err := b.build()
	if err != nil {
		L.RaiseError("build: %s", err)
	}
	if m.Mail, err = mcmt.ParseMail(raw, mcmt.Limits{}); err != nil {
		L.RaiseError("build: %s", err)
	}
	m.raw = raw
	return 0
}

// messageInject is msg:inject(from, to): it notes a message that is to be accepted
// when the hook has returned, and whether it can be.
func (s *state) messageInject(L *lua.LState) int {
	m := checkMessage(L, 1)
	from, to := bareOf(L.CheckString(2)), bareOf(L.CheckString(3))
	switch {
	case !m.own:
		L.RaiseError("inject needs a message of its own: a copy of this one is made by msys.core.ec_message_new() and build")
	case m.raw == nil:
		L.RaiseError("inject before build")
	case len(from) > maxAddress || len(to) > maxAddress || strings.ContainsAny(from+to, "\r\n\x00 <>") || !strings.Contains(to, "@"):
		L.Push(lua.LFalse)
		return 1
	}
	s.act(L, act{from: from, to: to, raw: m.raw})
	L.Push(lua.LTrue)
	return 1
}

// stringTable is argument n: names with their texts, none where it is nil.
func stringTable(L *lua.LState, n int) map[string]string {
	all := make(map[string]string)
	L.OptTable(n, L.NewTable()).ForEach(func(k, v lua.LValue) {
		name, ok := k.(lua.LString)
		if !ok || !lua.LVCanConvToString(v) {
			L.ArgError(n, "a table of names and texts is expected")
		}
		all[string(name)] = lua.LVAsString(v)
	})
	return all
}

// attachments is argument n: an array of tables with type, name and content.
func attachments(L *lua.LState, n int) []attachment {
	var all []attachment
	L.CheckTable(n).ForEach(func(_, v lua.LValue) {
		t, ok := v.(*lua.LTable)
		if !ok {
			L.ArgError(n, "an array of tables is expected")
		}
		field := func(name string) string {
			if v := t.RawGetString(name); lua.LVCanConvToString(v) {
				return lua.LVAsString(v)
			}
			return ""
		}
		all = append(all, attachment{kind: field("type"), name: field("name"), content: field("content")})
	})
	return all
}
