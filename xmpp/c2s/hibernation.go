package c2s

import (
	"crypto/rand"
	"crypto/subtle"
	"slices"
	"strings"
	"sync"

	"mcmt2xmpp/xmpp/jid"
)

// HibernationOptions bound the sessions that wait for their clients.
type HibernationOptions struct {
	// Sessions bounds those of the process. A session for which there is no room
	// ends with its connection. Zero: 10000.
	Sessions int
	// PerAccount bounds those of one account: the one that has waited longest
	// makes room. Zero: 10.
	PerAccount int
}

// Hibernation is what the servers of one process share about sessions that wait
// for their client to resume them (XEP-0198 §5): a client may come back by another
// listener.
type Hibernation struct {
	o HibernationOptions
	// process begins every SM-ID of this one, so that one of another process can
	// be told from one that is forgotten.
	process string

	mu      sync.Mutex
	asleep  map[jid.JID][]*session // by bare JID, oldest first
	count   int
	past    map[string]past // by SM-ID
	forgets []string        // the keys of past, oldest first
}

// past is what is left of a session that was not resumed in time.
type past struct {
	bare    jid.JID
	handled uint32
}

// NewHibernation returns a Hibernation without sessions.
func NewHibernation(o HibernationOptions) *Hibernation {
	if o.Sessions <= 0 {
		o.Sessions = 10000
	}
	if o.PerAccount <= 0 {
		o.PerAccount = 10
	}
	return &Hibernation{o: o, process: rand.Text()[:8],
		asleep: make(map[jid.JID][]*session), past: make(map[string]past)}
}

// newID makes an SM-ID that nobody can guess.
func (h *Hibernation) newID() string { return h.process + "-" + rand.Text() }

// ours says whether an SM-ID is one of this process.
func (h *Hibernation) ours(id string) bool { return strings.HasPrefix(id, h.process+"-") }

// enter takes a session in and says whether there is room. Another of the account
// may have to make it.
func (h *Hibernation) enter(c *session) (evicted *session, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	bare := c.full.Bare()
	if len(h.asleep[bare]) >= h.o.PerAccount {
		evicted = h.asleep[bare][0]
		h.remove(evicted)
	}
	if h.count >= h.o.Sessions {
		return evicted, false
	}
	h.asleep[bare] = append(h.asleep[bare], c)
	h.count++
	return evicted, true
}

// leave takes a session out that is resumed or at its end.
func (h *Hibernation) leave(c *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(c)
}

func (h *Hibernation) remove(c *session) {
	bare := c.full.Bare()
	i := slices.Index(h.asleep[bare], c)
	if i < 0 {
		return
	}
	h.count--
	if h.asleep[bare] = slices.Delete(h.asleep[bare], i, i+1); len(h.asleep[bare]) == 0 {
		delete(h.asleep, bare)
	}
}

// oldest is the session of an account that has waited longest, nil for none.
func (h *Hibernation) oldest(bare jid.JID) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := h.asleep[bare]; len(all) > 0 {
		return all[0]
	}
	return nil
}

// remember keeps how much of what its client sent a session has handled, for a
// client that comes too late (§5). As many are kept as sessions may wait.
func (h *Hibernation) remember(id string, bare jid.JID, handled uint32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.forgets) >= h.o.Sessions {
		delete(h.past, h.forgets[0])
		h.forgets = h.forgets[1:]
	}
	h.past[id] = past{bare, handled}
	h.forgets = append(h.forgets, id)
}

// recall is what remember has kept, for the account that it was of.
func (h *Hibernation) recall(id string, bare jid.JID) (handled uint32, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.past[id]
	return p.handled, ok && p.bare == bare
}

// same compares SM-IDs in constant time: each is the secret of a session.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
