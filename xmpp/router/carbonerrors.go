package router

import (
	"hash/maphash"
	"sync"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// maxCopied is how many messages that were copied are remembered at least; twice as
// many at most.
const maxCopied = 1 << 14

// copies remembers the messages that were copied, so that the error in response to one
// of them is copied too (XEP-0280 §6.1): else the account's other clients show as sent
// what has failed. It keeps hashes, in bounded memory; what is forgotten, or was copied
// by another process, has its errors not copied. The zero value is empty.
type copies struct {
	mu       sync.Mutex
	now, old map[uint64]struct{} // old: those from before now began
}

// exchange is a message or the error in response to it, seen from an account.
type exchange struct {
	account, other jid.JID // bare
	id             string
}

var copySeed = maphash.MakeSeed()

// exchangeOf returns what a message and its error have in common.
func exchangeOf(st *stanza.Stanza, d direction) exchange {
	if d == sent {
		return exchange{st.From.Bare(), st.To.Bare(), st.ID}
	}
	return exchange{st.To.Bare(), st.From.Bare(), st.ID}
}

// note remembers a message. An error comes with its id, and to one without nothing can
// be told to be an answer.
func (c *copies) note(st *stanza.Stanza, d direction) {
	if st.ID == "" || st.Type == stanza.TypeError {
		return
	}
	hash := maphash.Comparable(copySeed, exchangeOf(st, d))
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || len(c.now) >= maxCopied {
		c.now, c.old = make(map[uint64]struct{}), c.now
	}
	c.now[hash] = struct{}{}
}

// answered says whether an error is in response to a message that was copied.
func (c *copies) answered(st *stanza.Stanza, d direction) bool {
	if st.ID == "" {
		return false
	}
	hash := maphash.Comparable(copySeed, exchangeOf(st, d))
	c.mu.Lock()
	defer c.mu.Unlock()
	_, now := c.now[hash]
	_, old := c.old[hash]
	return now || old
}
