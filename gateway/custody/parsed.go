package custody

import (
	"bytes"
	"container/list"
	"sync"
	"sync/atomic"

	"mcmt2xmpp/mcmt"
)

const (
	maxParsed    = 16 << 20 // bytes that Parsed holds, by the sizes of messages
	parsedSpread = 2 << 10  // bytes that a message takes beside its own
)

// Parsed hands messages from who has parsed them for their acceptance to the
// conversion in the same process, which would parse the same bytes again: 4 % of what
// a message costs all in all. It holds 16 MiB at most, for the youngest; what is not
// in it is parsed again. The zero value is empty, nil holds nothing. It is safe for
// concurrent use.
type Parsed struct {
	mu   sync.Mutex
	all  map[mcmt.ID]*list.Element // of parsed
	ages list.List                 // the oldest first
	size int

	taken, missed atomic.Uint64
}

type parsed struct {
	id        mcmt.ID
	reception mcmt.Reception
	msg       *mcmt.Message
}

func (p *parsed) size() int { return len(p.msg.Raw) + parsedSpread }

// ParsedStats are counts since the start: how many messages were handed on, and how many
// were asked for in vain.
type ParsedStats struct{ Taken, Missed uint64 }

// Stats returns the counts since the start.
func (c *Parsed) Stats() ParsedStats {
	if c == nil {
		return ParsedStats{}
	}
	return ParsedStats{c.taken.Load(), c.missed.Load()}
}

// Keep remembers the message of r until it is taken, or younger ones need its room.
// Nobody else may use msg any more.
func (c *Parsed) Keep(r Record, msg *mcmt.Message) {
	if c == nil || msg == nil {
		return
	}
	p := &parsed{r.ID, r.Reception, msg}
	if p.size() > maxParsed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[mcmt.ID]*list.Element)
	}
	c.remove(c.all[p.id])
	c.size += p.size()
	c.all[p.id] = c.ages.PushBack(p)
	for c.size > maxParsed {
		c.remove(c.ages.Front())
	}
}

// Take returns the message of r, nil where it is not there, and forgets it. raw is what
// custody holds of it; another message is not returned, whatever its name.
func (c *Parsed) Take(r Record, raw []byte) *mcmt.Message {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	p := c.remove(c.all[r.ID])
	c.mu.Unlock()
	if p == nil || p.reception != r.Reception || !bytes.Equal(p.msg.Raw, raw) {
		c.missed.Add(1)
		return nil
	}
	c.taken.Add(1)
	return p.msg
}

// remove forgets a message and returns it; nil where e is none. c.mu is held.
func (c *Parsed) remove(e *list.Element) *parsed {
	if e == nil {
		return nil
	}
	p := e.Value.(*parsed)
	c.ages.Remove(e)
	delete(c.all, p.id)
	c.size -= p.size()
	return p
}
