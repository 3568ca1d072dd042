package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

var (
	// ErrSuspended means that the connection of a managed stream is lost and its
	// peer may come back and resume it (XEP-0198 §5). It is temporary.
	ErrSuspended = errors.New("stream is suspended")

	// ErrUnacked means that a suspended stream holds as much for its peer as it may.
	ErrUnacked = errors.New("too much waits for the peer")
)

// Managing is how a stream is managed (XEP-0198).
type Managing struct {
	// Resumable suspends the stream where its connection is lost: what is sent
	// then waits for the peer.
	Resumable bool
	// Answer is how long the peer may take to acknowledge before Overdue is
	// called. After half of it it is asked once more. Zero: for ever.
	Answer time.Duration
	// Settling is how long nothing is written behind <enable/> or <enabled/>.
	Settling time.Duration
	// Overdue is called in a goroutine of its own and must not block.
	Overdue func()
}

// managed is the stream management of a Writer, whose mutex guards it.
type managed struct {
	acks
	o         Managing
	state     state
	requested uint64 // an <r/> is queued behind this many stanzas
	since     int    // bytes of stanzas after it
	probing   bool   // an <r/> is queued whose answer is to show that the peer lives
	again     bool   // the peer has been asked a second time
	timer     *time.Timer
	proofs    []*ackProof
	told      uint64 // of so many stanzas it was said that they are not known to have arrived
	untold    bool   // of others, which were dropped, it has to be said
	refused   bool   // a kept stanza was refused since, because it would come before them
	known     int    // so much of the queue of a suspended stream another process knows, too
}

// state is what becomes of stanzas that are sent on a managed stream.
type state uint8

const (
	live      state = iota // they are written
	suspended              // they are held
	over                   // they are refused
)

// ackProof is somebody who waits until n stanzas are acknowledged.
type ackProof struct {
	n    uint64
	done chan error // takes one value
}

// Manage queues first, which is <enable/> or <enabled/>, and counts the stanzas
// that are queued after it (§4). Nil: whoever calls it says so to the peer.
func (w *Writer) Manage(ctx context.Context, first *xmlwire.Element, o Managing) error {
	if w.wire != nil && first != nil {
		w.wire(true, first)
	}
	it := item{}
	if first != nil {
		it.rest = o.Settling
	}
	return w.queue(ctx, it, func(b []byte, ns string) []byte {
		w.m = &managed{o: o, acks: acks{maxStanzas: w.unacked, maxBytes: w.unackedBytes}}
		if first == nil {
			return b
		}
		return xmlwire.Append(b, first, ns)
	})
}

// Managed says whether stream management is enabled.
func (w *Writer) Managed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.m != nil || w.next != nil
}

// SendKept is SendStanza for a stanza that the caller keeps: a stream that is
// resumed does not send it again by itself, and one that is suspended refuses it
// with ErrSuspended. So does one that was resumed, once, where kept stanzas before this one
// were dropped and Prove has not said so: it would come before them. had says that the peer
// has received an earlier one of that id, whose caller did not learn it from Prove; nothing is
// queued then.
func (w *Writer) SendKept(ctx context.Context, st *stanza.Stanza, id string) (had bool, err error) {
	w.mu.Lock()
	next, m := w.next, w.m
	asleep := m != nil && m.state == suspended
	had = m != nil && !asleep && m.takeHad(id)
	early := m != nil && !asleep && !had && m.refuse()
	w.mu.Unlock()
	switch {
	case next != nil:
		return next.SendKept(ctx, st, id)
	case asleep, early:
		// When it is resumed the peer's count may tell that it has this one.
		return false, ErrSuspended
	case had:
		return true, nil
	}
	return false, w.sendStanza(ctx, st, item{stanza: true, kept: true, id: id})
}

// refuse says whether a kept stanza has to wait for those that were dropped before it. A
// second one in a row need not: whoever has sent those does not ask about them.
func (m *managed) refuse() bool {
	if !m.untold || m.refused {
		m.untold, m.refused = false, false
		return false
	}
	m.refused = true
	return true
}

// Acknowledge takes the peer's <a/>. The error is an *AckError.
func (w *Writer) Acknowledge(h uint32) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.m
	if m == nil || m.state != live {
		return nil
	}
	before := m.acked
	if err := m.ack(h); err != nil {
		return err
	}
	if m.acked > before || m.probing {
		m.probing, m.again = false, false
		m.watch(w)
	}
	m.proofs = slices.DeleteFunc(m.proofs, func(p *ackProof) bool {
		if p.n > m.acked {
			return false
		}
		m.settled(p.n)
		p.done <- nil
		return true
	})
	w.broadcast()
	return nil
}

