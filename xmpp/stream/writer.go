package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// record is the most that one write takes from the queue: one TLS record of
// 16 KiB (RFC 8446 §5.1), so one system call carries all that is waiting.
const record = 16 << 10

// ErrSlow says that the queue of a connection stayed full for as long as a Send
// waits: the peer does not read.
var ErrSlow = errors.New("peer does not read")

// Writer is the way out of a connection: a bounded queue of bytes and, while there is
// something to write and a while after it, one goroutine that drains it. All methods are safe for concurrent use; what one
// goroutine sends arrives in the order of its calls.
type Writer struct {
	content  string
	framed   bool // each element is a WebSocket frame (RFC 7395)
	wire     func(out bool, e *xmlwire.Element)
	observer Observer
	remote   net.Addr      // as the observer is told
	limit    int           // bytes
	timeout  time.Duration // for one write of at most a record
	patience time.Duration // for room in the queue
	wake     chan struct{} // capacity 1

	raw net.Conn // below TLS

	// Bounds on what a managed stream may have sent without an acknowledgement.
	unacked, unackedBytes int

	mu      sync.Mutex
	done    chan struct{} // closed when the goroutine has ended; nil: there is none
	m       *managed      // nil without stream management
	next    *Writer       // where the stream was resumed; nil: it was not
	conn    net.Conn
	buf     []byte // queued
	flying  int    // bytes being written now; they count as queued
	waiters int
	moved   chan struct{} // closed, and replaced, when something was written
	closing bool          // nothing may be queued any more
	until   time.Time     // when closing: the end of all writing
	restAt  int           // bytes of buf after which nothing is written for rest; zero: nowhere
	rest    time.Duration
	resting time.Time // until then nothing is written
	err     error     // why the connection is dead
}

func newWriter(conn net.Conn, content string, limit int, timeout time.Duration) *Writer {
	return &Writer{
		content: content, limit: limit, timeout: timeout, raw: conn, conn: conn,
		wake: make(chan struct{}, 1), moved: make(chan struct{}),
	}
}

// Send queues an element. It blocks while the queue is full, at the longest for
// Limits.Patience or until ctx ends: then the error is ErrSlow, wrapping that of
// ctx if it was that. Any other error means that the connection is gone. Nil
// means queued, not written.
func (w *Writer) Send(ctx context.Context, e *xmlwire.Element) error {
	if w.wire != nil {
		w.wire(true, e)
	}
	return w.queue(ctx, item{stanza: stanza.Is(e.Name), element: e}, func(b []byte, ns string) []byte { return xmlwire.Append(b, e, ns) })
}

// SendStanza queues a stanza, like Send.
func (w *Writer) SendStanza(ctx context.Context, st *stanza.Stanza) error {
	return w.sendStanza(ctx, st, item{stanza: true})
}

func (w *Writer) sendStanza(ctx context.Context, st *stanza.Stanza, it item) error {
	if w.wire != nil {
		w.wire(true, flat(st))
	}
	it.what = st
	return w.queue(ctx, it, func(b []byte, ns string) []byte { return st.Append(b, ns) })
}

// SendAnswer is SendStanza for whoever reads the stream. It does not wait for
// acknowledgements, which only the caller could read; twice as much as else may
// wait for them, and beyond that the error is ErrUnacked.
func (w *Writer) SendAnswer(ctx context.Context, st *stanza.Stanza) error {
	return w.sendStanza(ctx, st, item{stanza: true, answer: true})
}

// item is how something that is queued counts in stream management; the zero
// value does not.
type item struct {
	stanza bool
	answer bool   // of whoever reads the stream
	kept   bool   // see unacked
	id     string // likewise
	// rest is how long nothing is written behind it.
	rest time.Duration
	// What it is, for who looks on: one of them, or nothing.
	what    *stanza.Stanza
	element *xmlwire.Element
}

// flat is a stanza's element with the addressing fields written into it.
func flat(st *stanza.Stanza) *xmlwire.Element {
	e, err := xmlwire.Parse(st.Append(nil, ""), xmlwire.Limits{})
	if err != nil {
		return st.Element
	}
	return e
}

