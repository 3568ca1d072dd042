package stream

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// ackModel is a stream as the specification tells it: every stanza that was ever
// sent, in a list, and numbers without a limit.
type ackModel struct {
	start uint64 // the count at the beginning
	sent  []modelStanza
	acked int
	had   []string // ids, oldest first
	// settled: of the first so many stanzas nobody asks any more.
	settled int
}

type modelStanza struct {
	id   string // empty: not kept
	size int
}

func (m *ackModel) n() uint64 { return m.start + uint64(len(m.sent)) }

func (m *ackModel) waiting() []modelStanza { return m.sent[m.acked:] }

func (m *ackModel) ack(n int) {
	for i := m.acked; i < n; i++ {
		if id := m.sent[i].id; id != "" && i >= m.settled {
			m.had = append(m.had, id)
		}
	}
	m.acked = n
}

// TestAckModel holds the queue against the model, from counts around the end of 32
// bits on, where the count on the wire begins anew (XEP-0198 §4).
func TestAckModel(t *testing.T) {
	t.Parallel()
	const maxStanzas, maxBytes = 12, 100
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.SampledFrom([]uint64{0, 1, math.MaxInt32 - 1, math.MaxInt32, math.MaxUint32 - 3, math.MaxUint32, math.MaxUint32 + 1, 5 << 32}).Draw(t, "start")
		m := &ackModel{start: start}
		a := &acks{maxStanzas: maxStanzas, maxBytes: maxBytes, acked: start}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				if a.full(1) {
					t.Skip()
				}
				size := rapid.IntRange(1, 40).Draw(t, "size")
				m.sent = append(m.sent, modelStanza{size: size})
				a.add(unacked{xml: []byte(strings.Repeat("x", size))})
			},
			"send kept": func(t *rapid.T) {
				if a.full(1) {
					t.Skip()
				}
				id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "id") // some twice
				m.sent = append(m.sent, modelStanza{id: id})
				a.add(unacked{kept: true, id: id})
			},
			"acknowledge": func(t *rapid.T) {
				n := rapid.IntRange(m.acked, len(m.sent)).Draw(t, "count")
				if err := a.ack(uint32(start + uint64(n))); err != nil {
					t.Fatal(err)
				}
				m.ack(n)
			},
			"acknowledge less": func(t *rapid.T) {
				n := rapid.IntRange(0, m.acked).Draw(t, "count")
				if err := a.ack(uint32(start + uint64(n))); err != nil {
					t.Fatal(err)
				}
			},
			"acknowledge too much": func(t *rapid.T) {
				h := uint32(m.n()) + rapid.Uint32Range(1, math.MaxInt32/2).Draw(t, "more")
				var high *AckError
				if err := a.ack(h); !errors.As(err, &high) || high.H != h || high.Sent != uint32(m.n()) {
					t.Fatalf("count %d after %d sent: %v", h, m.n(), err)
				}
			},
			"ask": func(t *rapid.T) {
				id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", ""}).Draw(t, "id")
				i := slices.Index(m.had, id)
				if i >= 0 {
					m.had = slices.Delete(m.had, i, i+1)
				}
				if got := a.takeHad(id); got != (i >= 0) {
					t.Fatalf("%q was received: %v, want %v", id, got, i >= 0)
				}
			},
			"settle": func(t *rapid.T) {
				// As Prove does, which waits for all that was sent before.
				a.settled(m.n())
				m.settled, m.had = len(m.sent), nil
			},
			"resume": func(t *rapid.T) {
				a.resumed()
				rest := slices.DeleteFunc(slices.Clone(m.waiting()), func(s modelStanza) bool { return s.id != "" || s.size == 0 })
				m.sent = append(m.sent[:m.acked], rest...)
				m.settled = min(m.settled, len(m.sent))
			},
			"": func(t *rapid.T) {
				size := 0
				for _, s := range m.waiting() {
					size += s.size
				}
				if a.sent() != m.n() || a.bytes != size || len(a.queue) != len(m.waiting()) {
					t.Fatalf("sent %d (%d bytes, %d unacknowledged), want %d (%d, %d)", a.sent(), a.bytes, len(a.queue), m.n(), size, len(m.waiting()))
				}
				if len(m.had) > maxStanzas {
					m.had = m.had[len(m.had)-maxStanzas:]
				}
				var had []string
				for _, k := range a.had {
					had = append(had, k.id)
				}
				if !slices.Equal(had, m.had) {
					t.Fatalf("received and not asked for: %v, want %v", had, m.had)
				}
				if full := len(m.waiting()) >= maxStanzas || size >= maxBytes; a.full(1) != full {
					t.Fatalf("full: %v, want %v", a.full(1), full)
				}
			},
		})
	})
}

// TestAckBounds: what nobody asks for is forgotten, the oldest first.
func TestAckBounds(t *testing.T) {
	t.Parallel()
	a := &acks{maxStanzas: 3}
	for i := range 10 {
		a.add(unacked{kept: true, id: fmt.Sprint(i)})
		if err := a.ack(uint32(i + 1)); err != nil {
			t.Fatal(err)
		}
	}
	if a.takeHad("6") || !a.takeHad("7") || a.takeHad("7") || !a.takeHad("9") {
		t.Errorf("remembered: %v", a.had)
	}
	if a.queue != nil {
		t.Error("an empty queue keeps memory")
	}
	// Before the first there was none: this is no count of the past.
	if err := new(acks).ack(math.MaxUint32); err == nil {
		t.Error("one less than none is taken")
	}
}
