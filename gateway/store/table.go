package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/jid"
)

// table is a bucket of small records by bare JID, all of which every process knows:
// for what is asked with each stanza. Changes go to the bucket, and come from there
// to all processes. A record that is the zero value is as good as none.
type table[T any] struct {
	o  tableOptions
	kv jetstream.KeyValue

	stop   context.CancelFunc
	work   sync.WaitGroup
	loaded chan struct{} // closed when the bucket was read for the first time
	wake   chan struct{} // holds one when dirty is not empty

	mu        sync.RWMutex
	rows      map[string]*row[T] // by key
	dirty     []string           // keys of which the listeners do not know all
	listeners []func(user jid.JID, old, now T)
}

type tableOptions struct {
	buckets             Buckets
	bucket, description string
	bytes               int64 // bounds the bucket
	report              func(error)
}

// row is one record, as far as it is known.
type row[T any] struct {
	user      jid.JID
	rev       uint64 // zero: nothing is there
	now, told T
}

// tableEntry is a record in the bucket, as JSON.
type tableEntry[T any] struct {
	JID   string `json:"jid"`
	Value T      `json:"value"`
}

// openTable opens the bucket, making it if need be, and waits until all of it is
// known. ctx bounds the opening only.
func openTable[T any](ctx context.Context, o tableOptions) (*table[T], error) {
	if o.report == nil {
		o.report = func(error) {}
	}
	kv, err := o.buckets.KV(ctx, jetstream.KeyValueConfig{
		Bucket: o.bucket, Description: o.description, Storage: jetstream.FileStorage, History: 1, MaxBytes: o.bytes,
	})
	if err != nil {
		return nil, fmt.Errorf("%s: open bucket: %w", o.bucket, err)
	}
	t := &table[T]{o: o, kv: kv, loaded: make(chan struct{}), wake: make(chan struct{}, 1), rows: make(map[string]*row[T])}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.stop = cancel
	t.work.Go(func() { t.watch(life) })
	t.work.Go(func() { t.teller(life) })
	select {
	case <-t.loaded:
		return t, nil
	case <-ctx.Done():
		_ = t.Close()
		return nil, fmt.Errorf("%s: read bucket: %w", o.bucket, ctx.Err())
	}
}

// Close ends the watching and waits for it, and for the listeners.
func (t *table[T]) Close() error {
	t.stop()
	t.work.Wait()
	return nil
}

// get is the record of a user as it is known here. It must not be changed.
func (t *table[T]) get(user jid.JID) T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r := t.rows[accountKey(user.Bare())]; r != nil {
		return r.now
	}
	var none T
	return none
}

// onChange has f called with each change of a record, whichever process made it: one
// call after the other, and soon, not at once. f may block, which puts off the others.
func (t *table[T]) onChange(f func(user jid.JID, old, now T)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listeners = append(t.listeners, f)
}

// update stores what change makes of the record of a user. change is called again
// when somebody else was faster, and must not change what it is given; its error is
// returned, and nothing stored.
func (t *table[T]) update(ctx context.Context, user jid.JID, change func(old T) (T, error)) error {
	user = user.Bare()
	key := accountKey(user)
	for i := range rosterAttempts {
		old, rev, err := t.fetch(ctx, key)
		if err != nil {
			return fmt.Errorf("%s: read that of %s: %w", t.o.bucket, user, err)
		}
		now, err := change(old)
		if err != nil {
			return err
		}
		rev, err = t.write(ctx, key, tableEntry[T]{user.String(), now}, rev)
		switch {
		case err == nil:
			t.put(key, user, now, rev)
			return nil
		case !lostRace(err):
			return fmt.Errorf("%s: change that of %s: %w", t.o.bucket, user, err)
		}
		if err := stepBack(ctx, i); err != nil {
			return fmt.Errorf("%s: change that of %s: %w", t.o.bucket, user, err)
		}
	}
	return fmt.Errorf("%s: change that of %s: others were faster %d times", t.o.bucket, user, rosterAttempts)
}

func (t *table[T]) write(ctx context.Context, key string, e tableEntry[T], rev uint64) (uint64, error) {
	value, err := json.Marshal(e)
	switch {
	case err != nil:
		return 0, err
	case rev == 0:
		return t.kv.Create(ctx, key, value)
	}
	return t.kv.Update(ctx, key, value, rev)
}

