package filters

import (
	"context"
	"strings"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/stanza"
)

// maxSenders bounds how many senders a rate remembers, the latest that were let
// through. One that it has forgotten begins anew.
const maxSenders = 100_000

// rate is the filter of type rate: messages of one sender beyond so many in a time.
// A sender may send all of them at once, and gets them back evenly over that time,
// as a recipient does by outbound_throttle_messages. Those that are refused do not
// count. Each process counts for itself.
type rate struct {
	name   string
	action Action
	each   time.Duration // what one message takes of the time
	whole  time.Duration // the time

	mu sync.Mutex
	// When a sender's messages will all have been got back, in two generations as
	// in throttle.
	young, old map[string]time.Time
}

func newRate(name string, count int, per time.Duration, action Action) *rate {
	return &rate{name: name, action: action, each: max(per/time.Duration(count), 1), whole: per, young: make(map[string]time.Time)}
}

// Name returns the filter's name.
func (f *rate) Name() string { return f.name }

// Apply decides about one stanza.
func (f *rate) Apply(_ context.Context, it *Item) (Verdict, error) {
	if it.Stanza.Kind != stanza.Message {
		return Verdict{Reason: "not a message"}, nil
	}
	if f.allow(sender(it), time.Now()) {
		return Verdict{Reason: "not too many of the sender"}, nil
	}
	return Verdict{Action: f.action, Reason: "too many of the sender", Kind: Rate}, nil
}

// sender is the mail address, or else the bare JID, that a message is from. How an
// address is spelt makes no other sender of it.
func sender(it *Item) string {
	if it.Sender != "" {
		return strings.ToLower(it.Sender)
	}
	return it.Stanza.From.Bare().String()
}

// allow says whether a sender may send one more, and counts it if so (the generic
// cell rate algorithm: one time for each sender).
func (f *rate) allow(from string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	back, known := f.young[from]
	if !known {
		back = f.old[from]
	}
	if back.Before(now) {
		back = now
	}
	back = back.Add(f.each)
	if back.Sub(now) > f.whole {
		return false
	}
	if len(f.young) >= maxSenders/2 {
		f.old, f.young = f.young, make(map[string]time.Time)
	}
	f.young[from] = back
	return true
}
