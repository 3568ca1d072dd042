package custody

import (
	"encoding/json"
	"fmt"
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
)

// Outcome is the record of a message that has ended, as the journal keeps it.
type Outcome struct {
	Record
	Address  string    `json:"jid"` // Record.JID
	End      End       `json:"end"`
	Proof    string    `json:"proof,omitempty"` // how a delivery is known
	Why      string    `json:"why,omitempty"`   // of any other end
	Ended    time.Time `json:"ended"`
	Attempts int       `json:"attempts,omitempty"`
	Node     string    `json:"node,omitempty"` // the process that ended it
}

// Encode returns what is written into the journal.
func (o Outcome) Encode() []byte {
	o.Address, o.Why = o.JID.String(), clip(o.Why)
	data, err := json.Marshal(o)
	if err != nil {
		// The record itself was made of JSON: only a time beyond the year 9999 is
		// none, and how the message ended is worth more than when it began.
		o.Accepted, o.Sent, o.Parked = time.Time{}, time.Time{}, time.Time{}
		data, _ = json.Marshal(o)
	}
	return data
}

// DecodeOutcome reads what Encode has written.
func DecodeOutcome(data []byte) (Outcome, error) {
	var o Outcome
	if err := json.Unmarshal(data, &o); err != nil {
		return o, fmt.Errorf("custody: outcome: %w", err)
	}
	return o, nil
}
