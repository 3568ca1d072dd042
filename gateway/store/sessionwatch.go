package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/backoff"
	"mcmt2xmpp/xmpp/jid"
)

// openTime bounds the opening of the bucket and the start of a watcher.
const openTime = 5 * time.Second

// Why a watcher is replaced.
var (
	errReconnected = errors.New("connection was lost")
	errBucketNew   = errors.New("bucket is another one than before")
	errBehind      = errors.New("watcher misses what happens")
)

// openBucket opens the bucket or makes it. It lives in memory: when the last
// server that has it restarts, it is made anew, and everybody's entries are
// written again. Its size is bounded by the sessions that listeners admit.
func (r *Sessions) openBucket(ctx context.Context) error {
	kv, err := r.o.Broker.KV(ctx, jetstream.KeyValueConfig{
		Bucket: sessionBucket, Description: "bound sessions", Storage: jetstream.MemoryStorage, History: 1, LimitMarkerTTL: markerTTL,
	})
	if err != nil {
		return fmt.Errorf("sessions: open bucket: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kv = kv
	return nil
}

// watch keeps the map of sessions elsewhere until ctx ends. What is known stays
// while the bucket cannot be read.
func (r *Sessions) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if !errors.Is(err, errReconnected) {
			r.o.Report(fmt.Errorf("sessions of other processes stay as they were: %w", err))
		}
		backoff.Wait(ctx, r.o.times.retry)
	}
}

// progress is how far a watcher has come.
type progress struct {
	created time.Time // of the bucket
	seen    uint64    // the last revision that came, or was there before the watcher
	checked uint64    // seen at the last check
	behind  int       // checks in a row that found the bucket ahead
}

// follow applies what one watcher reports until it ends. The first round is the
// whole bucket: what is not in it is gone.
func (r *Sessions) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	again := r.o.Broker.Reconnected()
	slow := time.AfterFunc(openTime, cancel)
	defer slow.Stop()
	if err := r.openBucket(ctx); err != nil {
		return err
	}
	kv := r.bucket()
	var p progress
	if err := p.begin(ctx, kv); err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket: %w", err)
	}
	defer endWatch(w)
	if !slow.Stop() {
		return errors.New("bucket is slow to answer") // and ctx has ended, or is about to
	}
	tick := time.NewTicker(r.o.times.check)
	defer tick.Stop()
	var first []jetstream.KeyValueEntry
	inFirst := true
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again:
			return errReconnected
		case <-tick.C:
			if err := p.check(ctx, kv, r.o.times.check); err != nil {
				return err
			}
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("watcher ended")
			case e == nil:
				r.replace(first)
				first, inFirst = nil, false
			case inFirst:
				p.seen = max(p.seen, e.Revision())
				first = append(first, e)
			default:
				p.seen = max(p.seen, e.Revision())
				r.apply(e)
			}
		}
	}
}

func (r *Sessions) bucket() jetstream.KeyValue {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.kv
}

func (p *progress) begin(ctx context.Context, kv jetstream.KeyValue) error {
	info, err := bucketInfo(ctx, kv)
	if err != nil {
		return fmt.Errorf("read bucket: %w", err)
	}
	p.created, p.seen = info.Created, info.State.LastSeq
	return nil
}

func bucketInfo(ctx context.Context, kv jetstream.KeyValue) (*jetstream.StreamInfo, error) {
	st, err := kv.Status(ctx)
	if err != nil {
		return nil, err
	}
	s, ok := st.(*jetstream.KeyValueBucketStatus)
	if !ok {
		return nil, fmt.Errorf("a status of type %T", st)
	}
	return s.StreamInfo(), nil
}

// check asks the server whether the bucket is still the one that is watched, and
// whether all of it has come.
func (p *progress) check(ctx context.Context, kv jetstream.KeyValue, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	info, err := bucketInfo(ctx, kv)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrBucketNotFound):
		return errBucketNew
	case err != nil:
		return nil // the server is busy or away; its return is noticed
	}
	return p.judge(info)
}

func (p *progress) judge(info *jetstream.StreamInfo) error {
	if !info.Created.Equal(p.created) {
		return errBucketNew
	}
	p.behind++
	if info.State.LastSeq <= p.seen || p.seen != p.checked {
		p.behind = 0
	}
	p.checked = p.seen
	if p.behind >= 2 {
		return errBehind
	}
	return nil
}

// apply takes one change of the bucket over.
func (r *Sessions) apply(e jetstream.KeyValueEntry) {
	r.mu.Lock()
	defer r.unlock()
	r.take(e)
}

