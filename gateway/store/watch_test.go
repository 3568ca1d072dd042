package store

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// stuckWatcher is one whose channel is never closed.
type stuckWatcher struct {
	updates chan jetstream.KeyValueEntry
	stopped bool
}

func (w *stuckWatcher) Updates() <-chan jetstream.KeyValueEntry { return w.updates }
func (w *stuckWatcher) Stop() error                             { w.stopped = true; return nil }
func (w *stuckWatcher) Error() <-chan error                     { return nil }

// TestEndWatch: a watcher ends although the library forgets to say so, and whoever
// it makes wait is read from first.
func TestEndWatch(t *testing.T) {
	t.Parallel()
	w := &stuckWatcher{updates: make(chan jetstream.KeyValueEntry)}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for range 10 {
			w.updates <- nil
		}
	}()
	endWatch(w)
	<-sent
	if !w.stopped {
		t.Error("it was not stopped")
	}
}