// writing appends an element to b, where ns is the default namespace.
type writing = func(b []byte, ns string) []byte

// ns is the default namespace that is in scope for what is written.
func (w *Writer) ns() string {
	if w.framed {
		return ""
	}
	return w.content
}

// put appends one element to the queue and returns its text; w.mu is held.
func (w *Writer) put(write writing) []byte {
	start := len(w.buf)
	if !w.framed {
		w.buf = write(w.buf, w.content)
		return w.buf[start:]
	}
	w.buf = appendFrame(w.buf, opText, func(b []byte) []byte { return write(b, "") })
	return payload(w.buf[start:])
}

func (w *Writer) queue(ctx context.Context, it item, write writing) error {
	w.mu.Lock()
	var patience *time.Timer
	for w.full(it) {
		if patience == nil {
			patience = time.NewTimer(w.patience)
			defer patience.Stop()
		}
		if err := w.wait(ctx, patience.C); err != nil {
			w.mu.Unlock()
			return err
		}
	}
	if next := w.next; next != nil {
		w.mu.Unlock()
		return next.queue(ctx, it, write)
	}
	defer w.mu.Unlock()
	switch {
	case w.m != nil && w.m.state == suspended:
		return w.m.hold(it, write, w.content)
	case w.err != nil:
		return w.err
	case w.closing, w.m != nil && w.m.state == over:
		return ErrClosed
	case it.answer && w.m != nil && w.m.full(2):
		return ErrUnacked
	}
	if xml := w.put(write); it.stanza && w.m != nil {
		w.count(it, xml)
	}
	w.observe(it.what, it.element)
	if it.rest > 0 {
		w.restAt, w.rest = len(w.buf), it.rest
	}
	w.signal()
	return nil
}

// full says whether an item has to wait; w.mu is held. One more stanza is let in
// while there is any room, so that a stanza larger than the queue can be sent:
// memory is bounded by limit + one stanza.
func (w *Writer) full(it item) bool {
	switch {
	case w.err != nil || w.closing || w.next != nil || w.m != nil && w.m.state != live:
		return false // and will not be
	case it.stanza && !it.answer && w.m != nil && w.m.full(1):
		return true
	}
	return len(w.buf)+w.flying >= w.limit
}

// wait gives up the lock until something was written, or the patience is over.
func (w *Writer) wait(ctx context.Context, patience <-chan time.Time) error {
	moved := w.moved
	w.waiters++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		w.waiters--
	}()
	select {
	case <-moved:
		return nil
	case <-patience:
		return ErrSlow
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrSlow, ctx.Err())
	}
}

// signal has the goroutine look at the queue; w.mu is held.
func (w *Writer) signal() {
	if w.done == nil {
		if w.raw == nil || len(w.buf) == 0 {
			return // there is no connection, or nothing for it
		}
		w.done = make(chan struct{})
		go w.run(w.done)
		return
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Flush blocks until all that was queued is written.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.err == nil && len(w.buf)+w.flying > 0 {
		if err := w.wait(ctx, nil); err != nil {
			return fmt.Errorf("flush: %w", err)
		}
	}
	return w.err
}

// Queued is the number of bytes that are not written yet.
func (w *Writer) Queued() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.buf) + w.flying
}

// upgrade goes on on another connection. The queue must be empty.
func (w *Writer) upgrade(conn net.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
}

// finish lets nothing more in, writes what is queued and then last, and ends the
// goroutine, all before until.
func (w *Writer) finish(last []byte, until time.Time) {
	w.mu.Lock()
	if !w.closing && w.err == nil {
		w.buf = append(w.buf, last...)
		w.until = until
		// For the write that is under way, with a later deadline of its own.
		_ = w.raw.SetWriteDeadline(until)
	}
	w.closing = true
	w.broadcast()
	w.signal()
	w.mu.Unlock()
	w.join()
}

// join waits for the end of the goroutine, if there is one.
func (w *Writer) join() {
	w.mu.Lock()
	done := w.done
	w.mu.Unlock()
	if done != nil {
		<-done
	}
}

