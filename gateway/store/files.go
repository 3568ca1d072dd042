package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	files "mcmt2xmpp/xmpp/account"
	"mcmt2xmpp/xmpp/jid"
)

// FileBroker is what files need of the broker.
type FileBroker interface {
	Buckets
	Objects(ctx context.Context, cfg jetstream.ObjectStoreConfig) (jetstream.ObjectStore, error)
}

// FilesOptions bound the files of all accounts.
type FilesOptions struct {
	Bytes int64         // of all; a further one is refused
	Age   time.Duration // of each
}

// Files are the files that accounts have uploaded (XEP-0363), in an object store, so
// that no node has any of its own; and in a bucket which of them are whose. They are
// used from many goroutines.
type Files struct {
	objects jetstream.ObjectStore
	kv      jetstream.KeyValue
}

// fileRecord is the value under <account>.<id>, as JSON.
type fileRecord struct {
	Size int64     `json:"size"`
	Till time.Time `json:"till"` // when a reservation ends; zero: the file is there
}

// OpenFiles opens both, making them if need be.
func OpenFiles(ctx context.Context, b FileBroker, o FilesOptions) (*Files, error) {
	objects, err := b.Objects(ctx, jetstream.ObjectStoreConfig{
		Bucket: "upload", Description: "files of accounts", Storage: jetstream.FileStorage, MaxBytes: o.Bytes, TTL: o.Age,
	})
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	kv, err := b.KV(ctx, jetstream.KeyValueConfig{
		Bucket: "upload-of", Description: "whose files they are", Storage: jetstream.FileStorage, History: 1, TTL: o.Age, MaxBytes: 256 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	return &Files{objects, kv}, nil
}

func fileKey(user jid.JID, id string) string { return accountKey(user.Bare()) + "." + id }

// each calls f for each file of an account, reservations included.
func (s *Files) each(ctx context.Context, user jid.JID, f func(id string, rev uint64, r fileRecord)) error {
	prefix := accountKey(user.Bare()) + "."
	w, err := s.kv.Watch(ctx, prefix+"*", jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer endWatch(w)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("watcher ended")
			case e == nil:
				return nil
			}
			var r fileRecord
			if json.Unmarshal(e.Value(), &r) == nil {
				f(strings.TrimPrefix(e.Key(), prefix), e.Revision(), r)
			}
		}
	}
}

// Reserve notes that an account may upload a file. Several requests at once may each
// find the same room.
func (s *Files) Reserve(ctx context.Context, id string, f files.File, within time.Duration, quota int64) error {
	used, now := f.Size, time.Now()
	var lapsed []string
	err := s.each(ctx, f.User, func(id string, _ uint64, r fileRecord) {
		if !r.Till.IsZero() && r.Till.Before(now) {
			lapsed = append(lapsed, id)
			return
		}
		used += r.Size
	})
	if err == nil && used > quota {
		return files.ErrFull
	}
	for _, old := range lapsed {
		if err == nil {
			err = s.kv.Purge(ctx, fileKey(f.User, old))
		}
	}
	if err == nil {
		err = s.note(ctx, f.User, id, fileRecord{f.Size, now.Add(within)})
	}
	if err != nil {
		return fmt.Errorf("files: reserve for %s: %w", f.User, err)
	}
	return nil
}

func (s *Files) note(ctx context.Context, user jid.JID, id string, r fileRecord) error {
	value, err := json.Marshal(r)
	if err == nil {
		_, err = s.kv.Put(ctx, fileKey(user, id), value)
	}
	return err
}

// Headers of an object.
const (
	metaUser = "user"
	metaName = "name"
	metaType = "type"
)

