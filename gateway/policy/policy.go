// Package policy runs an operator's Lua scripts where a message is decided about:
// at conversion, when a client sends, before delivery and when it fails. The
// functions that a script finds have the names of the system that this product
// replaces, so that scripts written for it run.
//
// A hook decides, and the gateway acts: what a script sends is noted while it
// runs and done by the Host when it has ended well, in the context of the caller,
// who has the message in custody. A script that fails has decided and sent nothing.
//
//	policy.go    what callers use: Load, the hooks, decisions
//	script.go    one script: its states, counts, log lines
//	state.go     one Lua state and one call of a hook in it
//	bound.go     scripts are changed before they are compiled, so that all memory is asked for
//	cells.go     what they ask then
//	meter.go     the budget of a call
//	sandbox.go   libraries, pruned and bounded; strings.go, pattern.go, format.go
//	missing.go   what scripts use of the other system that is not here
//	xmpp.go      the modules msys and xmpp; node.go, jid.go, message.go, build.go: what they are about
package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
	lua "github.com/yuin/gopher-lua"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Verdict is what a hook says about a message. The zero value leaves it to the
// gateway.
type Verdict uint8

// Verdicts.
const (
	Continue Verdict = iota
	Done             // the script has dealt with the message: it ends here
	Refuse           // the message is refused for good
)

// Hook is a place where scripts are called.
type Hook uint8

// The hooks.
const (
	PreFixup      Hook = iota // an MCMT message, before anything is made of it
	Enqueue                   // any message for an XMPP recipient, before conversion
	Fixup                     // the stanza that an MCMT message has become
	ClientMessage             // a message that a client here has sent
	BeforeSend                // a stanza that is about to be delivered
	OnFailure                 // one that could not be
)

// hookNames are the names of the functions in a module. The MCMT hooks have two:
// short, and as the other system's documentation has them.
var hookNames = map[string]Hook{
	"mcmt_pre_fixup": PreFixup, "core_ec_message_mcmt_pre_fixup": PreFixup,
	"core_ec_message_enqueue": Enqueue,
	"mcmt_fixup":              Fixup, "core_ec_message_mcmt_fixup": Fixup,
	"client_message_recv":  ClientMessage,
	"delivery_before_send": BeforeSend,
	"delivery_failed":      OnFailure,
}

// String returns the name of the hook's function.
func (h Hook) String() string {
	return [...]string{"mcmt_pre_fixup", "core_ec_message_enqueue", "mcmt_fixup", "client_message_recv", "delivery_before_send", "delivery_failed"}[h]
}

// Presence is what a user's clients show (RFC 6121 §4.7).
type Presence struct {
	Available    bool
	Show, Status string
}

// Host is the gateway as scripts see it. Its methods may be called from any
// goroutine.
type Host interface {
	// Online tells what the user shows, and whether he has a session at all, or
	// the resource has, for a full JID. It does not wait.
	Online(jid.JID) (Presence, bool)
	Connected(jid.JID) bool
	// ValidDomain says whether stanzas can be sent to a domain.
	ValidDomain(domain string) bool
	// Send takes custody of a stanza, Inject of a message. once names it: the same
	// is not taken twice. An error that is not Temporary will not pass.
	Send(ctx context.Context, st *stanza.Stanza, once string) error
	Inject(ctx context.Context, from, to string, raw []byte, once string) error
}

// Listener is where a message that a script has injected comes from. Scripts are not
// asked about it again: it would go round in circles.
const Listener = "scriptlet"

// Source is the text of a script.
type Source struct {
	Name  string // from the configuration
	File  string // for messages
	Text  string
	Level *zerolog.Level // least important level that it logs; nil: that of Options.Log
}

// Options of Load. A zero field means its default.
type Options struct {
	Scripts []Source // in the order in which they are called
	Host    Host     // default: there is nobody, and nothing can be sent
	Budget  Budget
	States  int       // Lua states of each script; default two for each core
	Counts  *Counters // of former versions of the scripts, nil for none
	Log     zerolog.Logger
}

// Counters are the counts of scripts by name, over reloads. The zero value is
// ready.
type Counters struct {
	mu     sync.Mutex
	byName map[string]*counts
}

