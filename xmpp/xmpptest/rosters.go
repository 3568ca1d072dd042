package xmpptest

import (
	"context"
	"sync"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
)

// Rosters keeps rosters in memory, for a router in a test. The zero value is empty.
type Rosters struct {
	// OnChange is called with each change. Nil: nobody is.
	OnChange func(user jid.JID, old, now *roster.Roster)
	Limits   roster.Limits

	changing sync.Mutex // one change at a time, and its telling

	mu    sync.Mutex
	users map[jid.JID]*roster.Roster
	fails error
}

// Fail has every Update return err; nil ends that.
func (m *Rosters) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fails = err
}

// Roster returns the roster of a user, never nil.
func (m *Rosters) Roster(user jid.JID) *roster.Roster {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.users[user.Bare()]; r != nil {
		return r
	}
	return &roster.Roster{Limits: m.Limits}
}

// Update changes the roster of a user.
func (m *Rosters) Update(_ context.Context, user jid.JID, change func(*roster.Roster) error, stored func()) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	old := m.Roster(user)
	now := old.Clone()
	m.mu.Lock()
	err := m.fails
	m.mu.Unlock()
	if err != nil {
		return err
	}
	if err := change(now); err != nil {
		return err
	}
	m.mu.Lock()
	if m.users == nil {
		m.users = make(map[jid.JID]*roster.Roster)
	}
	m.users[user.Bare()] = now
	m.mu.Unlock()
	if stored != nil {
		stored()
	}
	if m.OnChange != nil {
		m.OnChange(user.Bare(), old, now)
	}
	return nil
}
