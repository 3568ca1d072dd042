package stream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"mcmt2xmpp/xmpp/xmlwire"
)

const nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"

// Opcodes of WebSocket frames (RFC 6455 §5.2).
const (
	opMore   = 0x0
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// Codes with which a WebSocket is closed (RFC 6455 §7.4.1).
const (
	closeNormal   = 1000
	closeProtocol = 1002
	closeNotText  = 1003
	closeTooBig   = 1009
)

// maxControl is the longest payload of a control frame (RFC 6455 §5.5).
const maxControl = 125

// Handshake has f speak another protocol on the connection before the stream begins,
// in the time and with the bytes that a peer has before it is authenticated.
func (s *Stream) Handshake(ctx context.Context, f func(io.ReadWriter) error) error {
	s.arm(ctx, s.expires())
	_ = s.raw.SetWriteDeadline(s.expires())
	return f(struct {
		io.Reader
		io.Writer
	}{s.in, s.in.conn})
}

// Limit replaces the limits, when a handshake has shown that others hold for the peer.
// What it has sent counts against the new ones.
func (s *Stream) Limit(l Limits) {
	l = l.orDefault()
	s.in.left = max(0, s.in.left+l.BytesBefore-s.o.Limits.BytesBefore)
	s.o.Limits = l
	s.in.bytes.of, s.stanzas.of = l.Bytes, l.Stanzas
	s.dec.SetLimits(l.Before)
	s.out.bound(l)
}

func (w *Writer) bound(l Limits) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit, w.timeout, w.patience = l.Queue, l.Write, l.Patience
	w.unacked, w.unackedBytes = l.Unacked, l.UnackedBytes
}

// Frame goes on as a WebSocket's server (RFC 7395). rest was read already, and comes
// after the handshake. Nothing of the stream may have been sent.
func (s *Stream) Frame(rest []byte) {
	f := &frames{r: s.in, lim: s.o.Limits.Before, content: s.o.Content, buf: bytes.Clone(rest), code: closeNormal}
	f.pong = s.out.pong
	s.dec = f
	s.out.frame()
}

// Framed says whether the stream is in frames.
func (s *Stream) Framed() bool { return s.out.framed }

func (w *Writer) frame() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.framed = true
}

// pong answers a ping of the WebSocket, unless so much is queued that the peer cannot
// be waiting for it.
func (w *Writer) pong(data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil || w.closing || len(w.buf)+w.flying >= w.limit {
		return
	}
	w.buf = appendFrame(w.buf, opPong, func(b []byte) []byte { return append(b, data...) })
	w.signal()
}

// frames reads a stream from the frames of a WebSocket: one element in each message
// (RFC 7395 §3.3). Like an xmlwire.Decoder it goes on after a read error where it was.
type frames struct {
	r       io.Reader
	lim     xmlwire.Limits
	content string
	pong    func(data []byte)

	buf  []byte // read and not used
	msg  []byte // of a message in several frames, those that came
	part bool   // such a message has begun
	big  bool   // buf is part of much more memory than an idle connection may keep
	over bool   // the peer's close frame has come
	code uint16 // to close the WebSocket with
	err  error  // for good
}

// Header reads <open/> and returns it as the header that it stands for (§3.4).
func (f *frames) Header() (*xmlwire.Element, error) {
	e, err := f.element()
	switch {
	case err == io.EOF:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	case e.Name != xmlwire.Name{Space: nsFraming, Local: "open"}:
		return nil, f.fail(closeNormal, &Error{BadFormat, "expected open"})
	}
	return &xmlwire.Element{Name: xmlwire.Name{Space: xmlwire.Streams, Local: "stream"}, Attrs: e.Attrs}, nil
}

// Next returns the next element; io.EOF stands for <close/> (§3.6).
func (f *frames) Next() (*xmlwire.Element, error) { return f.element() }

