package smtpd

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/semaphore"
)

var (
	errTooLarge = errors.New("message too large")
	errNoMemory = errors.New("no memory for message")
)

// firstSpool is what every body gets at once; most need no more.
const firstSpool = 32 << 10

// spool holds one message while it arrives. Once something did not fit, it
// holds nothing, takes no more, and err says why.
type spool struct {
	memory *semaphore.Weighted
	wait   time.Duration // for memory
	limit  int64         // of the whole buf
	hint   int64         // size to expect; 0: not known
	buf    []byte
	seen   int64 // bytes that arrived, whether kept or not
	err    error // errTooLarge or errNoMemory
}

// write appends p. It waits for memory, at most s.wait.
func (s *spool) write(ctx context.Context, p []byte) {
	s.seen += int64(len(p))
	if s.err != nil {
		return
	}
	need := int64(len(s.buf)) + int64(len(p))
	if need > s.limit {
		s.fail(errTooLarge)
		return
	}
	if need > int64(cap(s.buf)) && !s.grow(ctx, need) {
		return
	}
	s.buf = append(s.buf, p...)
}

// grow makes room for at least need bytes, doubling, or going at once to what
// the peer declared as soon as the first buffer is full: a peer that declares
// much and sends nothing holds little.
func (s *spool) grow(ctx context.Context, need int64) bool {
	size := int64(firstSpool)
	if held := int64(cap(s.buf)); held > 0 {
		size = max(2*held, s.hint)
	}
	size = min(max(size, need), max(s.limit, need))

	ctx, cancel := context.WithTimeout(ctx, s.wait)
	defer cancel()
	if s.memory.Acquire(ctx, size) != nil {
		s.fail(errNoMemory)
		return false
	}
	// make, not append: append rounds up and the budget would not know.
	held := int64(cap(s.buf))
	buf := make([]byte, len(s.buf), size)
	copy(buf, s.buf)
	s.buf = buf
	s.memory.Release(held)
	return true
}

// fail drops what was held.
func (s *spool) fail(err error) {
	s.release()
	s.err = err
}

// release gives the memory back; the bytes must not be used after it.
func (s *spool) release() {
	s.memory.Release(int64(cap(s.buf)))
	s.buf = nil
}
