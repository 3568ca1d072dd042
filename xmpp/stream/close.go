package stream

import (
	"context"
	"errors"
	"io"
	"time"

	"mcmt2xmpp/xmpp/xmlwire"
)

// Close ends the stream in order (RFC 6120 §4.4): our </stream:stream>, then the
// peer's, waited for until the limit or ctx ends; then the connection. Stanzas that
// arrive meanwhile are dropped.
func (s *Stream) Close(ctx context.Context) error {
	if !s.answered {
		return s.Abort()
	}
	until := time.Now().Add(s.o.Limits.Close)
	s.out.finish(s.appendEnd(nil), until)
	s.arm(ctx, until)
	for !s.peerClosed {
		if _, err := s.dec.Next(); err != nil {
			break
		}
	}
	return s.leave(ctx, until)
}

// Fail ends the stream with an error, sent within an opened stream and flushed
// before the connection is closed (RFC 6120 §4.9.1.1, §4.9.1.2).
func (s *Stream) Fail(ctx context.Context, e *Error) error { return s.fail(ctx, e.Element()) }

func (s *Stream) fail(ctx context.Context, e *xmlwire.Element) error {
	var last []byte
	if !s.answered {
		if !s.o.Receiving {
			return s.Abort() // nothing was opened by either side
		}
		last = s.appendPart(last, s.appendHeader)
	}
	if s.o.Wire != nil {
		s.o.Wire(true, e)
	}
	if s.out.Err() == nil {
		s.out.observe(nil, e)
	}
	last = s.appendPart(last, func(b []byte) []byte { return xmlwire.Append(b, e, s.out.ns()) })
	until := time.Now().Add(s.o.Limits.Close)
	s.out.finish(s.appendEnd(last), until)
	return s.leave(ctx, until)
}

// appendPart appends what write does, as a frame where there are frames.
func (s *Stream) appendPart(b []byte, write func([]byte) []byte) []byte {
	if s.out.framed {
		return appendFrame(b, opText, write)
	}
	return write(b)
}

// appendEnd closes our direction of the stream.
func (s *Stream) appendEnd(b []byte) []byte {
	switch f, ok := s.dec.(*frames); {
	case !ok:
		return append(b, "</stream:stream>"...)
	case f.over:
		return b // RFC 6455 §5.5.1: nothing may follow the peer's close but ours
	}
	return appendFrame(b, opText, func(b []byte) []byte { return append(b, "<close xmlns='"+nsFraming+"'/>"...) })
}

// Abort closes the connection without a word.
func (s *Stream) Abort() error {
	s.out.kill()
	s.out.join()
	s.disarm()
	return s.raw.Close()
}

// Hangup closes the connection without a word, but lets what another protocol has said
// on it arrive.
func (s *Stream) Hangup(ctx context.Context) error {
	until := time.Now().Add(s.o.Limits.Close)
	s.out.finish(nil, until)
	return s.leave(ctx, until)
}

// lastRead is how many bytes are still read from a peer that is being left: the rest of
// the largest stanza that an operator may allow.
const lastRead = 8 << 20

// leave says goodbye below XMPP and waits for the peer to do the same. A socket
// that is closed with bytes unread resets the connection, and the reset may
// overtake the last words that were just written.
func (s *Stream) leave(ctx context.Context, until time.Time) error {
	if s.out.Err() == nil {
		_ = s.raw.SetWriteDeadline(until)
		if f, ok := s.dec.(*frames); ok {
			_, _ = s.in.conn.Write(f.goodbye())
		}
		if s.tls != nil {
			_ = s.tls.CloseWrite()
		}
		if half, ok := s.raw.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
		s.arm(ctx, until)
		_, _ = io.CopyN(io.Discard, s.raw, lastRead)
	}
	s.disarm()
	return s.raw.Close()
}

// End ends the stream as err deserves: an *Error or *AckError is sent, the peer's
// own end is answered, a broken connection is closed. A peer that only says no more
// may still read: what is queued for it goes out before the connection ends.
func (s *Stream) End(ctx context.Context, err error) error {
	var own interface {
		error
		StreamError() *xmlwire.Element
	}
	var theirs *PeerError
	switch {
	case errors.As(err, &own):
		return s.fail(ctx, own.StreamError())
	case err == nil, s.peerClosed, errors.As(err, &theirs), errors.Is(err, io.EOF):
		return s.Close(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		s.peerClosed = true
		return s.Close(ctx)
	}
	return s.Abort()
}
