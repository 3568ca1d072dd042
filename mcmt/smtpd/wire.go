package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Line lengths in octets, with the CRLF. RFC 5321 §4.5.3.1.4 asks for 512 and
// each extension adds to it (RFC 4954 §3: 500, RFC 3461 §5: 500 and 100);
// RFC 4954 §4 asks for 12288 within AUTH.
const (
	maxCommandLine = 2048
	maxAuthLine    = 12288 + 2
)

var (
	// errStopping is the end of the server, seen by a session that waits for
	// a command.
	errStopping = errors.New("server is stopping")
	errTooLong  = errors.New("line too long")
)

// wire is the connection below the protocol: it bounds every read and write in
// time, gathers replies while the peer pipelines (RFC 2920 §3.2) and goes
// under TLS. Only the session's goroutine uses it, apart from interrupt.
type wire struct {
	opt    *Options
	socket net.Conn // the transport, below any TLS
	c      net.Conn // socket, or TLS over it
	br     *bufio.Reader
	bw     *bufio.Writer
	until  time.Time // when what is being read must be complete

	mu       sync.Mutex
	idle     bool // waiting for a command, so that the end may interrupt
	stopping bool
}

func newWire(c net.Conn, o *Options) *wire {
	w := &wire{opt: o, socket: c, c: c}
	if t, ok := c.(*tls.Conn); ok {
		w.socket = t.NetConn()
	}
	w.attach(c)
	return w
}

// attach makes c what is read and written. Bytes buffered before are dropped.
func (w *wire) attach(c net.Conn) {
	w.c = c
	// The longest line must fit, so that readLine never sees half a line.
	w.br = bufio.NewReaderSize(ioReader(w.fill), maxAuthLine+4096)
	w.bw = bufio.NewWriterSize(ioWriter(w.write), 4096)
}

type (
	ioReader func([]byte) (int, error)
	ioWriter func([]byte) (int, error)
)

func (f ioReader) Read(p []byte) (int, error)  { return f(p) }
func (f ioWriter) Write(p []byte) (int, error) { return f(p) }

// fill is one read from the peer. Replies not yet sent go first: a peer that
// waits for them would never send more.
func (w *wire) fill(p []byte) (int, error) {
	if err := w.bw.Flush(); err != nil {
		return 0, err
	}
	if err := w.arm(); err != nil {
		return 0, err
	}
	n, err := w.c.Read(p)
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.stopping && w.idle {
			return 0, errStopping
		}
	}
	return n, err
}

// arm sets the deadline of the next read: ReadTimeout from now, but never past
// until.
func (w *wire) arm() error {
	deadline := time.Now().Add(w.opt.ReadTimeout)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.idle {
		deadline = w.until
	}
	if w.stopping && w.idle {
		return errStopping
	}
	if w.until.Before(deadline) {
		deadline = w.until
	}
	return w.c.SetReadDeadline(deadline)
}

// interrupt ends the wait for a command, now or when it next begins.
func (w *wire) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopping = true
	if w.idle {
		_ = w.socket.SetReadDeadline(time.Unix(1, 0))
	}
}

// bound says what is read next: a line (idle: of a session that may be
// interrupted) or a message, and how long it may take as a whole.
func (w *wire) bound(total time.Duration, idle bool) {
	w.until = time.Now().Add(total)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = idle
}

// readLine returns the next line with its line end, of at most maxAuthLine
// octets. The bytes are valid until the next read. A line without an end is an error: half a command is never run.
func (w *wire) readLine() ([]byte, error) {
	line, err := w.br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxAuthLine:
		return nil, errTooLong
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	}
	return line, err
}

// write is one write to the peer.
func (w *wire) write(p []byte) (int, error) {
	if err := w.c.SetWriteDeadline(time.Now().Add(w.opt.WriteTimeout)); err != nil {
		return 0, err
	}
	return w.c.Write(p)
}

// startTLS makes the handshake as the server and goes under TLS. What was
// buffered in clear text is dropped (RFC 3207 §6).
func (w *wire) startTLS(ctx context.Context, cfg *tls.Config) (*tls.ConnectionState, error) {
	if err := w.bw.Flush(); err != nil {
		return nil, err
	}
	return w.handshake(ctx, tls.Server(w.c, cfg))
}

// handshake runs t's handshake within HandshakeTimeout; the end of ctx cuts it.
func (w *wire) handshake(ctx context.Context, t *tls.Conn) (*tls.ConnectionState, error) {
	if err := t.SetDeadline(time.Now().Add(w.opt.HandshakeTimeout)); err != nil {
		return nil, err
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	w.attach(t)
	state := t.ConnectionState()
	return &state, nil
}

// close sends what is left and closes. linger: the peer may still be sending;
// its bytes are read and thrown away for a moment, as closing a socket with
// unread bytes resets the connection and takes our last reply with it.
func (w *wire) close(linger bool) {
	defer func() { _ = w.socket.Close() }()
	if w.bw.Flush() != nil {
		return
	}
	if h, ok := w.c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite() // for TLS the close_notify alert
	}
	if h, ok := w.socket.(interface{ CloseWrite() error }); ok && linger {
		_ = h.CloseWrite()
		_ = w.socket.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, io.LimitReader(w.socket, 1<<20))
	}
}
