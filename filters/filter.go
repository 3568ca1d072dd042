// Package filters decides what becomes of a stanza on its way between Jabber
// and the outside: a Chain of named filters, each of which answers with a
// Verdict and its reason. Filters only decide; who called the chain acts.
package filters

import (
	"context"
	"fmt"

	"mcmt2xmpp/xmpp/stanza"
)

// Direction is where a stanza is going. Between is the zero value because
// there the default chain lets everything pass.
type Direction uint8

// The directions. "Outside" is mail and mobile.
const (
	Between Direction = iota // from one Jabber user to another
	In                       // from outside to Jabber
	Out                      // from Jabber to outside
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
	}
	return fmt.Sprintf("direction %d", uint8(d))
}

// Action is what a filter wants done.
type Action uint8

// The actions.
const (
	Continue Action = iota // no opinion: the next filter decides
	Pass                   // let through; no further filter is asked
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

// Item is a stanza before the chain. The filters do not change the stanza; where
// a verdict strips something the chain puts a changed copy in its place.
type Item struct {
	Stanza    *stanza.Stanza
	Direction Direction
	// Domain is a further domain, beside those of the stanza's addresses, that
	// the domains option may select by, such as that of the mail address; ""
	// for none.
	Domain string
}

// Verdict is what a filter decided. The zero value lets the next filter decide.
type Verdict struct {
	Action Action `json:"action"`
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
