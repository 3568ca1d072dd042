package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
)

const (
	rosterBucket = "roster"
	// rosterBytes bounds the bucket, in bytes: a contact takes about 150 of them.
	rosterBytes = 512 << 20
	// rosterAttempts is how often a change is tried again that met one of another
	// process: several of them may be busy with a user who has just come online.
	rosterAttempts = 16
)

// ErrDamaged says that a stored roster cannot be read.
var ErrDamaged = errors.New("the stored roster cannot be read")

// RostersOptions are what Rosters are made of. Only Buckets is needed.
type RostersOptions struct {
	Buckets Buckets
	Limits  roster.Limits
	// Report learns of each record that cannot be read, and of each time that the
	// bucket could not be watched. It must not block. Nil: nobody does.
	Report func(error)
}

// Rosters are the rosters of all users, in a bucket by bare JID. They are read
// from a map that a watcher keeps, because a roster is asked for with every
// presence; changes go to the bucket, and come from there to all processes.
//
//	rosters.go      reading and changing
//	rosterwatch.go  the bucket as it changes, and who is told
//	turns.go        one change of a roster at a time
type Rosters struct {
	o  RostersOptions
	kv jetstream.KeyValue

	stop   context.CancelFunc
	work   sync.WaitGroup // only the watcher adds to it, after the start
	loaded chan struct{}  // closed when the map is complete for the first time
	turns  turns          // by key: of changing a roster, and of telling of it

	mu        sync.RWMutex
	users     map[string]*held // by key
	listeners []func(user jid.JID, old, now *roster.Roster)
}

// held is one roster, as far as it is known.
type held struct {
	now  *edition // nil: there is none
	told *edition // what the listeners know; nil: an empty one
	gone uint64   // revision of what this process has deleted, until the watcher has seen it
	due  bool     // somebody is about to tell the listeners
}

// edition is a roster as of a revision of the bucket. It is decoded when somebody
// asks for it: of most users nobody does. Its roster is shared, and never changed.
type edition struct {
	rev uint64

	mu     sync.Mutex
	value  []byte // nil: decoded
	user   jid.JID
	roster *roster.Roster
	err    error
}

// OpenRosters opens the bucket, making it if need be, and waits until all rosters
// are known. ctx bounds the opening only.
func OpenRosters(ctx context.Context, o RostersOptions) (*Rosters, error) {
	if o.Report == nil {
		o.Report = func(error) {}
	}
	kv, err := o.Buckets.KV(ctx, jetstream.KeyValueConfig{
		Bucket: rosterBucket, Description: "rosters by bare JID", Storage: jetstream.FileStorage, History: 1, MaxBytes: rosterBytes,
	})
	if err != nil {
		return nil, fmt.Errorf("rosters: open bucket: %w", err)
	}
	s := &Rosters{o: o, kv: kv, loaded: make(chan struct{}), users: make(map[string]*held)}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = cancel
	s.work.Go(func() { s.watch(life) })
	select {
	case <-s.loaded:
		return s, nil
	case <-ctx.Done():
		_ = s.Close()
		return nil, fmt.Errorf("rosters: read bucket: %w", ctx.Err())
	}
}

// Close ends the watcher and waits for it, and for the listeners.
func (s *Rosters) Close() error {
	s.stop()
	s.work.Wait()
	return nil
}

// OnChange has f called with each change of a roster, whichever process made it, as
// the roster was when f was last called for the user and as it is now. For one user
// the calls come one after the other. f may block, but not call Update or Remove for
// the same user; neither roster may be changed.
func (s *Rosters) OnChange(f func(user jid.JID, old, now *roster.Roster)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, f)
}

// Roster returns the roster of a user as it is known here, never nil: an empty one
// where there is none, or none that can be read. It must not be changed.
func (s *Rosters) Roster(user jid.JID) *roster.Roster {
	key := accountKey(user.Bare())
	r, err := s.read(key, s.edition(key))
	if err != nil {
		return &roster.Roster{Limits: s.o.Limits}
	}
	return r
}

// Has says whether a user has a roster, one that cannot be read included.
func (s *Rosters) Has(user jid.JID) bool { return s.edition(accountKey(user.Bare())) != nil }

// edition is the latest of a key that is known, nil for none.
func (s *Rosters) edition(key string) *edition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h := s.users[key]; h != nil {
		return h.now
	}
	return nil
}

