package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	files "mcmt2xmpp/xmpp/account"
)

// Media are the files that stanzas made from multimedia messages offer, in an object
// store of their own, so that uploads cannot take their room. They are used from many
// goroutines.
type Media struct {
	objects jetstream.ObjectStore
	broker  MediaBroker
	age     time.Duration

	mu   sync.Mutex
	busy map[string]chan struct{} // ids that are being kept; closed when that is over
}

// MediaBroker is what Media needs of the broker.
type MediaBroker interface {
	FileBroker
	// SetAside sets room aside on the disk until done is called.
	SetAside(bytes int64) (done func(), err error)
}

// OpenMedia opens the store, making it if need be.
func OpenMedia(ctx context.Context, b MediaBroker, o FilesOptions) (*Media, error) {
	objects, err := b.Objects(ctx, jetstream.ObjectStoreConfig{
		Bucket: "media", Description: "files of multimedia messages", Storage: jetstream.FileStorage, MaxBytes: o.Bytes, TTL: o.Age,
	})
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return &Media{objects: objects, broker: b, age: o.Age, busy: make(map[string]chan struct{})}, nil
}

// Keep stores a file under an id that nothing else has. A second time it does nothing,
// unless half of the time is over for which the file is there: then that begins anew.
// The error is account.ErrFull, or one of the broker, as where its disk is full; each
// may be another one later.
func (s *Media) Keep(ctx context.Context, id string, f files.File, data []byte) error {
	// All recipients of a message come at once, each with the same file: the store would
	// have the room of each until the files are too old.
	leave, err := s.enter(ctx, id)
	if err != nil {
		return fmt.Errorf("media: wait for %s: %w", id, err)
	}
	defer leave()
	info, err := s.objects.GetInfo(ctx, id)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound):
	case err != nil:
		return fmt.Errorf("media: look for %s: %w", id, err)
	case time.Since(info.ModTime) < s.age/2:
		return nil
	}
	done, err := s.broker.SetAside(int64(len(data)))
	if err != nil {
		return fmt.Errorf("media: %w", err)
	}
	defer done()
	err = putObject(ctx, s.objects, info, jetstream.ObjectMeta{
		Name: id, Metadata: map[string]string{metaName: f.Name, metaType: f.Type},
	}, bytes.NewReader(data))
	switch {
	case isFull(err):
		return fmt.Errorf("media: %w", files.ErrFull)
	case err != nil:
		return fmt.Errorf("media: store %s: %w", id, err)
	}
	return nil
}

// enter waits until nobody else in this process keeps a file of that id. Call leave when
// that is over.
func (s *Media) enter(ctx context.Context, id string) (leave func(), err error) {
	for {
		s.mu.Lock()
		other := s.busy[id]
		if other == nil {
			mine := make(chan struct{})
			s.busy[id] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.busy, id)
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Open returns a file, or account.ErrNoFile.
func (s *Media) Open(ctx context.Context, id string) (files.File, io.ReadCloser, error) {
	return openObject(ctx, s.objects, id)
}
