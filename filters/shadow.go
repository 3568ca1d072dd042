package filters

import (
	"strconv"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	maxSamples  = 16          // samples kept per filter
	sampleEvery = time.Second // at most one in this time, so that sampling costs nothing under load
	sampleBytes = 2048        // longest stanza text of a sample
)

// Sample is one verdict of a filter in shadow mode, and the stanza with all
// character data blanked.
type Sample struct {
	Time      time.Time
	Direction Direction
	Verdict   Verdict
	Stanza    string
}

// samples is a ring of the latest samples.
type samples struct {
	mu   sync.Mutex
	ring []Sample
	next int
	last time.Time
}

// take keeps a sample of it, if it is time for one.
func (s *samples) take(it *Item, v Verdict) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.last) < sampleEvery {
		return
	}
	s.last = now
	text := *it.Stanza
	text.Element = blank(it.Stanza.Element)
	b := text.Append(nil, "")
	sample := Sample{now, it.Direction, v, string(b[:min(len(b), sampleBytes)])}
	if len(s.ring) < maxSamples {
		s.ring = append(s.ring, sample)
		return
	}
	s.ring[s.next] = sample
	s.next = (s.next + 1) % maxSamples
}

// list returns the samples, the oldest first.
func (s *samples) list() []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Sample, 0, len(s.ring))
	out = append(out, s.ring[s.next:]...)
	return append(out, s.ring[:s.next]...)
}

// blank returns a copy of e with its character data replaced by its length, at
// any depth: text is not only in the body.
func blank(e *xmlwire.Element) *xmlwire.Element {
	c := *e
	c.Children = make([]xmlwire.Node, len(e.Children))
	for i, n := range e.Children {
		switch {
		case n.Element != nil:
			c.Children[i].Element = blank(n.Element)
		case isBlank(n.Text):
			c.Children[i].Text = n.Text
		default:
			c.Children[i].Text = "[" + strconv.Itoa(len(n.Text)) + " bytes]"
		}
	}
	return &c
}
