package filters

import (
	"context"
	"time"

	"mcmt2xmpp/xmpp/stanza"
)

// ChatStateOptions are the options of a chat-state filter.
type ChatStateOptions struct {
	Name string // "" means "chat-states"
	// Action is what becomes of a message that is a chat state and no more: Drop
	// (the zero value, Continue, means Drop as well) or Pass.
	Action Action
	// Throttle lets a state through where it differs from the last one that was
	// let through in the conversation, and Interval has gone by since; others
	// are dropped. Action is not used then.
	Throttle bool
	Interval time.Duration // 0 means DefaultInterval
	// Strip removes the chat state from a message that has a body; unset, it
	// stays.
	Strip bool
}

// DefaultInterval is the interval of a throttling chat-state filter that has
// none set.
const DefaultInterval = 30 * time.Second

// chatState is the filter of type chat_state.
type chatState struct {
	ChatStateOptions
	throttle *throttle // nil without Throttle
}

// NewChatState returns a filter of chat states (XEP-0085). It judges messages
// only:
//
// A message is noise when it carries a chat state, has no body in any language
// with more than white space, and carries nothing else that means something to a
// person or a client. A thread, an empty body, a delay, processing hints and ids
// mean nothing there; anything it does not know means something. A carbon copy,
// a forwarded message and a result of the archive are judged by the message
// inside. An error is never noise.
//
// In the direction Out, to mail and mobile, an error or a message with neither
// text nor media is dropped besides, whatever else it carries and whatever the
// action is: there is nothing to write.
func NewChatState(o ChatStateOptions) Filter {
	if o.Name == "" {
		o.Name = "chat-states"
	}
	if o.Action == Continue {
		o.Action = Drop
	}
	if o.Interval == 0 {
		o.Interval = DefaultInterval
	}
	f := &chatState{ChatStateOptions: o}
	if o.Throttle {
		f.throttle = newThrottle(o.Interval)
	}
	return f
}

// Tells says whether a message says anything, to a person or a client, that a chat
// state does not: it is not noise as [NewChatState] has it, nor empty. Errors do.
func Tells(s *stanza.Stanza) bool {
	if s.Kind != stanza.Message || s.Type == stanza.TypeError {
		return true
	}
	var r reading
	r.read(s.Element, 0)
	return r.content() || r.meaning != ""
}

// Name returns the filter's name.
func (f *chatState) Name() string { return f.ChatStateOptions.Name }

// Apply decides about one stanza.
func (f *chatState) Apply(_ context.Context, it *Item) (Verdict, error) {
	s := it.Stanza
	if s.Kind != stanza.Message {
		return Verdict{Reason: "not a message"}, nil
	}
	if s.Type == stanza.TypeError {
		return errorVerdict(it), nil
	}
	var r reading
	r.read(s.Element, 0)
	switch {
	case r.body && f.Strip && r.state != "" && hasChild(s, nsChatStates):
		return Verdict{Strip, stateKind(r.state), "chat state beside a body", Name{Space: nsChatStates}}, nil
	case r.body:
		f.forget(s)
		return Verdict{Reason: "has a body"}, nil
	case it.Direction == Out && !r.media:
		return Verdict{Action: Drop, Reason: nothingToWrite(&r), Kind: r.noiseKind()}, nil
	case r.state == "":
		return Verdict{Reason: "no chat state"}, nil
	case r.meaning != "":
		return Verdict{Reason: "chat state with " + r.meaning}, nil
	}
	return f.noise(s, r.state), nil
}

// noise is the verdict on a message that is a chat state and no more.
func (f *chatState) noise(s *stanza.Stanza, state string) Verdict {
	if f.throttle == nil {
		k := stateKind(state)
		return Verdict{Action: f.Action, Kind: k, Reason: noiseReasons[k]}
	}
	v := f.throttle.verdict(s, state)
	v.Kind = stateKind(state)
	return v
}

// forget tells the throttle that the conversation went on: a body says active
// (XEP-0085 §5.1), so any state after it is a change.
func (f *chatState) forget(s *stanza.Stanza) {
	if f.throttle != nil {
		f.throttle.changed(s)
	}
}

// noiseReasons spell out the reasons, so that no string is built for each message.
var noiseReasons = [...]string{
	Active:       "chat state active, nothing else",
	Composing:    "chat state composing, nothing else",
	Paused:       "chat state paused, nothing else",
	Inactive:     "chat state inactive, nothing else",
	Gone:         "chat state gone, nothing else",
	UnknownState: "unknown chat state, nothing else",
}

// errorVerdict is the verdict on a message of type error: it tells a Jabber
// client something, and must not become mail, which could be answered by
// another error.
func errorVerdict(it *Item) Verdict {
	if it.Direction == Out {
		return Verdict{Action: Drop, Reason: "an error does not become mail", Kind: Error}
	}
	return Verdict{Reason: "error"}
}

// nothingToWrite is the reason why a message does not go to mail or mobile.
func nothingToWrite(r *reading) string {
	switch {
	case r.state != "" && r.meaning == "":
		return noiseReasons[stateKind(r.state)]
	case r.meaning != "":
		return "nothing to write: no body, only " + r.meaning
	case r.blank:
		return "nothing to write: empty body"
	}
	return "nothing to write: no body"
}

func hasChild(s *stanza.Stanza, space string) bool {
	for c := range s.Element.Elements() {
		if c.Name.Space == space {
			return true
		}
	}
	return false
}
