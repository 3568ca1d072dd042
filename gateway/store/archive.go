package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"mcmt2xmpp/broker"
	archive "mcmt2xmpp/xmpp/account"
	"mcmt2xmpp/xmpp/jid"
)

// Logs is what an archive needs of the broker.
type Logs interface {
	Log(ctx context.Context, o broker.LogOptions) (*broker.Log, error)
}

// ArchiveOptions bound an archive. Zero fields are no bound.
type ArchiveOptions struct {
	Bytes int64         // of all accounts; the oldest messages make room
	Age   time.Duration // of a message
}

const (
	// archiveWindow is how long the broker knows what is not to be stored twice, and
	// archiveRecent how many of those this process remembers for longer: a message may
	// wait for a client that is suspended, and is delivered again.
	archiveWindow = 2 * time.Minute
	archiveRecent = 20000
	// archivePause is how long nothing is tried after a failure: whoever chats must not
	// wait for a broker that is away with each message.
	archivePause = 2 * time.Second
)

// keyHeader has the part of a message's id that is chance.
const keyHeader = "Key"

// Archive is the archives of all accounts (XEP-0313), a log by the account's address
// and that of whom it talked with. It is used from many goroutines.
type Archive struct {
	log    *broker.Log
	broken atomic.Int64 // until when nothing is tried, in nanoseconds since 1970

	mu     sync.Mutex
	recent map[string]archive.Archived // by account and once
	oldest []string                    // its keys
}

// OpenArchive opens the log, making it if need be.
func OpenArchive(ctx context.Context, b Logs, o ArchiveOptions) (*Archive, error) {
	log, err := b.Log(ctx, broker.LogOptions{Name: "ARCHIVE", Prefix: "arc", Bytes: o.Bytes, Age: o.Age, Window: archiveWindow})
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return &Archive{log: log, recent: make(map[string]archive.Archived)}, nil
}

var errArchiveAway = errors.New("the broker did not store the one before")

// Append stores a message of an account with somebody, once.
func (a *Archive) Append(ctx context.Context, user, with jid.JID, m archive.Archived, once string) (archive.Archived, error) {
	name := user.String() + " " + once
	if once != "" {
		a.mu.Lock()
		known, ok := a.recent[name]
		a.mu.Unlock()
		if ok {
			return known, nil
		}
	}
	if time.Now().UnixNano() < a.broken.Load() {
		return m, fmt.Errorf("archive: %w", errArchiveAway)
	}
	var again bool
	var err error
	m.Seq, again, err = a.log.Append(ctx, broker.Entry{
		Names: []string{user.String(), with.String()}, Header: map[string]string{keyHeader: m.Key}, Data: m.XML, Once: once,
	})
	if err != nil {
		a.broken.Store(time.Now().Add(archivePause).UnixNano())
		return m, fmt.Errorf("archive: %w", err)
	}
	if again {
		found, _, err := a.Read(ctx, user, jid.JID{}, m.Seq, time.Time{}, 1)
		if err != nil || len(found) == 0 || found[0].Seq != m.Seq {
			return m, errors.Join(fmt.Errorf("archive: message at %d is not there", m.Seq), err)
		}
		m = found[0]
	}
	if once != "" {
		a.remember(name, m)
	}
	return m, nil
}

func (a *Archive) remember(name string, m archive.Archived) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.recent[name]; !ok {
		a.oldest = append(a.oldest, name)
	}
	a.recent[name] = archive.Archived{Seq: m.Seq, Key: m.Key}
	if len(a.oldest) > archiveRecent {
		delete(a.recent, a.oldest[0])
		a.oldest = a.oldest[1:]
	}
}

// Read returns the first messages of an account, with somebody or with all, from a place
// or a time on.
func (a *Archive) Read(ctx context.Context, user, with jid.JID, from uint64, since time.Time, limit int) ([]archive.Archived, int, error) {
	names := []string{user.String(), ""}
	if !with.IsZero() {
		names[1] = with.String()
	}
	entries, left, err := a.log.Read(ctx, names, from, since, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("archive: %w", err)
	}
	found := make([]archive.Archived, 0, len(entries))
	for _, e := range entries {
		found = append(found, archive.Archived{Seq: e.Seq, At: e.At, Key: e.Header[keyHeader], XML: e.Data})
	}
	return found, left, nil
}

// Remove deletes the archive of an account.
func (a *Archive) Remove(ctx context.Context, user jid.JID) error {
	if err := a.log.Purge(ctx, []string{user.Bare().String(), ""}); err != nil {
		return fmt.Errorf("archive: remove that of %s: %w", user, err)
	}
	return nil
}