// Save stores a file that was reserved.
func (s *Files) Save(ctx context.Context, id string, f files.File, r io.Reader) error {
	entry, err := s.kv.Get(ctx, fileKey(f.User, id))
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return fmt.Errorf("files: %s: %w", id, fs.ErrExist) // or was, and is gone
	case err != nil:
		return fmt.Errorf("files: %w", err)
	}
	var rec fileRecord
	if err := json.Unmarshal(entry.Value(), &rec); err != nil || rec.Till.IsZero() {
		return fmt.Errorf("files: %s: %w", id, fs.ErrExist)
	}
	// Whoever takes the reservation first has it.
	value, err := json.Marshal(fileRecord{Size: f.Size})
	if err == nil {
		_, err = s.kv.Update(ctx, entry.Key(), value, entry.Revision())
	}
	switch {
	case lostRace(err):
		return fmt.Errorf("files: %s: %w", id, fs.ErrExist)
	case err != nil:
		return fmt.Errorf("files: %w", err)
	}
	err = putObject(ctx, s.objects, nil, jetstream.ObjectMeta{
		Name: id, Metadata: map[string]string{metaUser: f.User.String(), metaName: f.Name, metaType: f.Type},
	}, r)
	if err == nil {
		return nil
	}
	// The room is free again, and the slot good.
	_ = s.note(context.WithoutCancel(ctx), f.User, id, rec)
	if isFull(err) {
		return files.ErrFull
	}
	return fmt.Errorf("files: store %s: %w", id, err)
}

// removePatience is how long what has come of an object that was not stored is tried to
// be removed.
const removePatience = 5 * time.Second

// putObject stores an object, or nothing of it. before is the one in whose place it comes,
// nil for none.
func putObject(ctx context.Context, objects jetstream.ObjectStore, before *jetstream.ObjectInfo, meta jetstream.ObjectMeta, r io.Reader) error {
	_, err := objects.Put(ctx, meta, r)
	if err == nil {
		return nil
	}
	// COMPAT nats.go 1.55.0: Put sends the description of an object without waiting for
	// its chunks. Where they found no room, it does, and an object without content is there.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removePatience)
	defer cancel()
	half, gone := objects.GetInfo(ctx, meta.Name)
	if gone == nil && (before == nil || half.NUID != before.NUID) {
		gone = objects.Delete(ctx, meta.Name)
	}
	if gone != nil && !errors.Is(gone, jetstream.ErrObjectNotFound) {
		return errors.Join(err, fmt.Errorf("remove what has come of it: %w", gone))
	}
	return err
}

// isFull says whether an object was not stored because there is no room for it.
func isFull(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && strings.Contains(api.Description, "maximum bytes")
}

// Open returns a file.
func (s *Files) Open(ctx context.Context, id string) (files.File, io.ReadCloser, error) {
	return openObject(ctx, s.objects, id)
}

// openObject returns the file that an object is.
func openObject(ctx context.Context, objects jetstream.ObjectStore, id string) (files.File, io.ReadCloser, error) {
	o, err := objects.Get(ctx, id)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return files.File{}, nil, files.ErrNoFile
	}
	if err != nil {
		return files.File{}, nil, fmt.Errorf("files: read %s: %w", id, err)
	}
	info, err := o.Info()
	if err != nil {
		_ = o.Close()
		return files.File{}, nil, fmt.Errorf("files: read %s: %w", id, err)
	}
	user, _ := jid.Parse(info.Metadata[metaUser])                                                                                                // whose it is, is not asked any more
	return files.File{User: user, Name: info.Metadata[metaName], Type: info.Metadata[metaType], Size: int64(info.Size), ETag: info.NUID}, o, nil //nolint:gosec // sizes fit
}

// Remove deletes the files of an account.
func (s *Files) Remove(ctx context.Context, user jid.JID) error {
	var ids []string
	err := s.each(ctx, user, func(id string, _ uint64, _ fileRecord) { ids = append(ids, id) })
	for _, id := range ids {
		if err == nil {
			if err = s.objects.Delete(ctx, id); errors.Is(err, jetstream.ErrObjectNotFound) {
				err = nil
			}
		}
		if err == nil {
			err = s.kv.Purge(ctx, fileKey(user, id))
		}
	}
	if err != nil {
		return fmt.Errorf("files: remove those of %s: %w", user, err)
	}
	return nil
}
