package custody

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// End is how a message ended for one recipient. Each ends in exactly one way.
type End string

// The ends of a message.
const (
	Delivered End = "delivered" // proven to have reached a client
	Filtered  End = "filtered"  // dropped by a filter, in silence
	Relayed   End = "relayed"   // sent on as mail
	Failed    End = "failed"    // refused for good; kept as a dead message
	Expired   End = "expired"   // too old; kept as a dead message
	Dropped   End = "dropped"   // by an operator

	// Diverted is no end: it was decided that the e-mail of the message goes out
	// instead, whose end takes the place of this.
	Diverted End = "diverted"

	// Deferred is no end either: the message waits, for the first time. Its record
	// stands beside that of the end.
	Deferred End = "deferred"
)

// Final says whether it is an end that a message can have.
func (e End) Final() bool {
	switch e {
	case Delivered, Filtered, Relayed, Failed, Expired, Dropped:
		return true
	}
	return false
}

// Outcome is the record of a message that has ended, as the journal keeps it.
type Outcome struct {
	Record
	Address  string    `json:"jid"` // Record.Recipient
	End      End       `json:"end"`
	Proof    string    `json:"proof,omitempty"` // how a delivery is known
	Why      string    `json:"why,omitempty"`   // of any other end
	Ended    time.Time `json:"ended"`           // or began to wait
	Attempts int       `json:"attempts,omitempty"`
	Node     string    `json:"node,omitempty"` // the process that ended it
	Via      string    `json:"via,omitempty"`  // full JIDs of the sessions that a delivery went to
	Next     time.Time `json:"next,omitzero"`  // of a message that waits: when it is tried again; zero: not known
}

// Key is the id under which the journal has the outcome: that of the message, unless it
// is no end. A deferral that is written late must not take the place of the end.
func (o Outcome) Key() string {
	if o.End == Deferred {
		return string(o.ID) + "+deferred"
	}
	return string(o.ID)
}

// Encode returns what is written into the journal.
func (o Outcome) Encode() []byte {
	o.Address, o.Why, o.Via = o.Recipient(), clip(o.Why), clip(o.Via)
	out := rooms.Get().(*[]byte)
	defer rooms.Put(out)
	c := coder{next: '{', out: (*out)[:0]}
	o.fields(&c)
	if c.err != nil {
		// Only a time beyond the year 9999 cannot be written, and how the message
		// ended is worth more than when it began.
		o.Accepted, o.Sent, o.Parked, o.Revived, o.Next = time.Time{}, time.Time{}, time.Time{}, time.Time{}, time.Time{}
		c = coder{next: '{', out: c.out[:0]}
		o.fields(&c)
	}
	*out = append(c.out, '}')
	return bytes.Clone(*out)
}

// fields names the members, those of the record first.
func (o *Outcome) fields(c *coder) {
	o.Record.fields(c)
	c.text("jid", &o.Address, required)
	c.text("end", (*string)(&o.End), required)
	c.text("proof", &o.Proof, optional)
	c.text("why", &o.Why, optional)
	c.time("ended", &o.Ended, required)
	attempts := uint64(max(0, o.Attempts)) //nolint:gosec // at least that
	c.number("attempts", &attempts, math.MaxInt32)
	o.Attempts = int(attempts) //nolint:gosec // at most that
	c.text("node", &o.Node, optional)
	c.text("via", &o.Via, optional)
	c.time("next", &o.Next, optional)
}

// DecodeOutcome reads what Encode has written.
func DecodeOutcome(data []byte) (Outcome, error) {
	var o Outcome
	c := coder{reading: true, next: '{', in: string(data)}
	if o.fields(&c); c.in == "}" && c.next == ',' {
		return o, nil
	}
	o = Outcome{}
	if err := json.Unmarshal(data, &o); err != nil {
		return o, fmt.Errorf("custody: outcome: %w", err)
	}
	return o, nil
}
