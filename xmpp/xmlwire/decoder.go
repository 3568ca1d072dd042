package xmlwire

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Sizes of a decoder's buffer in bytes: what it starts with and waits for the next
// element with, what it reads at least within one, and what it may keep while little
// is in it.
const (
	idleSize = 512
	readSize = 4 << 10
	keepSize = 64 << 10
)

// quietReads is how many reads in a row fit into idleSize before a larger buffer is
// given back: most streams are idle most of the time.
const quietReads = 4

// emptyReads is how many reads may return nothing before the reader counts as
// broken.
const emptyReads = 100

// Decoder reads one XML stream (RFC 6120 §4): a header, then elements. Only one
// goroutine may use it at a time.
//
// An error of the underlying reader is returned wrapped and is not for good:
// after a timeout the same call may be made again and goes on where the input
// stopped. An *Error is for good.
type Decoder struct {
	r       io.Reader
	p       parser
	readErr error // came with bytes that are not used up yet
}

// NewDecoder returns a decoder of the stream that r begins with. Zero fields of
// lim mean the defaults.
func NewDecoder(r io.Reader, lim Limits) *Decoder {
	d := new(Decoder)
	d.SetLimits(lim)
	d.Reset(r)
	return d
}

// SetLimits changes the limits from the next element on; the one that is partly
// read may be held to either.
func (d *Decoder) SetLimits(lim Limits) { d.p.lim = lim.orDefault() }

// Reset begins a new stream on r. Everything known of the old one is forgotten
// and its buffered bytes are dropped: ask Buffered first where they matter
// (RFC 6120 §5.3.3).
func (d *Decoder) Reset(r io.Reader) {
	d.r, d.readErr = r, nil
	d.p.restart(d.p.buf[:0], true)
}

// restart makes the parser ready for the document or stream that begins with buf.
func (p *parser) restart(buf []byte, stream bool) {
	p.buf, p.stream = buf, stream
	p.start, p.pos, p.seen, p.quote, p.base = 0, 0, 0, 0, 0
	p.phase, p.broken, p.root = atStart, nil, ""
	p.tree.reset()
}

// Buffered returns how many bytes were read from the reader and belong to
// nothing that was returned yet.
func (d *Decoder) Buffered() int { return len(d.p.buf) - d.p.start }

// Unread returns the bytes that Buffered counts, to look at until the next call.
func (d *Decoder) Unread() []byte { return d.p.buf[d.p.start:] }

// waitSize is the buffer of a decoder that waits.
const waitSize = 64

// Wait reads from the reader where nothing is buffered, and returns when something is.
// It keeps little memory meanwhile. The error is that of the reader; the next call of
// Next meets it again, if the reader does.
func (d *Decoder) Wait() error {
	if d.Buffered() > 0 || d.readErr != nil || d.p.phase == closed {
		return nil
	}
	d.p.rest()
	return d.read()
}

// rest makes a parser that has nothing in progress small.
func (p *parser) rest() {
	p.base += int64(p.start)
	p.buf, p.start, p.pos, p.seen = make([]byte, 0, waitSize), 0, 0, 0
	p.tree.shed()
}

// Namespace returns the namespace that the stream header bound to a prefix, the
// default namespace for "". ok is false where it bound none.
func (d *Decoder) Namespace(prefix string) (ns string, ok bool) {
	t := &d.p.tree
	for i := t.outer - 1; i > xmlPrefix; i-- {
		if t.decls[i].prefixS == prefix {
			return t.decls[i].ns, true
		}
	}
	return "", false
}

// Header reads the XML declaration, if there is one, and the opening tag of the
// stream, and returns it as an element without children. The prefixes that it
// declares hold for all that follows; Namespace tells them. io.EOF means that
// the connection ended before anything came, io.ErrUnexpectedEOF that it ended
// within the header.
func (d *Decoder) Header() (*Element, error) {
	if d.p.phase > prolog {
		return nil, errors.New("xmlwire: stream header was read already")
	}
	if _, err := d.event(); err != nil {
		return nil, err
	}
	return d.p.takeHeader(), nil
}

