package filters

import (
	"strings"
	"sync"
	"time"
	"unicode"

	"mcmt2xmpp/xmpp/xmlwire"
)

const (
	maxSamples  = 16          // samples kept per filter
	sampleEvery = time.Second // at most one in this time, so that sampling costs nothing under load
	sampleBytes = 2048        // longest stanza text of a sample
)

// Sample is one verdict of a filter in shadow mode, and the stanza with letters
// and digits obfuscated in all but its addresses.
type Sample struct {
	Time      time.Time `json:"time"`
	Direction Direction `json:"direction"`
	Verdict
	Stanza string `json:"stanza"`
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
	text.ID, text.Element = obfuscate(text.ID), blank(it.Stanza.Element)
	b := text.Append(nil, "")
	sample := Sample{now, it.Direction, v, strings.ToValidUTF8(string(b[:min(len(b), sampleBytes)]), "")}
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

// blank returns a copy of e in which nobody can read what was written, at any
// depth: text is not only in the body, and not only in character data. What is
// left of a value shows its length and shape.
func blank(e *xmlwire.Element) *xmlwire.Element {
	c := &xmlwire.Element{Name: e.Name, Attrs: make([]xmlwire.Attr, len(e.Attrs)), Children: make([]xmlwire.Node, len(e.Children))}
	for i, a := range e.Attrs {
		if !plainAttrs[a.Name] {
			a.Value = obfuscate(a.Value)
		}
		c.Attrs[i] = a
	}
	for i, n := range e.Children {
		if n.Element != nil {
			c.Children[i].Element = blank(n.Element)
		} else {
			c.Children[i].Text = obfuscate(n.Text)
		}
	}
	return c
}

// plainAttrs are attributes whose values are words of a protocol.
var plainAttrs = map[xmlwire.Name]bool{
	{Local: "type"}: true, {Local: "stamp"}: true, {Space: xmlwire.XML, Local: "lang"}: true,
}

// obfuscate replaces digits by 9, white space by itself and ASCII punctuation
// likewise, and all else by x: letters of any script, signs that combine with
// them, pictures.
func obfuscate(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsDigit(r):
			return '9'
		case unicode.IsSpace(r), r < unicode.MaxASCII && unicode.In(r, unicode.Punct, unicode.Symbol):
			return r
		}
		return 'x'
	}, text)
}
