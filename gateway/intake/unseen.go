package intake

import (
	"container/list"
	"sync"
	"time"

	"mcmt2xmpp/mcmt"
)

const (
	// unseenFor is how long a client is waited for that has not seen its answer.
	// It comes again after half an hour, if it keeps to RFC 5321 §4.5.4.1, and few
	// wait longer than an hour.
	unseenFor = time.Hour

	// maxUnseen bounds the memory of answers, in recipients: some 15 MB. Those
	// that are seen, which is the rule, do not count.
	maxUnseen = 1 << 16
)

// unseen are the answers that clients may not have seen. The zero value holds
// none.
type unseen struct {
	mu     sync.Mutex
	byID   map[mcmt.ID]*list.Element
	byCopy map[messageTo]*stored
	oldest list.List // of *stored
}

// messageTo is a message for one recipient.
type messageTo struct {
	message identity
	to      string // where it leads
}

// stored is one submission.
type stored struct {
	id     mcmt.ID
	copies []messageTo
	at     time.Time
}

// find returns those of to who have not got the message by a submission that is
// remembered, and the id of one that others have it from.
func (u *unseen) find(message identity, to []target, now time.Time) (id mcmt.ID, rest []target) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, t := range to {
		if s := u.byCopy[messageTo{message, t.leads()}]; s != nil && now.Sub(s.at) < unseenFor {
			id = s.id
		} else {
			rest = append(rest, t)
		}
	}
	return id, rest
}

// add remembers that the message was stored for to, the answer being id.
func (u *unseen) add(id mcmt.ID, message identity, to []target, now time.Time) {
	s := &stored{id: id, copies: make([]messageTo, len(to)), at: now}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID == nil {
		u.byID, u.byCopy = make(map[mcmt.ID]*list.Element), make(map[messageTo]*stored)
	}
	for i, t := range to {
		s.copies[i] = messageTo{message, t.leads()}
		u.byCopy[s.copies[i]] = s // whatever the answer was that counted before
	}
	u.byID[id] = u.oldest.PushBack(s)
	for e := u.oldest.Front(); len(u.byCopy) > maxUnseen || now.Sub(e.Value.(*stored).at) >= unseenFor; e = u.oldest.Front() {
		u.drop(e)
	}
}

// remove forgets answers.
func (u *unseen) remove(ids []mcmt.ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		if e := u.byID[id]; e != nil {
			u.drop(e)
		}
	}
}

// drop forgets one. u.mu is held.
func (u *unseen) drop(e *list.Element) {
	s := u.oldest.Remove(e).(*stored)
	delete(u.byID, s.id)
	for _, c := range s.copies {
		if u.byCopy[c] == s {
			delete(u.byCopy, c)
		}
	}
}
