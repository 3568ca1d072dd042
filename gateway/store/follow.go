package store

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// follow hands what a watcher reports to each, until ctx ends (nil) or the
// watcher does. A nil entry says that the first round, which is all that there
// was, is over.
func follow(ctx context.Context, w jetstream.KeyWatcher, each func(jetstream.KeyValueEntry)) error {
	defer endWatch(w)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			if !ok {
				return errors.New("watcher ended")
			}
			each(e)
		}
	}
}
