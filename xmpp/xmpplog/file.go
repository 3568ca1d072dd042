package xmpplog

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

const (
	// room is how many bytes of lines may wait for a file: the disk is slow or full,
	// and what is more is dropped.
	room = 4 << 20
	// much is how many do not wait for others, gather how long fewer do. That is also
	// the pause after a write that has failed.
	much   = 64 << 10
	gather = 500 * time.Millisecond
	// saying is how often the log says at most that lines are dropped or that a file
	// cannot be written.
	saying = time.Minute
)

// file is one logfile, whichever loggers write to it. Lines wait in memory for the
// goroutine that writes them: nobody who has a line to write waits for the disk.
type file struct {
	path   string
	log    zerolog.Logger
	wake   chan struct{} // capacity 1
	done   chan struct{} // closed when the goroutine has ended
	errors atomic.Uint64 // writes that failed

	mu      sync.Mutex
	waiting []byte    // whole lines
	since   time.Time // the first of them waits, or what is left for another try
	busy    int       // bytes of left
	next    disk      // to go on with; nil: as before
	ending  bool
	dropped uint64 // lines, since the log said so
	said    time.Time

	// Of the goroutine.
	out     disk
	left    []byte // being written
	at      int    // so many of them are
	failing time.Time
}

func newFile(path string, out disk, log zerolog.Logger) *file {
	return &file{path: path, out: out, log: log.With().Str("logfile", path).Logger(), wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// put has a line written, and says whether there was room for it. It never blocks.
func (f *file) put(line []byte) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.waiting)
	if f.ending || n+f.busy+len(line) > room {
		f.dropped++
		return false
	}
	f.waiting = append(f.waiting, line...)
	switch {
	case n == 0 && f.busy == 0:
		f.since = time.Now()
		f.signal()
	case n < much && len(f.waiting) >= much:
		f.signal()
	}
	return true
}

func (f *file) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// reopen goes on with another open file, once what waits is written to the former one.
func (f *file) reopen(out disk) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next != nil {
		_ = f.next.Close() // nothing was written to it
	}
	f.next = out
	f.signal()
}

// end ends the goroutine when what waits is written; see done.
func (f *file) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ending = true
	f.signal()
}

// run writes until the end.
func (f *file) run() {
	defer close(f.done)
	for {
		f.mu.Lock()
		next, ending, n := f.next, f.ending, len(f.waiting)+f.busy
		f.next = nil
		due := time.Until(f.since.Add(gather))
		f.mu.Unlock()
		switch {
		case next != nil:
			f.write()
			f.change(next)
		case ending:
			f.write()
			f.close()
			return
		case n > 0 && (due <= 0 || n >= much && f.failing.IsZero()):
			f.write()
		case n > 0:
			f.sleep(due)
		default:
			<-f.wake
		}
	}
}

func (f *file) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-f.wake:
	case <-t.C:
	}
}

// write writes what waits. What cannot be written is left for the next try.
func (f *file) write() {
	for f.take() {
		n, err := f.out.Write(f.left[f.at:])
		f.at += n
		if err != nil {
			f.failed(err)
			return
		}
		if !f.failing.IsZero() {
			f.failing = time.Time{}
			f.log.Info().Msg("the xmpp_logger writes again")
		}
	}
}

// take says whether there is something to write, which is in left then.
func (f *file) take() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at == len(f.left) {
		if cap(f.left) > 2*much {
			f.left = nil // a burst
		}
		f.left, f.waiting, f.at = f.waiting, f.left[:0], 0
		f.busy = len(f.left)
	}
	return f.busy > 0
}

func (f *file) failed(err error) {
	f.errors.Add(1)
	now := time.Now()
	f.mu.Lock()
	f.since = now
	f.mu.Unlock()
	if f.failing.IsZero() || now.Sub(f.failing) >= saying {
		f.failing = now
		f.log.Warn().Err(err).Msg("the xmpp_logger cannot write: lines wait in memory")
	}
}

// change goes on with another open file. What is left goes there.
func (f *file) change(next disk) {
	f.untear()
	if err := f.out.Close(); err != nil {
		f.log.Warn().Err(err).Msg("xmpp_logger: close")
	}
	f.out = next
	f.failing = time.Time{}
	f.write()
}

// untear takes back the beginning of a line whose rest could not be written.
func (f *file) untear() {
	if f.at == len(f.left) {
		return
	}
	start := bytes.LastIndexByte(f.left[:f.at], '\n') + 1
	if start < f.at {
		if err := takeBack(f.out, f.at-start); err != nil {
			f.log.Warn().Err(err).Msg("the last line of the xmpp_logger is cut short")
		}
	}
	f.at = start
}

func (f *file) close() {
	f.untear()
	f.mu.Lock()
	lost := bytes.Count(f.left[f.at:], []byte{'\n'}) + bytes.Count(f.waiting, []byte{'\n'})
	f.dropped += uint64(lost)
	f.said = time.Time{}
	f.mu.Unlock()
	if err := f.out.Close(); err != nil {
		f.log.Warn().Err(err).Msg("xmpp_logger: close")
	}
	f.say()
}

// say has the log tell of lines that were dropped, now and then.
func (f *file) say() {
	f.mu.Lock()
	n, now := f.dropped, time.Now()
	due := n > 0 && now.Sub(f.said) >= saying
	if due {
		f.dropped, f.said = 0, now
	}
	f.mu.Unlock()
	if due {
		f.log.Warn().Uint64("lines", n).Msg("lines of the xmpp_logger dropped: the disk is slow or full")
	}
}
