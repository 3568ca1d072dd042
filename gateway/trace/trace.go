// Package trace carries what happens to messages from the parts that make it
// happen to those who want to know: the log, the metrics, the demo. An event
// never holds message text.
package trace

import (
	"sync"
	"time"
)

// Stage is a step in the life of a message.
type Stage string

// The stages in the order in which a message goes through them.
const (
	Accepted  Stage = "accepted"  // a listener took the whole message
	Stored    Stage = "stored"    // the broker acknowledged it: custody begins
	Converted Stage = "converted" // it became a stanza
	Filtered  Stage = "filtered"  // a filter gave a verdict
	Deferred  Stage = "deferred"  // it waits for its recipient
	Diverted  Stage = "diverted"  // its e-mail goes out instead
	Delivered Stage = "delivered" // proven to have reached a client
	Relayed   Stage = "relayed"   // a mail server took it
	Failed    Stage = "failed"    // it never will; kept as a dead message
	Expired   Stage = "expired"   // it was too old; likewise
	Dropped   Stage = "dropped"   // by an operator
)

// Event is one step of one message for one recipient. Fields that say nothing
// at a stage are zero.
type Event struct {
	Time     time.Time
	Stage    Stage
	ID       string // of the message (mcmt.ID)
	StanzaID string
	Listener string        // where it came in
	Peer     string        // who sent it
	From     string        // reverse-path or JID
	To       string        // recipient as given
	JID      string        // recipient's JID
	Part     string        // MCMT part the stanza was made from
	Filter   string        // name of the filter
	Verdict  string        // pass, drop, strip, defer
	Shadow   bool          // the verdict did not count
	Reason   string        // why: of a verdict, a deferral, a failure
	Proof    string        // how a delivery was proven
	Since    time.Duration // from acceptance to this event
	Took     time.Duration // the stage's own work
	Attempt  int           // of this process, from 1; zero: not said
	Size     int           // bytes
}

// Bus hands events to its subscribers. The zero Bus is ready. It is safe for
// concurrent use.
type Bus struct {
	mu   sync.RWMutex
	next int
	subs map[int]func(Event)
}

// Emit calls every subscriber with e, with Time set to now where it is zero.
// A nil Bus drops it.
func (b *Bus) Emit(e Event) {
	if b == nil {
		return
	}
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, f := range b.subs {
		f(e)
	}
}

// Subscribe adds f, which is called from the goroutine that emits: it must be
// quick, safe for concurrent use, and may not call the Bus. The function
// returned takes it away again; after it has returned f is not called any more.
func (b *Bus) Subscribe(f func(Event)) (cancel func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[int]func(Event))
	}
	id := b.next
	b.next++
	b.subs[id] = f
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, id)
	}
}