// Prove returns when the peer has acknowledged all that was sent before the
// call. It fails at once with ErrSuspended where the stream is or becomes
// suspended, and once where it was so before, if something was sent then that a sender
// keeps and did not ask about: it is not sent again, and must not count as received for
// what the peer has acknowledged since.
func (w *Writer) Prove(ctx context.Context) error {
	w.mu.Lock()
	m := w.m
	switch {
	case w.next != nil:
		next := w.next
		w.mu.Unlock()
		return next.Prove(ctx)
	case m == nil || m.state == over || m.state == live && w.closing:
		w.mu.Unlock()
		return ErrClosed
	case m.state == suspended:
		m.told = m.sent()
		w.mu.Unlock()
		return ErrSuspended
	case m.untold:
		m.untold, m.refused = false, false
		w.mu.Unlock()
		return ErrSuspended
	case w.err != nil:
		defer w.mu.Unlock()
		return w.err
	}
	p := &ackProof{n: m.sent(), done: make(chan error, 1)}
	if p.n == m.acked {
		m.settled(p.n)
		w.mu.Unlock()
		return nil
	}
	m.proofs = append(m.proofs, p)
	w.request(false)
	w.mu.Unlock()
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		w.forget(p)
		return ctx.Err()
	}
}

// forget is for a caller that waits no longer: it has learnt from elsewhere what
// it needs to know.
func (w *Writer) forget(p *ackProof) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := w.m; m != nil && slices.Contains(m.proofs, p) {
		m.proofs = slices.DeleteFunc(m.proofs, func(o *ackProof) bool { return o == p })
		m.settled(p.n)
	}
}

// Probe asks the peer for an answer, whatever it has acknowledged.
func (w *Writer) Probe() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m != nil {
		w.request(true)
	}
}

var nameRequest = xmlwire.Name{Space: NSManagement, Local: "r"}

// request queues an <r/>; w.mu is held. It stands behind every burst that is
// written, and within one after each record's worth: what may wait unacknowledged
// is bounded, and a slow connection carries a burst for a long time. With probe the
// answer is to show that the peer lives.
func (w *Writer) request(probe bool) {
	m := w.m
	if m.state != live || w.closing || w.err != nil {
		return
	}
	e := xmlwire.Element{Name: nameRequest}
	if w.wire != nil {
		w.wire(true, &e)
	}
	w.put(func(b []byte, ns string) []byte { return xmlwire.Append(b, &e, ns) })
	waited := m.waits()
	m.requested, m.since, m.probing = m.sent(), 0, m.probing || probe
	if !waited {
		m.watch(w)
	}
	w.signal()
}

// count takes a stanza that was appended to the queue as xml; w.mu is held.
func (w *Writer) count(it item, xml []byte) {
	m := w.m
	u := unacked{at: time.Now(), kept: it.kept, id: it.id}
	if !it.kept {
		u.xml = slices.Clone(xml)
	}
	m.add(u)
	if m.since += len(xml); m.since >= record {
		w.request(false)
	}
}

// waits says whether the peer owes an answer.
func (m *managed) waits() bool { return m.probing || m.acked < m.requested }

// watch begins to wait for an answer anew, or ends it where none is owed.
func (m *managed) watch(w *Writer) {
	switch {
	case m.o.Answer <= 0:
	case !m.waits():
		if m.timer != nil {
			m.timer.Stop()
		}
	case m.timer == nil:
		m.timer = time.AfterFunc(m.o.Answer/2, func() { w.overdue(m) })
	default:
		m.timer.Reset(m.o.Answer / 2)
	}
}

// overdue asks once more, for a peer that has answered with too low a count while
// it was busy, and then gives up.
func (w *Writer) overdue(m *managed) {
	w.mu.Lock()
	gone := false
	switch {
	case w.m != m || m.state != live || !m.waits():
	case !m.again:
		m.again = true
		w.request(false)
		m.timer.Reset(m.o.Answer / 2)
	default:
		gone = true
	}
	w.mu.Unlock()
	if gone {
		m.o.Overdue()
	}
}

// hold takes a stanza for a stream that is suspended; w.mu is held.
func (m *managed) hold(it item, write writing, ns string) error {
	switch {
	case !it.stanza || it.kept:
		return ErrSuspended
	case m.full(2): // the stream may have been suspended for being full
		return ErrUnacked
	}
	m.add(unacked{at: time.Now(), xml: write(nil, ns)})
	return nil
}

