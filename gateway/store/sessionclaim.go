package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
)

const (
	// writers is how many entries are written at the same time.
	writers = 16
	// writeTime bounds one request to the bucket.
	writeTime = 2 * time.Second
	// markerTTL is how long the bucket remembers that a key was removed: long
	// enough for every watcher. Without it each resource that was ever bound would
	// leave a marker for good.
	markerTTL = time.Minute
)

// claim is a key of the bucket that this process wants something of. Guarded by
// Sessions.mu.
type claim struct {
	key     string
	full    jid.JID
	session router.Session // nil: our entry is to go
	binding binding

	seen  uint64 // the last revision of the key that is known of
	rev   uint64 // of the entry that we may write over; zero: none is there
	ours  bool   // that entry is ours
	wrote shown  // what it says
	lost  bool   // our entry was removed by others, who think that we are dead
	held  bool   // the session is still another node's, and nothing is written yet
	moved bool   // it is that of the former binding

	queued, busy bool
}

// claim makes s the wish for key. r.mu is held.
func (r *Sessions) claim(key string, s router.Session, since int64) {
	r.queue(r.assign(key, s, since))
}

// assign is claim without having it written.
func (r *Sessions) assign(key string, s router.Session, since int64) *claim {
	c := r.claims[key]
	if c == nil {
		c = &claim{key: key, full: s.JID()}
		r.claims[key] = c
		if twin := r.remotes[key]; twin != nil {
			c.rev, c.seen = twin.rev, twin.rev
		}
	}
	delete(r.numbers, c.binding.number)
	r.number++
	c.session, c.lost, c.held, c.moved = s, false, false, false
	c.binding = binding{max(since, c.binding.since+1), r.node, r.number}
	r.numbers[r.number] = c
	return c
}

// release has the entry removed. r.mu is held.
func (r *Sessions) release(c *claim) {
	delete(r.numbers, c.binding.number)
	c.session, c.held = nil, false
	r.queue(c)
}

// yield gives the key to a later binding elsewhere: the session here ends. r.mu is held.
func (r *Sessions) yield(c *claim) {
	r.stats.conflicts.Add(1)
	r.news = append(r.news, news{kind: yielded, here: c.session})
	r.local.Unbind(c.session)
	delete(r.numbers, c.binding.number)
	delete(r.claims, c.key)
	c.session = nil
	r.uncover(c.key)
	r.merge(c.full.Bare())
}

// queue has a writer look at c. r.mu is held.
func (r *Sessions) queue(c *claim) {
	if c.queued {
		return
	}
	c.queued = true
	if !c.busy {
		r.push(c)
	}
}

func (r *Sessions) push(c *claim) {
	r.pending = append(r.pending, c)
	r.signal()
}

func (r *Sessions) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// next takes the first claim that waits, nil for none.
func (r *Sessions) next() *claim {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending) == 0 {
		r.pending = nil // the memory of a wave of logins
		return nil
	}
	c := r.pending[0]
	r.pending = r.pending[1:]
	r.writing++
	c.queued, c.busy = false, true
	if len(r.pending) > 0 {
		r.signal() // for another writer
	}
	return c
}

// done gives c back; one that failed is tried again.
func (r *Sessions) done(c *claim, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writing--
	c.busy = false
	if err != nil || c.queued {
		c.queued = true
		r.push(c)
	}
	close(r.settled)
	r.settled = make(chan struct{})
}

