package store

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
)

// watchAgain is the pause before a watcher that ended is started again.
const watchAgain = time.Second

// persist has follow run until ctx ends, again after each end, and reports why it ended.
func persist(ctx context.Context, follow func(context.Context) error, report func(error)) {
	for ctx.Err() == nil {
		if err := follow(ctx); err != nil && ctx.Err() == nil {
			report(err)
		}
		backoff.Wait(ctx, watchAgain)
	}
}

// watch keeps the map until ctx ends. A watcher that ends before, which takes a
// closed connection, is replaced; the accounts known so far hold meanwhile.
func (b *Builtin) watch(ctx context.Context) {
	persist(ctx, b.follow, func(err error) { b.o.Report(fmt.Errorf("accounts stay as they were: %w", err)) })
}

// follow applies what one watcher reports until it ends. The first round, which
// is the whole bucket, goes into a map of its own: what is not in it is gone,
// and the revisions of a bucket that was made anew begin anew.
func (b *Builtin) follow(ctx context.Context) error {
	w, err := b.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket: %w", err)
	}
	first, inFirst := newSnapshot(), true
	return follow(ctx, w, func(e jetstream.KeyValueEntry) {
		switch {
		case e == nil:
			inFirst = false
			b.replace(first)
		case inFirst:
			b.report(first.apply(e))
		default:
			b.mu.Lock()
			err := b.now.apply(e)
			b.mu.Unlock()
			b.report(err)
		}
	})
}

// watchQuiet is how long a watcher that was stopped may be silent before it counts
// as ended.
const watchQuiet = time.Second

// endWatch stops a watcher. The library's callback blocks on a full channel, for
// ever unless somebody reads. COMPAT nats.go 1.55: the channel is never closed
// where the connection was closed while the watcher began.
func endWatch(w jetstream.KeyWatcher) {
	_ = w.Stop() // fails where it has ended by itself
	t := time.NewTimer(watchQuiet)
	defer t.Stop()
	for {
		select {
		case _, ok := <-w.Updates():
			if !ok {
				return
			}
			t.Reset(watchQuiet)
		case <-t.C:
			return
		}
	}
}

func (b *Builtin) replace(s snapshot) {
	b.mu.Lock()
	b.now = s
	b.mu.Unlock()
	select {
	case <-b.loaded:
	default:
		close(b.loaded)
	}
}

func (b *Builtin) report(err error) {
	if err != nil {
		b.o.Report(err)
	}
}

// put takes over what this process changed.
func (b *Builtin) put(key string, user jid.JID, k known) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now.put(key, user, k)
}

// snapshot is the bucket as far as it is known.
type snapshot struct {
	users map[jid.JID]known
	keys  map[string]jid.JID // by bucket key: a deletion names only that
}

func newSnapshot() snapshot {
	return snapshot{users: make(map[jid.JID]known), keys: make(map[string]jid.JID)}
}

// apply takes one change of the bucket over. The error is a record that cannot be read.
func (s snapshot) apply(e jetstream.KeyValueEntry) error {
	if e.Operation() != jetstream.KeyValuePut {
		s.forget(e.Key(), e.Revision())
		return nil
	}
	user, r, err := parseRecord(e.Value())
	if err == nil && accountKey(user) != e.Key() {
		err = fmt.Errorf("the record is that of %s", user)
	}
	if err != nil {
		// An account that cannot be read is none, and must not stay what it was.
		s.forget(e.Key(), e.Revision())
		return fmt.Errorf("accounts: key %s: %w", e.Key(), err)
	}
	s.put(e.Key(), user, known{rev: e.Revision(), creds: r.credentials()})
	return nil
}

// put takes a state over unless a later one is known: a change of this process is
// known before the watcher reports it.
func (s snapshot) put(key string, user jid.JID, k known) {
	if old, ok := s.users[user]; ok && (old.rev > k.rev || old.rev == k.rev && old.gone) {
		return
	}
	s.users[user], s.keys[key] = k, user
}

func (s snapshot) forget(key string, rev uint64) {
	if user, ok := s.keys[key]; ok && s.users[user].rev < rev {
		delete(s.users, user)
		delete(s.keys, key)
	}
}
