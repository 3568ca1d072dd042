package httpd

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/semaphore"
)

// firstBody is what every body gets at once; most need no more.
const firstBody = 16 << 10

// body holds the bytes of one message and the memory they were granted.
type body struct {
	b      []byte
	memory *semaphore.Weighted
	held   int64
}

// release gives the memory back; the bytes must not be used after it.
func (b *body) release() {
	if b != nil && b.held > 0 {
		b.memory.Release(b.held)
		b.b, b.held = nil, 0
	}
}

// hold makes sure of n bytes of memory in all, waiting up to wait.
func (b *body) hold(ctx context.Context, n int64, wait time.Duration) error {
	if n <= b.held {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	if err := b.memory.Acquire(ctx, n-b.held); err != nil {
		return newProblem(http.StatusServiceUnavailable, "", "there is no memory for the message now").because(err)
	}
	b.held = n
	return nil
}

// readBody reads the whole body of a request. Each read has ReadTimeout, all of
// them together BodyTimeout. Memory grows with what has come, not with what was
// announced. The body is there beside an error, to be released.
func (s *Server) readBody(x *exchange, limit int64) (*body, error) {
	b := &body{memory: s.memory}
	if x.r.ContentLength > limit {
		return b, tooLarge(limit)
	}
	in := s.newTimedReader(x)
	for {
		if len(b.b) == cap(b.b) {
			if err := s.grow(x, b, limit); err != nil {
				return b, err
			}
		}
		n, err := in.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		switch {
		case int64(len(b.b)) > limit:
			return b, tooLarge(limit)
		case err == io.EOF:
			return b, nil
		case err != nil:
			return b, readProblem(err)
		}
	}
}

// grow doubles the room of b, up to one byte more than limit: the byte that
// tells a body at the limit from one over it.
func (s *Server) grow(x *exchange, b *body, limit int64) error {
	size := min(max(firstBody, 2*int64(cap(b.b))), limit+1)
	if err := b.hold(x.r.Context(), size, s.opt.ReadTimeout); err != nil {
		return err
	}
	grown := make([]byte, len(b.b), size)
	copy(grown, b.b)
	b.b = grown
	return nil
}

func tooLarge(limit int64) *problem {
	return newProblem(http.StatusRequestEntityTooLarge, "", "more than %d bytes", limit)
}

// readProblem says what a failed read of the body was.
func readProblem(err error) *problem {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return newProblem(http.StatusRequestTimeout, "body", "the body did not come in time").with("Connection", "close").because(err)
	}
	return newProblem(http.StatusBadRequest, "body", "the body is cut short or badly framed").with("Connection", "close").because(err)
}

// timedReader reads the body of a request, each read with a deadline of its own.
type timedReader struct {
	x    *exchange
	each time.Duration
	end  time.Time // of the body as a whole
	// ended reports whether to read no more; nil never. Whoever makes it true
	// sets a deadline in the past afterwards, to wake a Read that waits.
	ended func() bool
}

func (s *Server) newTimedReader(x *exchange) *timedReader {
	return &timedReader{x: x, each: s.opt.ReadTimeout, end: x.start.Add(s.opt.BodyTimeout)}
}

// Read reads from the body.
func (t *timedReader) Read(p []byte) (int, error) {
	deadline := time.Now().Add(t.each)
	if deadline.After(t.end) {
		deadline = t.end
	}
	if err := t.x.rc.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	// Asked only now: a deadline in the past that came before ours is lost.
	if t.ended != nil && t.ended() {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := t.x.r.Body.Read(p)
	t.x.size += int64(n)
	return n, err
}
