package router

import (
	"slices"
	"sync"

	"mcmt2xmpp/xmpp/jid"
)

// memory is the Registry of one process.
type memory struct {
	mu sync.RWMutex
	// by bare JID. A slice is replaced, never changed, so that readers may keep
	// it without the lock.
	users map[jid.JID][]Session
	count int
}

// NewRegistry returns an empty registry that lives in memory.
func NewRegistry() Registry { return &memory{users: make(map[jid.JID][]Session)} }

func (m *memory) Bind(s Session, max int) (replaced Session, err error) {
	full := s.JID()
	bare := full.Bare()
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.users[bare]
	i := slices.IndexFunc(old, func(o Session) bool { return o.JID() == full })
	if i < 0 && len(old) >= max {
		return nil, ErrTooManySessions
	}
	sessions := make([]Session, 0, len(old)+1)
	for j, o := range old {
		if j == i {
			replaced = o
			continue
		}
		sessions = append(sessions, o)
	}
	m.users[bare] = append(sessions, s)
	m.count += len(m.users[bare]) - len(old)
	return replaced, nil
}

func (m *memory) Unbind(s Session) bool {
	bare := s.JID().Bare()
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.users[bare]
	i := slices.Index(old, s)
	if i < 0 {
		return false
	}
	m.count--
	if len(old) == 1 {
		delete(m.users, bare)
		return true
	}
	m.users[bare] = slices.Delete(slices.Clone(old), i, i+1)
	return true
}

func (m *memory) Session(full jid.JID) Session {
	for _, s := range m.Sessions(full.Bare()) {
		if s.JID() == full {
			return s
		}
	}
	return nil
}

func (m *memory) Sessions(bare jid.JID) []Session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.users[bare]
}

// Changed does nothing: whoever asks a session gets the answer of now.
func (m *memory) Changed(Session) {}

func (m *memory) All() []Session {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]Session, 0, m.count)
	for _, sessions := range m.users {
		all = append(all, sessions...)
	}
	return all
}
