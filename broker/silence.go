package broker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// silenceProbe is how often a stream that does not answer is tried.
const silenceProbe = time.Second

var errSilent = errors.New("the server does not answer")

// silence remembers that a stream does not answer, so that not everybody waits for
// it: while it lasts one publish in a while tries, and the others fail at once. A
// nil silence is never broken.
type silence struct {
	on atomic.Bool

	mu    sync.Mutex
	began time.Time // valid while on
	tried time.Time // when the last one was let through
}

// try returns why there is no sense in publishing now, or nil.
func (s *silence) try() error {
	if s == nil || !s.on.Load() {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.tried) >= silenceProbe {
		s.tried = now
		return nil
	}
	return errSilent
}

// broken returns why messages cannot be stored at the moment, or nil.
func (s *silence) broken() error {
	if s.on.Load() {
		return errSilent
	}
	return nil
}

// note takes how a publish went, and returns how long the stream has been silent.
// Who did not wait for the answer says nothing about the server.
func (s *silence) note(err error) time.Duration {
	if s == nil || err == nil && !s.on.Load() {
		return 0
	}
	_, late := errors.AsType[noAnswer](err)
	switch {
	case late:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tried = time.Now()
		if !s.on.Swap(true) {
			s.began = s.tried
		}
		return s.tried.Sub(s.began)
	case s.on.Load() && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		s.on.Store(false)
	}
	return 0
}