// kill ends the goroutine without writing what is queued, and closes the
// connection.
func (w *Writer) kill() {
	w.mu.Lock()
	w.fail(ErrClosed)
	w.signal()
	w.mu.Unlock()
}

// Err is why nothing can be sent any more; nil while it can.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// fail records the first error; w.mu is held. The connection is closed, because
// the reader waits on it and must learn of this too.
func (w *Writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
	w.buf = nil
	if w.m != nil {
		w.m.lost(w.err)
	}
	w.broadcast()
	_ = w.raw.Close()
}

func (w *Writer) broadcast() {
	if w.waiters > 0 {
		close(w.moved)
		w.moved = make(chan struct{})
	}
}

var longAgo = time.Unix(1, 0)

// run drains the queue: it takes all that is waiting and writes it in records. It ends
// when there will be nothing any more, or was nothing for a while.
func (w *Writer) run(done chan struct{}) {
	defer close(done)
	idle := time.NewTimer(linger)
	defer idle.Stop()
	var out []byte // the other of two buffers that change places
	for w.take(&out, idle) {
		for rest := out; len(rest) > 0; {
			n := min(len(rest), record)
			if !w.write(rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// keep is how large a buffer may be that stays after a burst, and linger how long it
// and the goroutine stay with a connection on which nothing is sent: most are such.
const (
	keep   = 4 * record
	linger = time.Second
)

// take waits for something to write and changes the buffers. It returns false when the
// goroutine is to end.
func (w *Writer) take(out *[]byte, idle *time.Timer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for late := false; len(w.buf) == 0 && w.err == nil && !w.closing; {
		if late {
			w.buf, w.done = nil, nil
			return false
		}
		if cap(w.buf) > keep {
			w.buf = nil
		}
		if cap(*out) > keep {
			*out = nil
		}
		// Nothing is being written: what TLS writes by itself, while the other
		// side reads, must not meet a deadline that has passed.
		_ = w.conn.SetWriteDeadline(time.Time{})
		w.mu.Unlock()
		idle.Reset(linger)
		select {
		case <-w.wake:
		case <-idle.C:
			late = true
		}
		w.mu.Lock()
	}
	w.sleep(idle)
	if w.err != nil || len(w.buf) == 0 {
		return false
	}
	if n := w.restAt; n > 0 {
		*out = append((*out)[:0], w.buf[:n]...)
		w.buf = append(w.buf[:0], w.buf[n:]...)
		w.restAt, w.resting = 0, time.Now().Add(w.rest)
		w.flying = n
		return true
	}
	if w.m != nil && w.m.sent() > w.m.requested {
		w.request(false)
	}
	*out, w.buf = w.buf, (*out)[:0]
	w.flying = len(*out)
	return true
}

// sleep waits until something may be written again; w.mu is held.
func (w *Writer) sleep(t *time.Timer) {
	for w.err == nil && !w.closing {
		left := time.Until(w.resting)
		if left <= 0 {
			return
		}
		w.mu.Unlock()
		t.Reset(left)
		select {
		case <-w.wake:
		case <-t.C:
		}
		w.mu.Lock()
	}
}

// write writes one record and says whether to go on.
func (w *Writer) write(b []byte) bool {
	w.mu.Lock()
	until := time.Now().Add(w.timeout)
	if w.closing && w.until.Before(until) {
		until = w.until
	}
	conn, err := w.conn, w.err
	if err == nil {
		err = conn.SetWriteDeadline(until)
	}
	w.mu.Unlock()
	if err == nil {
		_, err = conn.Write(b)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flying -= len(b)
	if err != nil {
		w.flying = 0
		w.fail(fmt.Errorf("write: %w", err))
		return false
	}
	w.broadcast()
	return true
}

// KeepAlive has a blank written where nothing waits to be (RFC 6120 §4.6.1): it shows
// whether the connection is still there. Between frames there is none.
func (w *Writer) KeepAlive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !w.closing && !w.framed && len(w.buf) == 0 {
		w.buf = append(w.buf, ' ')
		w.signal()
	}
}
