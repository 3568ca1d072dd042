package custody

import (
	"bytes"
	"container/list"
	"sync"
	"sync/atomic"

	"mcmt2xmpp/mcmt"
)

const (
	maxPassed    = 16 << 20 // bytes that Passed holds, by what its values were made of
	passedSpread = 2 << 10  // bytes that a value takes beside
)

// Passed hands what was parsed of bytes from one stage to the next in the same process,
// which would parse the same bytes again. It holds 16 MiB at most, of the youngest; what is
// not in it is parsed again. The zero value is empty, nil holds nothing. It is safe for
// concurrent use.
type Passed[K comparable, V any] struct {
	mu   sync.Mutex
	all  map[K]*list.Element // of passed[K, V]
	ages list.List           // the oldest first
	size int

	taken, missed atomic.Uint64
}

// Parsed are messages that intake has parsed, for conversion.
type Parsed = Passed[ParsedKey, *mcmt.Message]

// ParsedKey is a message, and how it was read.
type ParsedKey struct {
	ID        mcmt.ID
	Reception mcmt.Reception
}

// Parsing is what r is called among Parsed.
func (r Record) Parsing() ParsedKey { return ParsedKey{r.ID, r.Reception} }

type passed[K comparable, V any] struct {
	key   K
	of    []byte
	value V
}

func (p *passed[K, V]) size() int { return len(p.of) + passedSpread }

// PassedStats are counts since the start: how many values were handed on, and how many
// were asked for in vain.
type PassedStats struct{ Taken, Missed uint64 }

// Stats returns the counts since the start.
func (c *Passed[K, V]) Stats() PassedStats {
	if c == nil {
		return PassedStats{}
	}
	return PassedStats{c.taken.Load(), c.missed.Load()}
}

// Keep remembers the value, which stands for the bytes of, until it is taken or younger
// ones need its room. Nobody else may use it any more, nor write to of.
func (c *Passed[K, V]) Keep(key K, of []byte, value V) {
	if c == nil {
		return
	}
	p := &passed[K, V]{key, of, value}
	if p.size() > maxPassed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = make(map[K]*list.Element)
	}
	c.remove(c.all[key])
	c.size += p.size()
	c.all[key] = c.ages.PushBack(p)
	for c.size > maxPassed {
		c.remove(c.ages.Front())
	}
}

// Take returns the value of that key and forgets it; false where it is not there, or stands
// for other bytes than of.
func (c *Passed[K, V]) Take(key K, of []byte) (value V, ok bool) {
	if c == nil {
		return value, false
	}
	c.mu.Lock()
	p := c.remove(c.all[key])
	c.mu.Unlock()
	if p == nil || !bytes.Equal(p.of, of) {
		c.missed.Add(1)
		return value, false
	}
	c.taken.Add(1)
	return p.value, true
}

// remove forgets a value and returns it; nil where e is none. c.mu is held.
func (c *Passed[K, V]) remove(e *list.Element) *passed[K, V] {
	if e == nil {
		return nil
	}
	p := e.Value.(*passed[K, V])
	c.ages.Remove(e)
	delete(c.all, p.key)
	c.size -= p.size()
	return p
}