// writer writes entries until ctx ends.
func (r *Sessions) writer(ctx context.Context) {
	for {
		c := r.next()
		if c == nil {
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		err := r.settle(ctx, c)
		r.done(c, err)
		if err == nil {
			r.stats.broken.Store(false)
			continue
		}
		if ctx.Err() == nil && !r.stats.broken.Swap(true) {
			r.o.Report(fmt.Errorf("sessions are not known to other processes: %w", err))
		}
		if !backoff.Wait(ctx, r.o.times.retry) {
			return
		}
	}
}

// wish is what a claim wants at one moment.
type wish struct {
	kv      jetstream.KeyValue
	round   int
	session router.Session
	binding binding
	shown   shown
	rev     uint64
	ours    bool
	same    bool // the entry is as it is to be, for now
	moved   bool
}

func (r *Sessions) wish(c *claim) wish {
	r.mu.RLock()
	defer r.mu.RUnlock()
	w := wish{kv: r.kv, round: r.round, session: c.session, binding: c.binding, rev: c.rev, ours: c.ours, moved: c.moved}
	if w.session != nil {
		w.shown = shownOf(w.session)
		w.same = w.ours && w.shown == c.wrote || c.held
	}
	return w
}

// settle makes one step to have the bucket as c wants it. An error is one of the
// broker.
func (r *Sessions) settle(ctx context.Context, c *claim) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	w := r.wish(c)
	var err error
	switch {
	case w.same:
		return nil
	case w.session != nil:
		var rev uint64
		if rev, err = w.write(ctx, c.key); err == nil {
			r.written(c, w, rev)
			return nil
		}
	case w.rev != 0 && w.ours:
		err = w.kv.Purge(ctx, c.key, jetstream.LastRevision(w.rev), jetstream.PurgeTTL(markerTTL))
		if err == nil {
			r.found(c, w, nil)
			return nil
		}
	}
	if err != nil && !isRevision(err) {
		return fmt.Errorf("write entry: %w", err)
	}
	// Something else is there than we thought.
	e, err := w.kv.Get(ctx, c.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		r.found(c, w, nil)
	case err != nil:
		return fmt.Errorf("read entry: %w", err)
	default:
		r.found(c, w, e)
	}
	return nil
}

// isRevision says whether somebody else has changed the entry.
func isRevision(err error) bool {
	return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

func (w wish) write(ctx context.Context, key string) (rev uint64, err error) {
	e := sessionEntry{
		JID: w.session.JID().String(), Node: w.binding.node, Number: w.binding.number, Since: w.binding.since,
	}
	if w.shown.rank != away {
		e.Priority, e.Available = int8(w.shown.rank), true
	}
	e.Present, e.Carbons, e.Moved = w.shown.present, w.shown.carbons, w.moved
	value, err := json.Marshal(e)
	switch {
	case err != nil:
		return 0, err
	case w.rev == 0:
		return w.kv.Create(ctx, key, value)
	}
	return w.kv.Update(ctx, key, value, w.rev)
}

// written notes that the entry is as w was.
func (r *Sessions) written(c *claim, w wish, rev uint64) {
	r.mu.Lock()
	defer r.unlock()
	switch {
	case r.claims[c.key] != c:
		return // yielded meanwhile; the watcher finds the entry, and has it removed
	case w.round != r.round || rev < c.seen:
		r.queue(c) // it may be gone again
		return
	}
	c.seen, c.rev, c.ours, c.wrote = rev, rev, true, w.shown
	if c.binding != w.binding {
		c.wrote = never
	}
	switch {
	case c.session == nil, shownOf(c.session) != c.wrote:
		r.queue(c)
	case c.lost:
		c.lost = false
		r.news = append(r.news, news{kind: returned, here: c.session})
	}
}

// found takes over what the bucket holds under the key of c, nil for nothing.
func (r *Sessions) found(c *claim, w wish, e jetstream.KeyValueEntry) {
	r.mu.Lock()
	defer r.unlock()
	switch {
	case r.claims[c.key] != c:
		return
	case w.round != r.round || e != nil && e.Revision() < c.seen:
		r.queue(c) // what was read is older than what is known
	case e == nil:
		r.missing(c)
	default:
		entry, _, err := parseSession(c.key, e.Value())
		r.collide(c, e.Revision(), entry, err == nil)
	}
}

// missing notes that the bucket has no entry under the key of c. r.mu is held.
func (r *Sessions) missing(c *claim) {
	c.rev, c.ours = 0, false
	if c.session == nil {
		delete(r.claims, c.key)
		return
	}
	r.queue(c)
}

// collide decides between c and an entry under its key; one that cannot be read
// counts for nothing. r.mu is held.
func (r *Sessions) collide(c *claim, rev uint64, e sessionEntry, readable bool) {
	ours := readable && e.Node == r.node
	switch {
	case c.session == nil && !ours:
		delete(r.claims, c.key) // it is not for us to remove
		return
	case c.session != nil && !ours && readable && e.binding().after(c.binding):
		r.yield(c)
		return
	}
	c.seen, c.rev, c.ours, c.wrote = rev, rev, ours, never
	if ours && e.binding() == c.binding {
		c.wrote = e.shown()
	}
	if c.session == nil || c.wrote != shownOf(c.session) {
		r.queue(c)
	}
}

// never is what an entry says that has to be written again whatever it is.
var never = shown{rank: away - 1}
