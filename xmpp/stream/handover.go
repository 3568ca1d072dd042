package stream

import "time"

// Handover is the stream management of a suspended stream on its way to another
// process, which resumes the stream there (XEP-0198 §5).
type Handover struct {
	Acked uint64 `json:"acked"`          // how many stanzas the peer has acknowledged
	Sent  []Sent `json:"sent,omitempty"` // those after them, but for what their senders keep
	// Had are the ids of kept stanzas, oldest first, that the peer has acknowledged and
	// whose senders do not know it.
	Had []string `json:"had,omitempty"`
	// Untold: kept stanzas are dropped whose senders were not told. Refused: one was refused
	// because of others, which were dropped before.
	Untold  bool `json:"untold,omitempty"`
	Refused bool `json:"refused,omitempty"`
}

// Sent is a stanza as it was written.
type Sent struct {
	At  time.Time `json:"at"`
	XML string    `json:"xml"`
}

// HandOver takes the peer's count and returns what another process needs to go on. The
// stream stays suspended until HandedOver, and may be resumed here after all. The error is
// an *AckError, or ErrClosed for a stream that is not suspended; nothing has changed then.
func (w *Writer) HandOver(h uint32) (Handover, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.m
	if m == nil || m.state != suspended {
		return Handover{}, ErrClosed
	}
	if err := m.ack(h); err != nil {
		return Handover{}, err
	}
	m.known = len(m.queue)
	anew := m.unasked(m.told)
	o := Handover{Acked: m.acked, Sent: sentOf(m.queue), Untold: m.untold || anew, Refused: m.refused && !anew}
	for _, k := range m.had {
		o.Had = append(o.Had, k.id)
	}
	return o, nil
}

// HandedOver ends the stream here, since another process has it, and returns what was sent
// after HandOver.
func (w *Writer) HandedOver() []Sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.m
	if m == nil || m.state != suspended {
		return nil
	}
	rest := sentOf(m.queue[m.known:])
	m.end(over, ErrClosed)
	m.acks = acks{}
	return rest
}

func sentOf(queue []unacked) (all []Sent) {
	for _, u := range queue {
		if !u.kept {
			all = append(all, Sent{u.at, string(u.xml)})
		}
	}
	return all
}

// Restore returns the writer of a suspended stream that another process hands over. It
// can be resumed by s, whose bounds are its own.
func (s *Stream) Restore(o Handover) *Writer {
	m := &managed{state: suspended, untold: o.Untold, refused: o.Refused, acks: acks{
		acked: o.Acked, maxStanzas: s.out.unacked, maxBytes: s.out.unackedBytes,
	}}
	for _, id := range o.Had {
		m.had = append(m.had, known{id: id})
	}
	w := &Writer{content: s.o.Content, wire: s.out.wire, m: m, err: ErrClosed, moved: make(chan struct{})}
	w.Insert(o.Sent)
	return w
}

// Insert adds what HandedOver has returned: behind what was restored, and before what was
// sent to w since.
func (w *Writer) Insert(rest []Sent) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.m
	if m == nil || m.state != suspended {
		return
	}
	since := m.queue[m.known:]
	m.queue = m.queue[:m.known:m.known]
	for _, sent := range rest {
		m.add(unacked{at: sent.At, xml: []byte(sent.XML)})
	}
	m.known = len(m.queue)
	m.queue = append(m.queue, since...)
}
