// Package roster is a user's contacts and the state of the subscriptions between
// them (RFC 6121 §2, §3, Appendix A). It decides and stores nothing.
//
//	roster.go     a roster, its items and their changes (§2)
//	state.go      the nine states, and what each stanza does in them (§3, §A)
//	subscribe.go  the same on a roster
//	version.go    versions, and what changed since one (§2.6)
//	query.go      the wire: roster get, set, result and push (§2.1)
//	record.go     the JSON record, and the form in which it is stored
//	limits.go     how much of it there may be
package roster

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// Item is one contact as its user sees it (RFC 6121 §2.1.2).
type Item struct {
	JID      jid.JID // bare
	Name     string  // the user's name for it; may be empty
	Groups   []string
	State    State
	Approved bool // the user has approved a request that has not come (§3.4)
}

// same says whether two items look the same on the wire.
func (i Item) same(o Item) bool {
	return i.JID == o.JID && i.Name == o.Name && i.Approved == o.Approved && i.State.Subscription() == o.State.Subscription() &&
		i.State.PendingOut() == o.State.PendingOut() && slices.Equal(i.Groups, o.Groups)
}

// Roster is the contacts of one user, and those who would like to be. The zero
// Roster is empty and has the default limits. It is not safe for concurrent use;
// who shares one shares it for reading.
type Roster struct {
	Limits Limits

	id       string // tells this roster from an earlier one of the user
	version  uint64 // counts visible changes
	log      []jid.JID
	contacts map[jid.JID]contact
	extra    extra // members of the stored form that are not known here
	changed  bool
}

// contact is a line of the record. One that is not listed is no item of the roster:
// the user has not answered its request yet (§A.1, "None + Pending In").
type contact struct {
	name     string
	groups   []string
	state    State
	approved bool
	listed   bool
	request  string // the presence stanza that asks, while the state is pending in
	extra    extra  // members of the record that are not known here
	requests extra  // likewise, of pending_requests
}

// extra are members of a JSON object that this version does not know.
type extra map[string]json.RawMessage

func (c contact) item(j jid.JID) Item {
	return Item{JID: j, Name: c.name, Groups: c.groups, State: c.state, Approved: c.approved}
}

// Len is the number of items.
func (r *Roster) Len() int {
	n := 0
	for range r.All() {
		n++
	}
	return n
}

// All are the items, in no order. Their groups must not be changed.
func (r *Roster) All() iter.Seq[Item] {
	return func(yield func(Item) bool) {
		for j, c := range r.contacts {
			if c.listed && !yield(c.item(j)) {
				return
			}
		}
	}
}

// Items are the items, in the order of their addresses.
func (r *Roster) Items() []Item {
	return slices.SortedFunc(r.All(), func(a, b Item) int { return cmp.Compare(a.JID.String(), b.JID.String()) })
}

// Item returns the item of a contact, false where there is none.
func (r *Roster) Item(j jid.JID) (Item, bool) {
	c := r.contacts[j.Bare()]
	return c.item(j.Bare()), c.listed
}

// State returns that of the subscriptions with j, who need not be a contact.
func (r *Roster) State(j jid.JID) State { return r.contacts[j.Bare()].state }

// Changed says whether anything was changed since the roster was read or cloned,
// visible or not.
func (r *Roster) Changed() bool { return r.changed }

// Clone returns a copy to change.
func (r *Roster) Clone() *Roster {
	c := *r
	c.contacts = maps.Clone(r.contacts)
	c.log = slices.Clone(r.log)
	c.changed = false
	return &c
}

// Set adds a contact, or gives it another name and other groups (RFC 6121 §2.3,
// §2.4). Its subscription stays what it is. The error is a *LimitError or a
// *stanza.Error.
func (r *Roster) Set(j jid.JID, name string, groups []string) error {
	if err := r.Limits.checkItem(name, groups); err != nil {
		return err
	}
	c := r.contacts[j]
	c.name, c.groups, c.listed = name, slices.Clone(groups), true
	return r.put(j, c)
}

// Remove removes a contact and returns the state that its subscriptions had: they
// are the caller's to end (RFC 6121 §2.5.2). The error is item-not-found (§2.5.3).
func (r *Roster) Remove(j jid.JID) (State, error) {
	c, ok := r.contacts[j]
	if !ok || !c.listed {
		return None, &stanza.Error{Condition: stanza.ItemNotFound}
	}
	return c.state, r.put(j, contact{})
}

// put makes c the line of j. One without any content is removed.
func (r *Roster) put(j jid.JID, c contact) error {
	old := r.contacts[j]
	if c.listed && !old.listed {
		if err := check(r.Len()+1, r.Limits.orDefault().Items, "contacts", stanza.PolicyViolation); err != nil {
			return err
		}
	}
	r.changed = true
	if c.listed || c.state != None {
		if r.contacts == nil {
			r.contacts = make(map[jid.JID]contact)
		}
		r.contacts[j] = c
	} else {
		delete(r.contacts, j)
	}
	if c.listed != old.listed || c.listed && !c.item(j).same(old.item(j)) {
		r.note(j)
	}
	return nil
}