func (c *Counters) of(name string) *counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byName == nil {
		c.byName = make(map[string]*counts)
	}
	if c.byName[name] == nil {
		c.byName[name] = new(counts)
	}
	return c.byName[name]
}

// Policy is a set of scripts. A nil Policy has none. Its methods may be called from
// any goroutine.
type Policy struct {
	scripts []*script
	host    Host
}

// Load compiles the scripts and runs each once. The error joins a *Problem for each
// that cannot be used.
func Load(o Options) (*Policy, error) {
	if o.Host == nil {
		o.Host = nobody{}
	}
	if o.States == 0 {
		o.States = 2 * runtime.GOMAXPROCS(0)
	}
	if o.Counts == nil {
		o.Counts = new(Counters)
	}
	p := &Policy{host: o.Host}
	var errs []error
	for _, src := range o.Scripts {
		sc, err := newScript(src, o, o.Counts.of(src.Name))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p.scripts = append(p.scripts, sc)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// Warnings are what looks wrong with the scripts, in their order.
func (p *Policy) Warnings() []*Problem {
	if p == nil {
		return nil
	}
	var all []*Problem
	for _, sc := range p.scripts {
		all = append(all, sc.warnings...)
	}
	return all
}

// Has says whether any script has a hook.
func (p *Policy) Has(h Hook) bool {
	if p == nil {
		return false
	}
	for _, sc := range p.scripts {
		if sc.hooks[h] {
			return true
		}
	}
	return false
}

// ScriptStats are counts of one script since the start.
type ScriptStats struct {
	Script                    string
	Calls, Failures, Timeouts uint64 // Timeouts: failures by a budget, of time or memory
	Spent                     time.Duration
}

// Stats returns the counts of each script, in their order.
func (p *Policy) Stats() []ScriptStats {
	if p == nil {
		return nil
	}
	all := make([]ScriptStats, len(p.scripts))
	for i, sc := range p.scripts {
		c := sc.counts
		all[i] = ScriptStats{sc.name, c.calls.Load(), c.failures.Load(), c.timeouts.Load(), time.Duration(c.nanoseconds.Load())}
	}
	return all
}

// Decision is what the scripts decided. The zero value leaves the message as it is,
// to the gateway.
type Decision struct {
	Verdict   Verdict
	Script    string         // whose Verdict it is, empty for none
	Recipient string         // the message goes there instead; empty: where it was to go
	Stanza    *stanza.Stanza // takes the place of the one that Fixup was given; nil: that stays
}

// Why says for a person who has decided.
func (d Decision) Why() string { return "script " + d.Script }

// ActError is that something a script has sent was not taken. It is temporary where
// the reason is, or does not say.
type ActError struct {
	Script string
	Err    error
}

// Error returns the script and the reason.
func (e *ActError) Error() string { return "script " + e.Script + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *ActError) Unwrap() error { return e.Err }

// Temporary reports whether it may be taken later.
func (e *ActError) Temporary() bool {
	var t interface{ Temporary() bool }
	return !errors.As(e.Err, &t) || t.Temporary()
}

// PreFixup has the scripts look at an MCMT message before anything is made of it.
// Like that of the other hooks, the error is an *ActError, or that of ctx while a
// script waited for its turn: the message is to be given again.
func (p *Policy) PreFixup(ctx context.Context, m *Message) (Decision, error) {
	return p.run(ctx, PreFixup, m, func(s *state, m *Message) []lua.LValue {
		return []lua.LValue{s.newMessage(&message{Message: m})}
	})
}

// Enqueue has the scripts decide about a message before its conversion.
func (p *Policy) Enqueue(ctx context.Context, m *Message) (Decision, error) {
	return p.run(ctx, Enqueue, m, func(s *state, m *Message) []lua.LValue {
		return []lua.LValue{s.newMessage(&message{Message: m})}
	})
}

// Fixup has the scripts change the stanza that an MCMT message has become. Its
// addresses and id stay.
func (p *Policy) Fixup(ctx context.Context, m *Message, st *stanza.Stanza) (Decision, error) {
	if !p.Has(Fixup) {
		return Decision{}, nil
	}
	first := visible(st)
	d, last, err := p.each(ctx, Fixup, m, first, func(s *state, m *Message) []lua.LValue {
		s.call.element = s.call.element.Clone()
		return []lua.LValue{s.newMessage(&message{Message: m}), s.newNode(s.call.element, false)}
	})
	if err != nil || d.Verdict != Continue || last == first {
		return d, err
	}
	if d.Stanza, err = asStanza(last); err != nil {
		return Decision{}, fmt.Errorf("stanza of scripts: %w", err) // each was read once
	}
	d.Stanza.From, d.Stanza.To, d.Stanza.ID = st.From, st.To, st.ID
	return d, nil
}

// ClientMessage has the scripts decide about a message that a client has sent. id
// names it.
func (p *Policy) ClientMessage(ctx context.Context, id string, from jid.JID, st *stanza.Stanza) (Decision, error) {
	return p.run(ctx, ClientMessage, &Message{ID: id, To: st.To.String()}, func(s *state, _ *Message) []lua.LValue {
		sess := &lua.LUserData{Value: session{from}, Metatable: s.sessions, Env: s.L.Env}
		return []lua.LValue{sess, s.newNode(visible(st), true)}
	})
}

// BeforeSend has the scripts decide about a stanza that is about to be delivered:
// with Done it ends as filtered, with another Recipient it is sent there.
func (p *Policy) BeforeSend(ctx context.Context, m *Message, st *stanza.Stanza) (Decision, error) {
	return p.run(ctx, BeforeSend, m, func(s *state, m *Message) []lua.LValue {
		return []lua.LValue{s.newMessage(&message{Message: m}), s.newNode(visible(st), true)}
	})
}

// OnFailure has the scripts decide what becomes of a stanza that could not be
// delivered, for the given reason: with another Recipient it is sent there, with
// Done the script has dealt with it.
func (p *Policy) OnFailure(ctx context.Context, m *Message, st *stanza.Stanza, reason string) (Decision, error) {
	return p.run(ctx, OnFailure, m, func(s *state, m *Message) []lua.LValue {
		return []lua.LValue{s.newMessage(&message{Message: m}), s.newNode(visible(st), true), lua.LString(reason)}
	})
}

// run is each for the hooks that change no stanza.
func (p *Policy) run(ctx context.Context, h Hook, m *Message, args func(*state, *Message) []lua.LValue) (Decision, error) {
	if p == nil {
		return Decision{}, nil
	}
	d, _, err := p.each(ctx, h, m, nil, args)
	return d, err
}

// each calls a hook of each script in turn, until one decides, and does what they
// want done. A later script sees the recipient that an earlier one has chosen, and
// the stanza as it has left it, which is returned.
func (p *Policy) each(ctx context.Context, h Hook, m *Message, e *xmlwire.Element, args func(*state, *Message) []lua.LValue) (d Decision, _ *xmlwire.Element, _ error) {
	to := m.To
	for _, sc := range p.scripts {
		if !sc.hooks[h] {
			continue
		}
		now := m.Received
		if now.IsZero() {
			now = time.Now()
		}
		r, err := sc.run(ctx, h, call{host: p.host, now: now, element: e}, func(s *state) []lua.LValue {
			mine := *m // a script that fails has not changed it
			mine.To = cmp.Or(s.call.recipient, to)
			return args(s, &mine)
		})
		if err != nil {
			return Decision{}, nil, err
		}
		if err := p.act(ctx, h, sc, m.ID, r); err != nil {
			return Decision{}, nil, err
		}
		to, e = cmp.Or(r.call.recipient, to), r.call.element
		if r.verdict != Continue {
			d.Verdict, d.Script = r.verdict, sc.name
			break
		}
	}
	if to != m.To {
		d.Recipient = to
	}
	return d, e, nil
}

// act does what a script wants done, in its order. Where the message goes on
// anyhow, what will never be taken is only counted and logged.
func (p *Policy) act(ctx context.Context, h Hook, sc *script, id string, r result) error {
	for i, a := range r.call.acts {
		once := id + "/" + sc.name + "/" + h.String() + "/" + strconv.Itoa(i)
		var err error
		if a.stanza != nil {
			err = p.host.Send(ctx, a.stanza, once)
		} else {
			err = p.host.Inject(ctx, a.from, a.to, a.raw, once)
		}
		if err == nil {
			continue
		}
		failed := &ActError{sc.name, err}
		if r.verdict == Continue && !failed.Temporary() {
			sc.failed(h, failed)
			continue
		}
		return failed
	}
	return nil
}
