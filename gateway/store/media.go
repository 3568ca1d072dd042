package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	files "mcmt2xmpp/xmpp/account"
)

// Media are the files that stanzas made from multimedia messages offer, in an object
// store of their own, so that uploads cannot take their room. They are used from many
// goroutines.
type Media struct {
	objects jetstream.ObjectStore
	age     time.Duration
}

// OpenMedia opens the store, making it if need be.
func OpenMedia(ctx context.Context, b FileBroker, o FilesOptions) (*Media, error) {
	objects, err := b.Objects(ctx, jetstream.ObjectStoreConfig{
		Bucket: "media", Description: "files of multimedia messages", Storage: jetstream.FileStorage, MaxBytes: o.Bytes, TTL: o.Age,
	})
	if err != nil {
		return nil, fmt.Errorf("media: %w", err)
	}
	return &Media{objects, o.Age}, nil
}

// Keep stores a file under an id that nothing else has. A second time it does nothing,
// unless half of the time is over for which the file is there: then that begins anew.
// The error is account.ErrFull, or one of the store; either may be another one later.
func (s *Media) Keep(ctx context.Context, id string, f files.File, data []byte) error {
	info, err := s.objects.GetInfo(ctx, id)
	switch {
	case errors.Is(err, jetstream.ErrObjectNotFound):
	case err != nil:
		return fmt.Errorf("media: look for %s: %w", id, err)
	case time.Since(info.ModTime) < s.age/2:
		return nil
	}
	_, err = s.objects.Put(ctx, jetstream.ObjectMeta{
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

// Open returns a file, or account.ErrNoFile.
func (s *Media) Open(ctx context.Context, id string) (files.File, io.ReadCloser, error) {
	return openObject(ctx, s.objects, id)
}
