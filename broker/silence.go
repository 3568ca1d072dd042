package broker

import (
	"context"
	"errors"
	"sync"
	"time"
)

// silenceProbe is how often a stream that does not answer is tried.
const silenceProbe = time.Second

var errSilent = errors.New("the server does not answer")

// silence remembers that a stream does not answer, so that not everybody waits for
// it: while it lasts one publish in a while tries, and the others fail at once. A
// nil silence is never broken.
type silence struct {
	mu    sync.Mutex
	on    bool
	tried time.Time // when the last one was let through
}

// try returns why there is no sense in publishing now, or nil.
func (s *silence) try() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.on && now.Sub(s.tried) >= silenceProbe {
		s.tried = now
		return nil
	}
	return s.now()
}

// broken returns why messages cannot be stored at the moment, or nil.
func (s *silence) broken() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is broken with s.mu held.
func (s *silence) now() error {
	if s.on {
		return errSilent
	}
	return nil
}

// note takes how a publish went.
func (s *silence) note(err error) {
	var late noAnswer
	on := errors.As(err, &late)
	if s == nil || !on && givenUp(err) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on = on; on {
		s.tried = time.Now()
	}
}

// givenUp reports whether who asked did not wait for the answer, which says
// nothing about the server.
func givenUp(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