// Suspend is for a connection that is dead, whoever knows it. It returns the writer
// that holds what is sent from now on; it has no connection, and whoever uses w gets
// there. For a stream that cannot be resumed that is w.
func (w *Writer) Suspend() *Writer {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.next != nil:
		return w.next
	case w.m == nil || !w.m.suspend() && w.m.state != suspended:
		return w
	}
	w.next = &Writer{content: w.content, wire: w.wire, m: w.m, err: ErrClosed, moved: make(chan struct{})}
	w.m, w.buf = nil, nil
	w.broadcast()
	return w.next
}

// suspend says whether the stream was live and is suspended now.
func (m *managed) suspend() bool {
	if m.state != live || !m.o.Resumable {
		return false
	}
	m.end(suspended, ErrSuspended)
	return true
}

// end leaves the live state; all who wait for acknowledgement learn why.
func (m *managed) end(s state, why error) {
	m.state = s
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	for _, p := range m.proofs {
		m.told = max(m.told, p.n)
		p.done <- why
	}
	m.proofs = nil
}

// lost is the end of the connection by err; w.mu is held.
func (m *managed) lost(err error) {
	if m.state == live && !m.suspend() {
		m.end(over, err)
	}
}

// resume goes on with what old holds since it was suspended (§5): h is how
// much of it the peer has received, first goes out before what it has not, which
// is sent again before anything new. The error is an *AckError, or ErrClosed for
// an old that is not suspended; nothing has changed then.
func (w *Writer) resume(old *Writer, h uint32, first []*xmlwire.Element, o Managing) error {
	old.mu.Lock()
	defer old.mu.Unlock()
	m := old.m
	if m == nil || m.state != suspended {
		return ErrClosed
	}
	if err := m.ack(h); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old.m, old.next = nil, w
	if m.unasked(m.told) {
		m.untold, m.refused = true, false
	}
	m.told = 0
	m.resumed()
	m.o, m.state, m.requested, m.since, m.probing, m.again = o, live, m.acked, 0, false, false
	w.m = m
	for _, e := range first {
		if w.wire != nil {
			w.wire(true, e)
		}
		w.put(func(b []byte, ns string) []byte { return xmlwire.Append(b, e, ns) })
	}
	for _, u := range m.queue {
		w.again(u.xml)
	}
	w.signal()
	return nil
}

// received takes the count of a peer that will not resume the stream. One that is too
// high says nothing.
func (w *Writer) received(h uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m != nil && w.m.state == suspended {
		_ = w.m.ack(h)
	}
}

// again queues a stanza as it was written for another connection; w.mu is held.
func (w *Writer) again(xml []byte) {
	if w.wire == nil && !w.framed && (w.observer == nil || !w.observer.Observing()) {
		w.buf = append(w.buf, xml...)
		return
	}
	st, err := parseSent(xml, w.content)
	if err != nil {
		return // it was written by us
	}
	if w.wire != nil {
		w.wire(true, st.Element)
	}
	w.put(func(b []byte, ns string) []byte { return st.Append(b, ns) })
	w.observe(st, nil)
}

// Unacked is a stanza that was sent and of which it is not known whether it has
// arrived.
type Unacked struct {
	Stanza *stanza.Stanza
	Sent   time.Time
}

// Release ends stream management and sending. It returns what is not acknowledged,
// but for what its senders keep.
func (w *Writer) Release() []Unacked {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next != nil {
		return w.next.Release()
	}
	m := w.m
	if m == nil || m.state == over && m.queue == nil {
		return nil
	}
	m.end(over, ErrClosed)
	queue := m.queue
	m.acks = acks{}
	w.broadcast()
	var all []Unacked
	for _, u := range queue {
		if u.kept {
			continue
		}
		if st, err := parseSent(u.xml, w.content); err == nil {
			all = append(all, Unacked{st, u.at})
		}
	}
	return all
}

// parseSent reads a stanza back from the text that was made of it for a stream.
func parseSent(xml []byte, content string) (*stanza.Stanza, error) {
	header := "<stream:stream xmlns='" + content + "' xmlns:stream='" + xmlwire.Streams + "'>"
	// It was within some limits once, and has grown by what we add.
	n := len(header) + len(xml)
	dec := xmlwire.NewDecoder(io.MultiReader(strings.NewReader(header), bytes.NewReader(xml)),
		xmlwire.Limits{Bytes: n, Depth: n, Attrs: n, Children: n})
	if _, err := dec.Header(); err != nil {
		return nil, err
	}
	e, err := dec.Next()
	if err != nil {
		return nil, err
	}
	return stanza.Parse(e)
}
