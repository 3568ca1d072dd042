package link

import (
	"container/list"
	"sync"

	"mcmt2xmpp/xmpp/jid"
)

// maxContacts is for how many people it is known who has written to them last; those who
// were written to longest ago are forgotten.
const maxContacts = 100_000

// contacts are the people who were written to by an account, and who is to get their
// answers. The zero value is empty.
type contacts struct {
	mu     sync.Mutex
	of     map[jid.JID]*list.Element // by bare JID
	recent list.List                 // of contact, the latest first
	max    int                       // zero: maxContacts
}

type contact struct{ who, writer jid.JID }

// note records that writer has written to who.
func (cs *contacts) note(who, writer jid.JID) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.of == nil {
		cs.of = make(map[jid.JID]*list.Element)
	}
	if cs.max == 0 {
		cs.max = maxContacts
	}
	if e := cs.of[who]; e != nil {
		e.Value = contact{who, writer}
		cs.recent.MoveToFront(e)
		return
	}
	cs.of[who] = cs.recent.PushFront(contact{who, writer})
	if cs.recent.Len() > cs.max {
		last := cs.recent.Back()
		delete(cs.of, last.Value.(contact).who)
		cs.recent.Remove(last)
	}
}

// writer is who has written to who last; zero: nobody is known.
func (cs *contacts) writer(who jid.JID) jid.JID {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if e := cs.of[who]; e != nil {
		return e.Value.(contact).writer
	}
	return jid.JID{}
}