// read returns the roster of an edition; nil is an empty one.
func (s *Rosters) read(key string, e *edition) (*roster.Roster, error) {
	if e == nil {
		return &roster.Roster{Limits: s.o.Limits}, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.value == nil {
		return e.roster, e.err
	}
	e.user, e.roster, e.err = roster.Decode(e.value, s.o.Limits)
	e.value = nil
	if e.err == nil && accountKey(e.user) != key {
		e.err = fmt.Errorf("the roster is that of %s: %w", e.user, roster.ErrRecord)
	}
	if e.err != nil {
		e.roster, e.err = nil, fmt.Errorf("rosters: key %s: %w: %w", key, ErrDamaged, e.err)
		s.o.Report(e.err)
	}
	return e.roster, e.err
}

// Update changes the roster of a user: change gets a copy that is up to date, and
// the copy is stored unless change returns an error, which Update returns then. It
// is called again when somebody else was faster. stored, if not nil, is called
// after that and before those of OnChange are; neither may call Update for the
// same user. The error is ErrDamaged where what is stored cannot be
// read: it is not written over.
func (s *Rosters) Update(ctx context.Context, user jid.JID, change func(*roster.Roster) error, stored func()) error {
	user = user.Bare()
	key := accountKey(user)
	done, err := s.turns.take(ctx, key)
	if err != nil {
		return fmt.Errorf("rosters: change that of %s: %w", user, err)
	}
	defer done()
	e, latest := s.edition(key), false // latest: it is what the bucket has
	for i := range rosterAttempts {
		next, err := s.changed(key, e, change)
		idle := err != nil || !next.Changed()
		if !idle {
			err = s.write(ctx, user, key, next, e)
		}
		switch {
		case idle && !latest:
			// No write has told whether what is known here is old.
		case err == nil:
			if stored != nil {
				stored()
			}
			s.tell(key)
			return nil
		case idle:
			return err
		case !lostRace(err):
			return fmt.Errorf("rosters: change that of %s: %w", user, err)
		default:
			if err := stepBack(ctx, i); err != nil {
				return fmt.Errorf("rosters: change that of %s: %w", user, err)
			}
		}
		if e, err = s.fetch(ctx, key); err != nil {
			return fmt.Errorf("rosters: read that of %s: %w", user, err)
		}
		latest = true
	}
	return fmt.Errorf("rosters: change that of %s: others were faster %d times", user, rosterAttempts)
}

// changed returns a changed copy of an edition.
func (s *Rosters) changed(key string, e *edition, change func(*roster.Roster) error) (*roster.Roster, error) {
	base, err := s.read(key, e)
	if err != nil {
		return nil, err
	}
	next := base.Clone()
	return next, change(next)
}

// write stores what has become of an edition.
func (s *Rosters) write(ctx context.Context, user jid.JID, key string, r *roster.Roster, e *edition) error {
	value, err := r.Encode(user)
	if err == nil {
		err = s.o.Limits.CheckSize(value)
	}
	if err != nil {
		return err
	}
	var rev uint64
	if e == nil {
		rev, err = s.kv.Create(ctx, key, value)
	} else {
		rev, err = s.kv.Update(ctx, key, value, e.rev)
	}
	if err != nil {
		return err
	}
	s.put(key, &edition{rev: rev, user: user, roster: r.Clone()})
	return nil
}

// stepBack waits before another attempt, longer each time and never as long as
// somebody else, so that of several processes one after the other gets through.
func stepBack(ctx context.Context, attempt int) error {
	most := min(time.Millisecond<<attempt, 64*time.Millisecond)
	backoff.Wait(ctx, rand.N(most)) //nolint:gosec // chance, no secret
	return ctx.Err()
}

func lostRace(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyNotFound)
}

// fetch reads what the bucket has, nil for nothing, and takes it over.
func (s *Rosters) fetch(ctx context.Context, key string) (*edition, error) {
	entry, err := s.kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	e := &edition{rev: entry.Revision(), value: entry.Value()}
	s.put(key, e)
	if known := s.edition(key); known != nil && known.rev == e.rev {
		return known, nil // and perhaps decoded
	}
	return e, nil
}

// Remove deletes the roster of a user, also one that cannot be read. That there is
// none is no error.
func (s *Rosters) Remove(ctx context.Context, user jid.JID) error {
	key := accountKey(user.Bare())
	done, err := s.turns.take(ctx, key)
	if err != nil {
		return fmt.Errorf("rosters: remove that of %s: %w", user, err)
	}
	defer done()
	for range rosterAttempts {
		var e *edition
		if e, err = s.fetch(ctx, key); err == nil && e != nil {
			err = s.kv.Delete(ctx, key, jetstream.LastRevision(e.rev))
		}
		switch {
		case err == nil:
			if e != nil {
				s.drop(key, e.rev, e.rev)
			}
			s.tell(key)
			return nil
		case !lostRace(err):
			return fmt.Errorf("rosters: remove that of %s: %w", user, err)
		}
	}
	return fmt.Errorf("rosters: remove that of %s: %w", user, err)
}
