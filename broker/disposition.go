package broker

import (
	"context"
	"time"
)

// Handler does the work of a stage.
type Handler interface {
	// Handle gets a run of consecutive messages of one route, at least one, in
	// order, and says for each what becomes of it. Missing dispositions count
	// as the zero value. After the first Retry the rest of the run is given
	// again, later and in order, whatever was said about it: stop there.
	//
	// A message may be given again after a crash although it was dealt with; it
	// then carries the same ID. When ctx ends, come back soon: what is not
	// decided is given again.
	Handle(ctx context.Context, ds []*Delivery) []Disposition
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, ds []*Delivery) []Disposition

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, ds []*Delivery) []Disposition { return f(ctx, ds) }

// Disposition says what becomes of one message. The zero value gives it again soon.
type Disposition struct {
	kind   dispositionKind
	after  time.Duration
	reason string
	cause  error
	msgs   []Message
	record *Record
}

type dispositionKind uint8

const (
	kindRetry dispositionKind = iota
	kindAck
	kindTerm
	kindMove
)

// Ack ends the message: its work is done.
func Ack() Disposition { return Disposition{kind: kindAck} }

// Retry gives the message again after a while, and only then what follows it on
// its route. Zero or less: soon, and less soon each time.
func Retry(after time.Duration) Disposition { return Disposition{kind: kindRetry, after: after} }

// Term gives the message up: it goes to the stage Dead with the reason and is
// acknowledged. What stands before the first ":" names the kind of reason and
// becomes part of the subject: "expired: after 14 days".
func Term(reason string) Disposition { return Disposition{kind: kindTerm, reason: reason} }

// Dead says whether this is a Term.
func (d Disposition) Dead() bool { return d.kind == kindTerm }

// Again says whether this gives the message again.
func (d Disposition) Again() bool { return d.kind == kindRetry }

// Move stores msgs and then acknowledges the message they come from. Give them
// IDs that follow from its ID, so that a repetition after a crash is recognised.
// While the store does not take them the route waits; the handler is not asked
// again. No messages: Ack.
func Move(msgs ...Message) Disposition { return Disposition{kind: kindMove, msgs: msgs} }

// Because notes the error behind a Retry or Term; the first and the last of
// them go to Dead with the message.
func (d Disposition) Because(err error) Disposition {
	d.cause = err
	return d
}

// Recorded notes in the journal what became of the message: data, under the id
// and the recipient, in place of what is noted there. The record is stored, with
// DurabilityPower on the disk, before the message is let go; its route does not
// wait for that. While the journal cannot be written the message stays; a record
// that can never be written (over 64 KiB) is logged and done without. A Retry
// records nothing, nor does a Move of what the store refuses for good, which goes
// to Dead.
func (d Disposition) Recorded(id, recipient string, data []byte) Disposition {
	d.record = &Record{ID: id, Recipient: recipient, Data: data}
	return d
}

// Record is what Recorded was given, nil where it was not.
func (d Disposition) Record() *Record { return d.record }

// Waits of a route whose message is given again soon.
const (
	soonest = 250 * time.Millisecond
	latest  = 8 * time.Second
)

// soon is how long a route waits after its n-th failure in a row, from 1.
func soon(n int) time.Duration {
	return min(soonest<<min(max(n-1, 0), 10), latest)
}