// Namespace is as every frame would have it.
func (f *frames) Namespace(prefix string) (string, bool) {
	if prefix == "stream" {
		return xmlwire.Streams, true
	}
	return f.content, prefix == ""
}

// Unread is what was read and belongs to nothing that was returned.
func (f *frames) Unread() []byte {
	if f.part && len(f.buf) == 0 {
		return f.msg
	}
	return f.buf
}

// waitRoom is the buffer of a WebSocket that waits.
const waitRoom = 64

// Wait reads something where nothing is unread. It keeps little memory meanwhile.
func (f *frames) Wait() error {
	if len(f.buf) == 0 {
		f.buf, f.big = make([]byte, 0, waitRoom), false
	}
	return f.fill(1)
}

// SetLimits changes the limits of messages, and of the elements in them.
func (f *frames) SetLimits(lim xmlwire.Limits) { f.lim = lim }

// Reset begins a new stream, on the same WebSocket (§3.7).
func (f *frames) Reset(io.Reader) {}

func (f *frames) element() (*xmlwire.Element, error) {
	for {
		msg, err := f.message()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(msg)) == 0 {
			continue // §3.8 forbids it, and it means nothing
		}
		e, err := xmlwire.Parse(msg, f.lim)
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, f.fail(closeNormal, &Error{NotWellFormed, "a message is not one whole element"})
		case err != nil:
			return nil, f.fail(closeNormal, err)
		case e.Name == xmlwire.Name{Space: nsFraming, Local: "close"}:
			f.err = io.EOF
			return nil, io.EOF
		}
		return e, nil
	}
}

// fail ends the reading for good.
func (f *frames) fail(code uint16, err error) error {
	f.code, f.err = code, err
	return err
}

// message returns the next message of text. It is overwritten by what follows.
func (f *frames) message() ([]byte, error) {
	for f.err == nil {
		h, err := f.header()
		if err != nil {
			return nil, err
		}
		if err := f.fill(h.size + h.length); err != nil {
			return nil, err
		}
		data := f.buf[h.size : h.size+h.length]
		for i := range data {
			data[i] ^= h.mask[i%4]
		}
		f.buf = f.buf[h.size+h.length:]
		if msg, done := f.take(h, data); done {
			return msg, nil
		}
	}
	return nil, f.err
}

// frameHeader is the beginning of a frame (RFC 6455 §5.2).
type frameHeader struct {
	op     byte
	final  bool
	size   int // of itself
	length int // of the payload
	mask   [4]byte
}

// header reads the beginning of the next frame, which stays in the buffer, and holds
// it to what a client may send now: its length too, before any of it is kept.
func (f *frames) header() (h frameHeader, err error) {
	if err := f.fill(2); err != nil {
		return h, err
	}
	first, second := f.buf[0], f.buf[1]
	length := uint64(second & 0x7F)
	h = frameHeader{op: first & 0x0F, final: first&0x80 != 0, size: 2 + 4}
	switch length {
	case 126:
		h.size += 2
	case 127:
		h.size += 8
	}
	if err := f.fill(h.size); err != nil {
		return h, err
	}
	switch length {
	case 126:
		length = uint64(binary.BigEndian.Uint16(f.buf[2:]))
	case 127:
		length = binary.BigEndian.Uint64(f.buf[2:])
	}
	copy(h.mask[:], f.buf[h.size-4:])
	control := h.op >= opClose
	limit := f.lim.Bytes
	if limit <= 0 {
		limit = xmlwire.DefaultLimits.Bytes
	}
	switch {
	case first&0x70 != 0:
		err = f.fail(closeProtocol, &Error{BadFormat, "a frame uses an extension"})
	case second&0x80 == 0:
		err = f.fail(closeProtocol, &Error{BadFormat, "a frame is not masked"}) // §5.1
	case control && (!h.final || length > maxControl):
		err = f.fail(closeProtocol, &Error{BadFormat, "a control frame is cut or too long"})
	case h.op == opBinary:
		err = f.fail(closeNotText, &Error{BadFormat, "a message is not text"}) // RFC 7395 §3.2
	case !control && f.part != (h.op == opMore) || h.op > opBinary && h.op < opClose || h.op > opPong:
		err = f.fail(closeProtocol, &Error{BadFormat, "a frame is out of place"}) // §5.4
	case !control && length > uint64(limit-len(f.msg)):
		err = f.fail(closeTooBig, &Error{PolicyViolation, "a message is too large"})
	}
	h.length = int(length & (1<<31 - 1))
	return h, err
}

