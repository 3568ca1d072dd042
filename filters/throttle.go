package filters

import (
	"sync"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// maxConversations bounds how many conversations a throttle remembers. One that
// it has forgotten gets its next state through, which does no harm.
const maxConversations = 20000

// conversation is who writes to whom, whatever the device.
type conversation struct{ from, to jid.JID }

// passed is the last state that was let through.
type passed struct {
	state string
	at    time.Time
}

// throttle remembers the last state of each conversation, in two generations:
// when the young one is full the old one is dropped and it takes its place.
type throttle struct {
	interval time.Duration

	mu         sync.Mutex
	young, old map[conversation]passed
}

func newThrottle(interval time.Duration) *throttle {
	return &throttle{interval: interval, young: make(map[conversation]passed)}
}

// verdict lets a state through at most once per interval, and only on change.
func (t *throttle) verdict(s *stanza.Stanza, state string) Verdict {
	c := conversation{s.From.Bare(), s.To.Bare()}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	last, known := t.get(c)
	switch {
	case known && last.state == state:
		return Verdict{Action: Drop, Reason: "chat state unchanged, nothing else"}
	case known && now.Sub(last.at) < t.interval:
		return Verdict{Action: Drop, Reason: "chat state before the interval is over, nothing else"}
	}
	t.put(c, passed{state, now})
	return Verdict{Action: Pass, Reason: "chat state changed"}
}

// changed makes the next state of a known conversation a change; the interval
// goes on.
func (t *throttle) changed(s *stanza.Stanza) {
	c := conversation{s.From.Bare(), s.To.Bare()}
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, known := t.get(c); known && last.state != "" {
		t.put(c, passed{"", last.at})
	}
}

func (t *throttle) get(c conversation) (passed, bool) {
	if p, ok := t.young[c]; ok {
		return p, true
	}
	p, ok := t.old[c]
	return p, ok
}

func (t *throttle) put(c conversation, p passed) {
	if len(t.young) >= maxConversations/2 {
		t.old, t.young = t.young, make(map[conversation]passed)
	}
	t.young[c] = p
}
