package relay

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// maxLine is how long a line may be, without CRLF (RFC 5321 §4.5.3.1.6).
const maxLine = 998

// writeData writes a message as it follows DATA, without the lone dot, and returns
// its size before dot-stuffing. Each line ends with CRLF, wherever one ended in
// raw: with CRLF, a bare LF or a bare CR (RFC 5321 §2.3.8). So no server can see
// the end of the message at a place where we saw none. A line that is too long is
// broken with CRLF and a space, which in a header is folding: a server that breaks
// it itself might find a dot at the beginning of the next one.
func writeData(w io.Writer, raw []byte) (size int64, err error) {
	out := lineWriter{w: w}
	for len(raw) > 0 && out.err == nil {
		var line, lead []byte
		line, raw = cutLine(raw)
		for len(lead)+len(line) > maxLine && out.err == nil {
			n := breakAt(line, maxLine-len(lead))
			out.line(lead, line[:n])
			line, lead = line[n:], space
		}
		out.line(lead, line)
	}
	return out.size, out.err
}

// cutLine splits off the first line, without its end.
func cutLine(raw []byte) (line, rest []byte) {
	i := bytes.IndexAny(raw, "\r\n")
	switch {
	case i < 0:
		return raw, nil
	case raw[i] == '\r' && i+1 < len(raw) && raw[i+1] == '\n':
		return raw[:i], raw[i+2:]
	}
	return raw[:i], raw[i+1:]
}

// breakAt is where a line that is too long is broken: at most bytes from its
// beginning, between characters.
func breakAt(line []byte, most int) int {
	n := most
	for n > most-utf8.UTFMax && !utf8.RuneStart(line[n]) {
		n--
	}
	return n
}

// lineWriter writes lines with dot-stuffing (RFC 5321 §4.5.2).
type lineWriter struct {
	w    io.Writer
	size int64
	err  error
}

var (
	dot   = []byte{'.'}
	space = []byte{' '}
	crlf  = []byte("\r\n")
)

// line writes lead and b as one line.
func (l *lineWriter) line(lead, b []byte) {
	if len(lead) == 0 && len(b) > 0 && b[0] == '.' {
		l.write(dot)
	}
	l.write(lead)
	l.write(b)
	l.write(crlf)
	l.size += int64(len(lead) + len(b) + len(crlf))
}

func (l *lineWriter) write(b []byte) {
	if l.err == nil {
		_, l.err = l.w.Write(b)
	}
}