// replace takes a whole bucket over, which may be another one than before.
func (r *Sessions) replace(all []jetstream.KeyValueEntry) {
	r.mu.Lock()
	defer r.unlock()
	r.round++
	there := make(map[string]bool, len(all))
	for _, e := range all {
		if e.Operation() == jetstream.KeyValuePut {
			there[e.Key()] = true
		}
	}
	for key := range r.remotes {
		if !there[key] && !r.ahead(key, nothingBound) {
			r.drop(key, lost)
		}
	}
	for key, c := range r.claims {
		c.seen = 0
		if !there[key] {
			c.lost = c.lost || c.ours
			r.missing(c)
		}
	}
	for _, e := range all {
		if there[e.Key()] {
			r.take(e)
		}
	}
	if r.round == 1 {
		close(r.loaded)
		return
	}
	// Neither side knows what presence the other has missed.
	for bare := range r.users {
		r.news = append(r.news, news{kind: reunited, bare: bare})
	}
}

// take takes one entry, or the absence of one, over. r.mu is held.
func (r *Sessions) take(e jetstream.KeyValueEntry) {
	key, rev := e.Key(), e.Revision()
	c := r.claims[key]
	if e.Operation() != jetstream.KeyValuePut {
		if r.ahead(key, nothingBound) {
			return
		}
		r.drop(key, moved)
		if c != nil && rev > c.seen {
			c.seen = rev
			c.lost = c.lost || c.ours && c.session != nil
			r.missing(c)
		}
		return
	}
	entry, full, err := parseSession(key, e.Value())
	switch {
	case err == nil && r.ahead(key, entry.binding()):
		return
	case err != nil:
		// A session that cannot be read is none, and must not stay what it was.
		r.drop(key, lost)
		r.o.Report(err)
	case entry.Node != r.node:
		r.put(key, full, entry, rev)
	default:
		r.drop(key, moved)
		if c == nil {
			// Written by a request that was thought to have failed.
			c = &claim{key: key, full: full, binding: entry.binding()}
			r.claims[key] = c
		}
	}
	if c != nil && rev > c.seen {
		r.collide(c, rev, entry, err == nil)
	}
}

// put takes over what an entry says of a session elsewhere. r.mu is held.
func (r *Sessions) put(key string, full jid.JID, e sessionEntry, rev uint64) {
	m := r.remotes[key]
	before, now := nothing, e.shown()
	if m != nil && (m.binding == e.binding() || e.Moved) {
		before = r.shown(m)
	}
	if m != nil && m.binding != e.binding() {
		r.drop(key, moved)
		m = nil
	}
	if m == nil {
		m = &remote{r: r, key: key, full: full, binding: e.binding(), peer: r.peer(e.Node)}
	}
	m.rev, m.ahead = rev, false
	m.state.Store(&now)
	r.add(m)
	r.shifted(m, before, moved)
}

// add has a session elsewhere be known. r.mu is held.
func (r *Sessions) add(m *remote) {
	bare := m.full.Bare()
	if r.remotes[m.key] != m {
		m.peer.remotes[m.key] = m
		r.remotes[m.key] = m
		r.away[bare] = append(r.away[bare], m)
	}
	r.merge(bare)
}

// nothingBound stands for the absence of an entry.
var nothingBound binding

// ahead says whether this node knows better than an entry of b who has the session: it has
// handed it over itself. r.mu is held.
func (r *Sessions) ahead(key string, b binding) bool {
	m := r.remotes[key]
	return m != nil && m.ahead && r.claims[key] == nil && b != m.binding && !b.after(m.binding)
}

// drop forgets a session elsewhere, if there is one. r.mu is held.
func (r *Sessions) drop(key string, how change) {
	m := r.remotes[key]
	if m == nil {
		return
	}
	bare, before := m.full.Bare(), r.shown(m)
	delete(r.remotes, key)
	delete(m.peer.remotes, key)
	rest := r.away[bare]
	for i, o := range rest {
		if o == m {
			rest[i] = rest[len(rest)-1]
			rest = rest[:len(rest)-1]
			break
		}
	}
	if r.away[bare] = rest; len(rest) == 0 {
		delete(r.away, bare)
	}
	if p := m.peer; len(p.remotes) == 0 && !p.live {
		delete(r.peers, p.node)
	}
	r.merge(bare)
	if how == lost && before.present {
		r.news = append(r.news, news{kind: left, there: m})
	}
}