// Next returns the next child of the stream, whole. White space between is
// skipped. io.EOF means that the stream was closed by its end tag,
// io.ErrUnexpectedEOF that the connection ended without one.
func (d *Decoder) Next() (*Element, error) {
	switch d.p.phase {
	case atStart, prolog:
		return nil, errors.New("xmlwire: stream header was not read yet")
	case closed:
		return nil, io.EOF
	}
	ev, err := d.event()
	switch {
	case err != nil:
		return nil, err
	case ev == gotEnd:
		d.p.forget()
		return nil, io.EOF
	}
	return d.p.take(), nil
}

// event reads until the parser comes to something.
func (d *Decoder) event() (event, error) {
	for {
		ev, err := d.p.next()
		if err != nil || ev != needMore {
			return ev, err
		}
		if err := d.fill(); err != nil {
			return needMore, err
		}
	}
}

// fill reads at least one byte into the buffer.
func (d *Decoder) fill() error {
	if err := d.readErr; err != nil {
		d.readErr = nil
		return d.ended(err)
	}
	d.p.makeRoom()
	return d.read()
}

// read reads at least one byte into the room that there is.
func (d *Decoder) read() error {
	b := d.p.buf
	for range emptyReads {
		n, err := d.r.Read(b[len(b):cap(b)])
		d.p.buf = b[:len(b)+n]
		switch {
		case n > 0:
			d.readErr = err
			return nil
		case err != nil:
			return d.ended(err)
		}
	}
	return d.ended(io.ErrNoProgress)
}

// ended says what a read error means here.
func (d *Decoder) ended(err error) error {
	switch {
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("xmlwire: read: %w", err)
	case d.p.base+int64(len(d.p.buf)) == 0:
		return io.EOF
	}
	return io.ErrUnexpectedEOF
}

// makeRoom frees at least readSize bytes at the end of buf, idleSize between elements:
// it moves the element in progress to the front, takes a larger buffer where that one
// is long, and a small one again after it, so that one large stanza does not cost its
// size for as long as the connection lasts.
func (p *parser) makeRoom() {
	held := len(p.buf) - p.start
	size := cap(p.buf)
	readSize := readSize
	if p.quiet++; held > 0 || len(p.buf) > idleSize {
		p.quiet = 0
	}
	if held == 0 {
		readSize = idleSize
	}
	switch {
	case p.quiet >= quietReads && size > idleSize:
		size = idleSize
	case held < readSize && size > keepSize:
		size = 2 * readSize // of an element, or nothing yet
	case size-len(p.buf) >= readSize || size-held >= readSize && p.start > 0:
	default:
		size = max(2*size, held+readSize)
	}
	if size == cap(p.buf) && size-len(p.buf) >= readSize {
		return
	}
	to := p.buf[:cap(p.buf)]
	if size != cap(p.buf) {
		to = make([]byte, size)
	}
	n := copy(to, p.buf[p.start:])
	p.base += int64(p.start)
	p.pos -= p.start
	p.seen = max(p.seen-p.start, p.pos)
	p.buf, p.start = to[:n], 0
}

var parsers = sync.Pool{New: func() any { return new(parser) }}

// Parse parses a whole document: an optional XML declaration, one element, white
// space. It keeps nothing of b. The error is an *Error, or io.ErrUnexpectedEOF
// where b ends before the element does.
func Parse(b []byte, lim Limits) (*Element, error) {
	p := parsers.Get().(*parser)
	defer func() {
		if cap(p.buf) <= keepSize {
			parsers.Put(p)
		}
	}()
	p.lim = lim.orDefault()
	p.restart(append(p.buf[:0], b...), false)
	ev, err := p.next()
	switch {
	case err != nil:
		return nil, err
	case ev == needMore:
		return nil, io.ErrUnexpectedEOF
	}
	p.phase = closed
	e := p.take()
	if _, err := p.next(); err != nil {
		return nil, err
	}
	if p.pos < len(p.buf) {
		return nil, &Error{NotWellFormed, int64(p.pos), "markup after the outermost element"}
	}
	return e, nil
}
