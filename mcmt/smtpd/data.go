package smtpd

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// errSmuggling is a line that holds only a dot and does not stand between two
// CRLF. Some servers end a message there and read what follows as commands,
// others do not: whoever sends it wants the two to differ (SMTP smuggling).
var errSmuggling = errors.New("lone dot between bare CR or LF")

// dotState is where the reader of a DATA message stands (RFC 5321 §4.5.2).
type dotState uint8

const (
	atCRLF   dotState = iota // at the start of a line; also of the message
	inLine                   // within a line
	afterCR                  // after a CR that may begin a CRLF
	atLF                     // after an LF without CR
	dotCRLF                  // after a dot at the start of a line
	dotBare                  // after a dot that follows a bare CR or LF
	dotEnd                   // after CRLF, dot, CR: only LF may follow
	finished                 // after CRLF, dot, CRLF
)

// dotReader takes the dot-stuffing off a message and finds its end. Only CRLF,
// dot, CRLF ends it (RFC 5321 §4.1.1.4). go-smtp's own reader is not used: it
// does not see the end after a line that ends in CR CR LF, and takes a CR after
// a leading dot away.
type dotReader struct{ state dotState }

// next consumes p up to the end of the message and hands the content to emit.
// It returns the number of bytes consumed; the message goes on while
// d.state is not finished.
func (d *dotReader) next(p []byte, emit func([]byte)) (int, error) {
	start := 0 // of what is not emitted yet
	for i := 0; i < len(p); i++ {
		if d.state == inLine {
			j := indexEOL(p[i:])
			if j < 0 {
				break
			}
			i += j
		}
		state, ok := d.state.after(p[i])
		if !ok {
			return i, errSmuggling
		}
		if d.state == atCRLF && state == dotCRLF {
			// The dot is stuffing, or the end: not content either way.
			emit(p[start:i])
			start = i + 1
		}
		d.state = state
		if state == dotEnd {
			start = i + 1
		}
		if state == finished {
			return i + 1, nil
		}
	}
	if start < len(p) {
		emit(p[start:])
	}
	return len(p), nil
}

// after is the state after c. It is false where the line is a lone dot that
// bare line ends set apart.
func (s dotState) after(c byte) (dotState, bool) {
	switch s {
	case dotEnd:
		return finished, c == '\n'
	case dotCRLF:
		if c == '\r' {
			return dotEnd, true
		}
		return inLine, c != '\n'
	case dotBare:
		return inLine, c != '\r' && c != '\n'
	}
	switch {
	case c == '\r':
		return afterCR, true
	case c == '\n' && s == afterCR:
		return atCRLF, true
	case c == '\n':
		return atLF, true
	case c == '.' && s == atCRLF:
		return dotCRLF, true
	case c == '.' && (s == atLF || s == afterCR):
		return dotBare, true
	}
	return inLine, true
}

// indexEOL returns the index of the first CR or LF, or -1.
func indexEOL(p []byte) int {
	n := bytes.IndexByte(p, '\n')
	if n >= 0 {
		p = p[:n]
	}
	if r := bytes.IndexByte(p, '\r'); r >= 0 {
		return r
	}
	return n
}

// readData reads a DATA message into sp. After an error the place in the
// stream is lost and the connection must be closed. A message that is too
// large is read to its end, so that its sender sees the reply, but only up to
// twice the size.
func (w *wire) readData(ctx context.Context, sp *spool) error {
	w.bound(w.opt.DataTimeout, false)
	var d dotReader
	for d.state != finished {
		if _, err := w.br.Peek(1); err != nil {
			return unexpected(err)
		}
		p, _ := w.br.Peek(w.br.Buffered())
		n, err := d.next(p, func(content []byte) { sp.write(ctx, content) })
		if err != nil {
			return err
		}
		_, _ = w.br.Discard(n)
		if sp.seen > 2*sp.limit+1<<20 {
			return errTooLarge
		}
	}
	return nil
}

// readChunk reads n octets of a BDAT message into sp (RFC 3030 §2); sp nil
// throws them away. Errors are those of readData.
func (w *wire) readChunk(ctx context.Context, n int64, sp *spool) error {
	w.bound(w.opt.DataTimeout, false)
	for n > 0 {
		if _, err := w.br.Peek(1); err != nil {
			return unexpected(err)
		}
		p, _ := w.br.Peek(int(min(n, int64(w.br.Buffered()))))
		if sp != nil {
			sp.write(ctx, p)
		}
		_, _ = w.br.Discard(len(p))
		n -= int64(len(p))
	}
	return nil
}

// unexpected turns the end of the stream into an error that is not taken for
// the end of a message.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// bareDot reports whether content, after any stuffing was taken off, has a lone
// dot set apart by bare line ends: a BDAT message needs no stuffing, and what
// is harmless here would smuggle when it is sent on by DATA.
func bareDot(content []byte) bool {
	for i := 0; ; i++ {
		n := bytes.IndexByte(content[i:], '.')
		if n < 0 {
			return false
		}
		i += n
		if !lineEnd(content[:i], len(content[:i])-1) || !lineEnd(content[i+1:], 0) {
			continue
		}
		// The start and the end of the message count as CRLF: DATA puts one there.
		before := i == 0 || bytes.HasSuffix(content[:i], []byte("\r\n"))
		after := i+1 == len(content) || bytes.HasPrefix(content[i+1:], []byte("\r\n"))
		if !before || !after {
			return true
		}
	}
}

// lineEnd reports whether p[i] is a CR or LF or there is no such byte.
func lineEnd(p []byte, i int) bool {
	return i < 0 || i >= len(p) || p[i] == '\r' || p[i] == '\n'
}