// take uses one frame. done says that msg is a whole message.
func (f *frames) take(h frameHeader, data []byte) (msg []byte, done bool) {
	switch {
	case h.op == opPing:
		f.pong(data)
	case h.op == opPong:
	case h.op == opClose:
		// Without <close/> before it the stream was not closed (RFC 7395 §3.6.1).
		f.over, f.err = true, io.ErrUnexpectedEOF
	case h.final && !f.part:
		return data, true
	default:
		if !f.part {
			f.msg = nil
		}
		f.msg, f.part = append(f.msg, data...), !h.final
		if h.final {
			msg, f.msg = f.msg, nil
		}
		return msg, h.final
	}
	return nil, false
}

// fill reads until the buffer has n bytes.
func (f *frames) fill(n int) error {
	for empty := 0; len(f.buf) < n; {
		if f.err != nil {
			return f.err
		}
		f.room(n)
		m, err := f.r.Read(f.buf[len(f.buf):cap(f.buf)])
		f.buf = f.buf[:len(f.buf)+m]
		switch {
		case m > 0:
			empty = 0
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return fmt.Errorf("websocket: read: %w", err)
		default:
			if empty++; empty > 100 { // a reader that is broken
				return fmt.Errorf("websocket: read: %w", io.ErrNoProgress)
			}
		}
	}
	return nil
}

// frameRoom is how much is read at once.
const frameRoom = 4 << 10

// room makes place for at least one byte more, in a buffer that grows with what has
// come and not with what was announced.
func (f *frames) room(n int) {
	if len(f.buf) == 0 && f.big {
		f.buf, f.big = nil, false
	}
	if len(f.buf) < cap(f.buf) {
		return
	}
	size := frameRoom
	if len(f.buf) > 0 {
		size = min(max(2*len(f.buf), frameRoom), n+frameRoom)
	}
	f.big = size > 4*frameRoom
	to := make([]byte, len(f.buf), size)
	copy(to, f.buf)
	f.buf = to
}

// goodbye is the frame that closes the WebSocket.
func (f *frames) goodbye() []byte {
	return appendFrame(nil, opClose, func(b []byte) []byte { return binary.BigEndian.AppendUint16(b, f.code) })
}

// appendFrame appends one frame of a server with what write appends; none where that
// is nothing.
func appendFrame(b []byte, op byte, write func([]byte) []byte) []byte {
	const room = 10 // the longest header
	start := len(b)
	b = write(append(b, make([]byte, room)...))
	n := len(b) - start - room
	if n == 0 && op == opText {
		return b[:start]
	}
	h := append(make([]byte, 0, room), 0x80|op)
	switch {
	case n <= maxControl:
		h = append(h, byte(n))
	case n < 1<<16:
		h = binary.BigEndian.AppendUint16(append(h, 126), uint16(n))
	default:
		h = binary.BigEndian.AppendUint64(append(h, 127), uint64(n))
	}
	copy(b[start:], h)
	copy(b[start+len(h):], b[start+room:])
	return b[:start+len(h)+n]
}

// payload is that of a frame of ours.
func payload(frame []byte) []byte {
	switch {
	case len(frame) == 0:
		return nil
	case frame[1] == 126:
		return frame[4:]
	case frame[1] == 127:
		return frame[10:]
	}
	return frame[2:]
}
