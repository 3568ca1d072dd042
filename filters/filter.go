// Package filters decides what becomes of a stanza on its way between Jabber
// and the outside: a Chain of named filters, each of which answers with a
// Verdict and its reason. Filters only decide; who called the chain acts.
package filters

import (
	"context"
	"fmt"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// Direction is where a stanza is going. Between is the zero value because
// there the default chain lets everything pass.
type Direction uint8

// The directions. "Outside" is mail and mobile.
const (
	Between    Direction = iota // from one Jabber user to another
	In                          // from outside to Jabber
	Out                         // from Jabber to outside
	Store                       // between two Jabber users, to be kept because the recipient is not there
	directions                  // number of directions
)

// String returns the direction as an option writes it.
func (d Direction) String() string {
	switch d {
	case Between:
		return "between"
	case In:
		return "in"
	case Out:
		return "out"
	case Store:
		return "store"
	}
	return fmt.Sprintf("direction %d", uint8(d))
}

// MarshalText makes the name the form in JSON.
func (d Direction) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the name.
func (d *Direction) UnmarshalText(text []byte) error {
	for *d = 0; *d < directions; *d++ {
		if d.String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("unknown direction %q", text)
}

// Action is what a filter wants done.
type Action uint8

// The actions.
const (
	Continue Action = iota // no opinion: the next filter decides
	Pass                   // let through; no further filter of the configuration is asked
	Drop                   // discard silently: no bounce, no error
	Strip                  // remove an element, then ask the next filter
	Defer                  // not now: try again later
	actions                // number of actions
)

// String returns the action's name, as metrics and traces show it.
func (a Action) String() string {
	switch a {
	case Continue:
		return "continue"
	case Pass:
		return "pass"
	case Drop:
		return "drop"
	case Strip:
		return "strip"
	case Defer:
		return "defer"
	}
	return fmt.Sprintf("action %d", uint8(a))
}

// MarshalText makes the name the form in JSON.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the name.
func (a *Action) UnmarshalText(text []byte) error {
	for *a = 0; *a < actions; *a++ {
		if a.String() == string(text) {
			return nil
		}
	}
	return fmt.Errorf("unknown action %q", text)
}

// Item is a stanza before the chain. The filters do not change the stanza; where
// a verdict strips something the chain puts a changed copy in its place.
type Item struct {
	Stanza    *stanza.Stanza
	Direction Direction
	// Sender and Recipient are the mail addresses or phone numbers that the stanza's
	// addresses stand for; "" where there is none. The domains option selects by
	// their domains too.
	Sender, Recipient string
	// Software says what a full JID claims to run, the node of its capabilities
	// (XEP-0115 §4), "" where that is not known. It is asked about the sender of
	// what is dropped. Nil: nothing is known.
	Software func(full jid.JID) string
}

// Verdict is what a filter decided. The zero value lets the next filter decide.
type Verdict struct {
	Action Action `json:"action"`
	// Kind is what was found, for the report of what was dropped.
	Kind Kind `json:"-"`
	// Reason is for a person, in a few words. It holds no text of the message.
	Reason string `json:"reason,omitempty"`
	// Remove is what Strip removes: the children of that name; with an empty
	// Local all of the namespace.
	Remove Name `json:"-"`
}

// Filter decides about stanzas. It must be safe for use by several goroutines.
// An error counts as Continue.
type Filter interface {
	Name() string
	Apply(ctx context.Context, it *Item) (Verdict, error)
}
