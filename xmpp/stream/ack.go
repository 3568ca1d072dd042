package stream

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

// unacked is a stanza that was sent and is not acknowledged yet.
type unacked struct {
	at  time.Time // when it was sent
	xml []byte    // as it was written; nil where the sender keeps it
	// kept: its sender has it in custody, and sends it again by itself. id names
	// it to the sender; empty: the sender does not ask.
	kept bool
	id   string
}

// known is a kept stanza that the peer has acknowledged, which the sender does
// not know yet.
type known struct {
	n  uint64 // as acks counts; zero: from before the stream was resumed
	id string
}

// acks counts the stanzas that one side of a stream sends, and holds those that
// the other has not acknowledged (XEP-0198 §4). The zero value is a stream on
// which none was sent, without bounds.
type acks struct {
	maxStanzas, maxBytes int       // of queue; zero: no bound
	acked                uint64    // how many are acknowledged; on the wire modulo 2^32
	queue                []unacked // those sent after them
	bytes                int       // of the queue
	had                  []known   // oldest first, at most maxStanzas
}

// sent is how many stanzas were sent.
func (a *acks) sent() uint64 { return a.acked + uint64(len(a.queue)) }

// full says whether the queue has reached times its bounds.
func (a *acks) full(times int) bool {
	return a.maxStanzas > 0 && len(a.queue) >= times*a.maxStanzas || a.maxBytes > 0 && a.bytes >= times*a.maxBytes
}

func (a *acks) add(u unacked) {
	a.queue = append(a.queue, u)
	a.bytes += len(u.xml)
}

// ack takes the count of the peer. A count that it has sent before, or a lower
// one, says nothing new. One that is too high is an *AckError and changes nothing
// (§6).
func (a *acks) ack(h uint32) error {
	n := uint64(h - uint32(a.acked))
	if n > uint64(len(a.queue)) {
		// The only other reading of it is a count of the past.
		if back := uint64(uint32(a.acked) - h); back <= a.acked && back < 1<<31 {
			return nil
		}
		return &AckError{H: h, Sent: uint32(a.sent())}
	}
	for i, u := range a.queue[:n] {
		a.bytes -= len(u.xml)
		if u.id != "" {
			a.had = append(a.had, known{a.acked + uint64(i) + 1, u.id})
		}
	}
	a.acked += n
	a.queue = slices.Delete(a.queue, 0, int(n))
	if len(a.queue) == 0 {
		a.queue = nil // the memory of a burst
	}
	if over := len(a.had) - a.maxStanzas; a.maxStanzas > 0 && over > 0 {
		a.had = slices.Delete(a.had, 0, over)
	}
	return nil
}

// takeHad says whether the peer has acknowledged a kept stanza whose sender does
// not know it. It says so once for each.
func (a *acks) takeHad(id string) bool {
	i := slices.IndexFunc(a.had, func(k known) bool { return k.id == id })
	if id == "" || i < 0 {
		return false
	}
	a.had = slices.Delete(a.had, i, i+1)
	return true
}

// settled says that the sender of the first n stanzas knows what became of them,
// and will not ask.
func (a *acks) settled(n uint64) {
	i := 0
	for i < len(a.had) && a.had[i].n <= n {
		i++
	}
	if a.had = slices.Delete(a.had, 0, i); len(a.had) == 0 {
		a.had = nil
	}
	for i := range a.queue {
		if a.acked+uint64(i) >= n {
			break
		}
		a.queue[i].id = ""
	}
}

// unasked says whether there is something that its sender keeps behind the first n
// stanzas, of which he has learned what became.
func (a *acks) unasked(n uint64) bool {
	for i, u := range a.queue {
		if u.kept && a.acked+uint64(i) >= n {
			return true
		}
	}
	return false
}

// resumed leaves in the queue what is to be sent again on the new stream. The
// others are their senders', and count no more: the peer goes on counting from
// what it has received (§5).
func (a *acks) resumed() {
	a.queue = slices.DeleteFunc(a.queue, func(u unacked) bool { return u.kept })
	for i := range a.had {
		a.had[i].n = 0
	}
}

// AckError is a peer that says it has received more than it was sent (XEP-0198
// §6). Its stream is to be ended with it.
type AckError struct{ H, Sent uint32 }

// Error is the text for a person at the other end.
func (e *AckError) Error() string {
	return fmt.Sprintf("you acknowledged %d stanzas, but only %d were sent so far", e.H, e.Sent)
}

// Unwrap is the stream error without its application-specific condition.
func (e *AckError) Unwrap() error { return &Error{UndefinedCondition, e.Error()} }

// StreamError is the <error/> element (RFC 6120 §4.9.4 has the condition of an
// application after the text).
func (e *AckError) StreamError() *xmlwire.Element {
	own := Error{UndefinedCondition, e.Error()}
	return own.Element().Add(xmlwire.New(NSManagement, "handled-count-too-high",
		"h", strconv.FormatUint(uint64(e.H), 10), "send-count", strconv.FormatUint(uint64(e.Sent), 10)))
}
