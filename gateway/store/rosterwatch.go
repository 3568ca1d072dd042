package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
)

// watch keeps the map until ctx ends. A watcher that ends before, which takes a
// closed connection, is replaced; the rosters known so far hold meanwhile.
func (s *Rosters) watch(ctx context.Context) {
	persist(ctx, s.follow, func(err error) { s.o.Report(fmt.Errorf("rosters stay as they were: %w", err)) })
}

// follow applies what one watcher reports until it ends. The first round is the
// whole bucket: what is not in it is gone.
func (s *Rosters) follow(ctx context.Context) error {
	w, err := s.kv.WatchAll(ctx)
	if err != nil {
		return fmt.Errorf("watch bucket: %w", err)
	}
	defer func() {
		_ = w.Stop()
		// The library's callback blocks on a full channel, for ever unless somebody reads.
		for range w.Updates() {
		}
	}()
	first := make(map[string]*edition)
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errors.New("watcher ended")
			case e == nil:
				s.replace(ctx, first)
				first = nil
			case first == nil:
				s.apply(ctx, e)
			case e.Operation() == jetstream.KeyValuePut:
				first[e.Key()] = &edition{rev: e.Revision(), value: e.Value()}
			}
		}
	}
}

// apply takes one change of the bucket over and has the listeners told.
func (s *Rosters) apply(ctx context.Context, e jetstream.KeyValueEntry) {
	if e.Operation() == jetstream.KeyValuePut {
		s.put(e.Key(), &edition{rev: e.Revision(), value: e.Value()})
	} else {
		s.drop(e.Key(), e.Revision(), 0)
	}
	s.due(ctx, e.Key())
}

// replace takes the whole bucket over. At the start there are no listeners yet, so
// that nobody is told of what was there.
func (s *Rosters) replace(ctx context.Context, all map[string]*edition) {
	var changed []string
	s.mu.Lock()
	for key, e := range all {
		h := s.users[key]
		if h == nil {
			h = new(held)
			s.users[key] = h
		}
		if h.now == nil || h.now.rev != e.rev {
			h.now, h.gone = e, 0
			changed = append(changed, key)
		}
	}
	for key, h := range s.users {
		if _, ok := all[key]; !ok {
			h.now, h.gone = nil, 0
			changed = append(changed, key)
		}
	}
	s.mu.Unlock()
	for _, key := range changed {
		s.due(ctx, key)
	}
	select {
	case <-s.loaded:
	default:
		close(s.loaded)
	}
}

// put takes an edition over unless a later one is known: a change of this process
// is known before the watcher reports it.
func (s *Rosters) put(key string, e *edition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.users[key]
	if h == nil {
		h = new(held)
		s.users[key] = h
	}
	if h.now != nil && h.now.rev >= e.rev || h.gone >= e.rev {
		return
	}
	h.now, h.gone = e, 0
}

// drop takes over that an edition, and all before it, is deleted. gone is its
// revision where the watcher has not reported that yet.
func (s *Rosters) drop(key string, rev, gone uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.users[key]
	switch {
	case h == nil:
	case h.now != nil && h.now.rev <= rev:
		h.now, h.gone = nil, gone
	case h.now == nil && gone == 0:
		h.gone = 0
	}
}

// due has the listeners told of a change of another process, when it is its turn.
// Only the watcher calls it: who is told may block, and the watcher must not.
func (s *Rosters) due(ctx context.Context, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.users[key]
	switch {
	case h == nil || h.due:
		return
	case h.now == h.told:
		s.tidy(key)
		return
	case len(s.listeners) == 0:
		h.told = h.now
		s.tidy(key)
		return
	}
	h.due = true
	s.work.Go(func() {
		done, err := s.turns.take(ctx, key)
		if err != nil {
			return // the store is being closed
		}
		defer done()
		s.tell(key)
	})
}

// tidy forgets what is deleted, once everybody knows. s.mu is held.
func (s *Rosters) tidy(key string) {
	if h := s.users[key]; h.now == nil && h.told == nil && h.gone == 0 {
		delete(s.users, key)
	}
}

// tell calls the listeners for a roster until they know what it is now. The caller
// has the turn of the key.
func (s *Rosters) tell(key string) {
	for {
		s.mu.Lock()
		h := s.users[key]
		if h == nil {
			s.mu.Unlock()
			return
		}
		before, now, listeners := h.told, h.now, s.listeners
		h.told, h.due = now, false
		if before == now {
			s.tidy(key)
		}
		s.mu.Unlock()
		if before == now {
			return
		}
		s.call(key, before, now, listeners)
	}
}

func (s *Rosters) call(key string, before, now *edition, listeners []func(jid.JID, *roster.Roster, *roster.Roster)) {
	// A roster that cannot be read is an empty one, as in Roster.
	old, err := s.read(key, before)
	if err != nil {
		old = new(roster.Roster)
	}
	next, err := s.read(key, now)
	if err != nil {
		next = new(roster.Roster)
	}
	user := before.owner()
	if user.IsZero() {
		user = now.owner()
	}
	if user.IsZero() {
		return // neither can be read
	}
	for _, f := range listeners {
		f(user, old, next)
	}
}

// owner is whose roster an edition is; zero for none, and one that cannot be read.
func (e *edition) owner() jid.JID {
	if e == nil {
		return jid.JID{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return jid.JID{}
	}
	return e.user
}