// fetch reads the bucket: the map may be behind. A record that cannot be read is
// none, and is written over.
func (t *table[T]) fetch(ctx context.Context, key string) (value T, rev uint64, err error) {
	e, err := t.kv.Get(ctx, key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return value, 0, nil
	case err != nil:
		return value, 0, err
	}
	_, value, err = t.read(e)
	if err != nil {
		t.o.report(err)
	}
	return value, e.Revision(), nil
}

func (t *table[T]) read(e jetstream.KeyValueEntry) (user jid.JID, value T, err error) {
	var r, none tableEntry[T]
	if err = json.Unmarshal(e.Value(), &r); err == nil {
		user, err = jid.Parse(r.JID)
	}
	if err == nil && accountKey(user) != e.Key() {
		err = fmt.Errorf("the record is that of %s", user)
	}
	if err != nil {
		return jid.JID{}, none.Value, fmt.Errorf("%s: key %s: %w", t.o.bucket, e.Key(), err)
	}
	return user, r.Value, nil
}

// Remove deletes the record of a user. That there is none is no error.
func (t *table[T]) Remove(ctx context.Context, user jid.JID) error {
	key := accountKey(user.Bare())
	if err := t.kv.Purge(ctx, key); err != nil {
		return fmt.Errorf("%s: remove that of %s: %w", t.o.bucket, user, err)
	}
	return nil
}

// watch keeps the map until ctx ends. A watcher that ends before, which takes a
// closed connection, is replaced; what is known so far holds meanwhile.
func (t *table[T]) watch(ctx context.Context) {
	persist(ctx, t.follow, func(err error) { t.o.report(fmt.Errorf("%s: stays as it was: %w", t.o.bucket, err)) })
}

// follow applies what one watcher reports until it ends. The first round is the
// whole bucket: what is not in it is gone.
func (t *table[T]) follow(ctx context.Context) error {
	w, err := t.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket: %w", err)
	}
	there, inFirst := make(map[string]bool), true
	return follow(ctx, w, func(e jetstream.KeyValueEntry) {
		switch {
		case e == nil:
			inFirst = false
			t.keep(there)
			return
		case inFirst:
			there[e.Key()] = e.Operation() == jetstream.KeyValuePut
		}
		t.apply(e)
	})
}

// keep forgets what the bucket does not hold.
func (t *table[T]) keep(there map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, r := range t.rows {
		if !there[key] {
			var none T
			r.now, r.rev = none, 0
			t.mark(key)
		}
	}
	select {
	case <-t.loaded:
	default:
		// Nobody is told of what was there at the start.
		for _, r := range t.rows {
			r.told = r.now
		}
		t.dirty = nil
		close(t.loaded)
	}
}

func (t *table[T]) apply(e jetstream.KeyValueEntry) {
	if e.Operation() == jetstream.KeyValuePut {
		user, value, err := t.read(e)
		if err == nil {
			t.put(e.Key(), user, value, e.Revision())
			return
		}
		t.o.report(err) // and it counts as none
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.rows[e.Key()]; r != nil && r.rev < e.Revision() {
		var none T
		r.now, r.rev = none, e.Revision()
		t.mark(e.Key())
	}
}

// put takes a record over unless a later one is known: a change of this process is
// known before the watcher reports it.
func (t *table[T]) put(key string, user jid.JID, value T, rev uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rows[key]
	if r == nil {
		r = &row[T]{user: user}
		t.rows[key] = r
	}
	if r.rev >= rev {
		return
	}
	r.now, r.rev = value, rev
	t.mark(key)
}

// mark has the teller look at a key. t.mu is held.
func (t *table[T]) mark(key string) {
	t.dirty = append(t.dirty, key)
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// teller calls the listeners until ctx ends.
func (t *table[T]) teller(ctx context.Context) {
	for {
		select {
		case <-t.wake:
		case <-ctx.Done():
			return
		}
		for t.tell() && ctx.Err() == nil {
		}
	}
}

// tell tells of one change, and says whether there was one to look at.
func (t *table[T]) tell() bool {
	t.mu.Lock()
	if len(t.dirty) == 0 {
		t.mu.Unlock()
		return false
	}
	key := t.dirty[0]
	t.dirty = t.dirty[1:]
	r := t.rows[key]
	if r == nil {
		t.mu.Unlock()
		return true
	}
	user, old, now, listeners := r.user, r.told, r.now, t.listeners
	r.told = now
	t.mu.Unlock()
	for _, f := range listeners {
		f(user, old, now)
	}
	return true
}
