package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	// callDepth is how deep functions may call each other, registrySize and
	// registryMax how many values they may have on the stack.
	callDepth    = 120
	registrySize = 512
	registryMax  = 32 << 10
	registryStep = 1024

	// lifetimeBudgets is after how many budgets of memory, used by calls one after
	// the other, a state is replaced: what a script keeps between calls it may not
	// gather for ever.
	lifetimeBudgets = 4
	// loadTime is how long a script may take to register its hooks: on a busy machine
	// a configuration is not refused for a moment's delay.
	loadTime = time.Second
	// maxActs is how many stanzas and messages one call may send.
	maxActs = 16
)

// state is one Lua state of one script. Only who has taken it from the pool may use
// it. Scripts share none, so that what one does to its globals or to the metatable
// of strings is its own affair.
type state struct {
	L      *lua.LState
	meter  *meter
	script *script

	nodes, jids, messages, sessions *lua.LTable // metatables

	loaded  bool
	modules []module
	hooks   map[Hook][]method
	call    call
}

// module is what a script has registered.
type module struct {
	name  string
	table *lua.LTable
}

// method is a hook of a module.
type method struct {
	self *lua.LTable
	fn   *lua.LFunction
}

// call is one call of a hook.
type call struct {
	host      Host
	now       time.Time
	acts      []act
	recipient string // the new one, empty for the old one
	// element is the stanza that Fixup changes, nil for the other hooks. Each call
	// works on a copy.
	element *xmlwire.Element
}

// act is what a script wants done. It is done when the hook has returned.
type act struct {
	stanza   *stanza.Stanza // to be routed; nil: raw is to be accepted
	from, to string
	raw      []byte
}

// session is what client_message_recv knows of the client.
type session struct{ jid jid.JID }

// newState runs the script from its beginning in a state of its own.
func newState(sc *script) (*state, error) {
	s := &state{
		script: sc,
		meter:  &meter{budget: sc.budget},
		L: lua.NewState(lua.Options{
			SkipOpenLibs: true, CallStackSize: callDepth,
			RegistrySize: registrySize, RegistryMaxSize: registryMax, RegistryGrowStep: registryStep,
		}),
		call: call{host: nobody{}},
	}
	s.openLibraries()
	s.openXML()
	s.openJID()
	s.openMessage()
	s.openXMPP()
	s.meter.reset(max(loadTime, sc.budget.Time))
	s.L.SetContext(s.meter)
	L := s.L
	L.Push(L.NewFunctionFromProto(sc.proto))
	for _, f := range []lua.LGFunction{s.concat, s.set, s.track} {
		L.Push(L.NewFunction(f))
	}
	if err := L.PCall(3, 0, nil); err != nil {
		return nil, s.failure(err)
	}
	s.loaded = true
	return s, s.findHooks()
}

// findHooks finds the functions of the modules that are hooks.
func (s *state) findHooks() error {
	s.hooks = make(map[Hook][]method)
	for _, m := range s.modules {
		for name, hook := range hookNames {
			switch fn := m.table.RawGetString(name).(type) {
			case *lua.LFunction:
				s.hooks[hook] = append(s.hooks[hook], method{m.table, fn})
			case *lua.LNilType:
			default:
				return &Problem{Message: fmt.Sprintf("module %.60q: %s is a %s, not a function", m.name, name, fn.Type())}
			}
		}
	}
	return nil
}

// act notes what is to be done.
func (s *state) act(L *lua.LState, a act) {
	if !s.loaded {
		L.RaiseError("nothing can be sent while the script is loaded")
	}
	if len(s.call.acts) == maxActs {
		L.RaiseError("more than %d stanzas and messages sent by one call", maxActs)
	}
	s.call.acts = append(s.call.acts, a)
}

// run calls a hook. The arguments are made in the state.
func (s *state) run(m method, c call, args func(*state) []lua.LValue) (Verdict, error) {
	s.call = c
	defer func() { s.call.host = nobody{} }()
	s.meter.reset(s.meter.budget.Time)
	L := s.L
	L.SetTop(0)
	L.Push(m.fn)
	L.Push(m.self)
	values := args(s)
	for _, v := range values {
		L.Push(v)
	}
	if err := L.PCall(1+len(values), 1, nil); err != nil {
		return Continue, s.failure(err)
	}
	result := L.Get(-1)
	L.Pop(1)
	return verdict(result)
}

// verdict reads the result of a hook. None means that the script has nothing to
// say.
func verdict(v lua.LValue) (Verdict, error) {
	switch v := v.(type) {
	case *lua.LNilType:
		return Continue, nil
	case lua.LNumber:
		if got := Verdict(v); v == lua.LNumber(got) && got <= Refuse {
			return got, nil
		}
		return Continue, fmt.Errorf("hook returned %v, which is none of its results", float64(v))
	}
	return Continue, fmt.Errorf("hook returned a %s, which is none of its results", v.Type())
}

// spent says whether the state has to be replaced.
func (s *state) spent() bool {
	return s.meter.lifetime > lifetimeBudgets*s.meter.budget.Memory
}

func (s *state) close() { s.L.Close() }

// failure is the error of a call in one line: the place in the script and the
// reason, without the stack.
func (s *state) failure(err error) error {
	var bad *lua.ApiError
	text := err.Error()
	if errors.As(err, &bad) && bad.Object != nil {
		text = bad.Object.String()
	}
	failed := &Failure{Text: clip(text, maxPrint)}
	if s.meter.over != nil {
		failed.Over = s.meter.over
	}
	return failed
}

// Failure is a script that did not come to its end.
type Failure struct {
	Text string      // with file and line
	Over *OverBudget // nil: it was the script's own error
}

// Error returns the text.
func (f *Failure) Error() string { return f.Text }

// nobody is the Host while there is none.
type nobody struct{}

func (nobody) Online(jid.JID) (Presence, bool) { return Presence{}, false }
func (nobody) Connected(jid.JID) bool          { return false }
func (nobody) ValidDomain(string) bool         { return false }

func (nobody) Send(context.Context, *stanza.Stanza, string) error {
	return errors.New("there is nobody to send it")
}

func (nobody) Inject(context.Context, string, string, []byte, string) error {
	return errors.New("there is nobody to take it")
}
