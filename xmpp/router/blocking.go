package router

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Blocks are the block lists of local accounts (XEP-0191), by bare JID. Its methods
// may be called from any goroutine.
type Blocks interface {
	// Blocks returns that of an account, which must not be changed.
	Blocks(user jid.JID) BlockList
}

// BlockList is whom an account does not want to hear from. Nil blocks nobody.
type BlockList map[jid.JID]struct{}

// Has says whether an address is blocked: by itself, as a resource of a blocked
// account, or for its domain (XEP-0191 §6).
func (b BlockList) Has(j jid.JID) bool {
	if len(b) == 0 || j.IsZero() {
		return false
	}
	domain, err := jid.New("", j.Domain(), "")
	if err != nil {
		return false
	}
	at, err := jid.New("", j.Domain(), j.Resource())
	if err != nil {
		return false
	}
	for _, k := range []jid.JID{j, j.Bare(), at, domain} {
		if _, ok := b[k]; ok {
			return true
		}
	}
	return false
}

// blocks says whether an account has blocked somebody. Nobody blocks his own
// resources (§5), or the server that he speaks through.
func (r *Router) blocks(user, other jid.JID) bool {
	if r.o.Blocks == nil || user.Local() == "" || user.Bare() == other.Bare() || other.Local() == "" && r.Serves(other.Domain()) {
		return false
	}
	return r.o.Blocks.Blocks(user.Bare()).Has(other)
}

// errBlocked is for a client that sends to whom its user has blocked (§3.3).
var errBlocked = &stanza.Error{
	Type: stanza.Cancel, Condition: stanza.NotAcceptable,
	Specific: xmlwire.Name{Space: "urn:xmpp:blocking:errors", Local: "blocked"},
}

// barred applies the block lists of both ends to a stanza. stop says that it goes no
// further; the error is for who sent it: to the blocked his victim looks offline.
func (r *Router) barred(st *stanza.Stanza) (stop bool, err error) {
	switch {
	case r.o.Blocks == nil:
		return false, nil
	case r.local(st.From) && r.blocks(st.From, st.To):
		err = errBlocked
	case !r.local(st.To) || !r.blocks(st.To, st.From):
		return false, nil
	case st.Kind != stanza.Presence:
		err = unavailable
	}
	r.stats.blocked.Add(1)
	return true, err
}

// errUnwanted ends a message in custody whose recipient has blocked its sender. It
// is never the sender of a chat who gets to read it.
var errUnwanted = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable, Text: "the recipient has blocked the sender"}

// Block has the contacts among those that a user is about to block see him leave,
// where they saw him at all (§3.3).
func (r *Router) Block(ctx context.Context, user jid.JID, who BlockList) {
	for item := range r.Roster(user).All() {
		if item.State.HasFrom() && who.Has(item.JID) && !r.blocks(user, item.JID) {
			r.hide(ctx, user, item.JID)
		}
	}
}

// Unblock has the contacts among those that a user has unblocked see him again
// (§3.4), and him them.
func (r *Router) Unblock(ctx context.Context, user jid.JID, who BlockList) {
	for item := range r.Roster(user).All() {
		if !who.Has(item.JID) || r.blocks(user, item.JID) {
			continue
		}
		if item.State.HasFrom() {
			r.show(ctx, user, item.JID)
		}
		switch {
		case item.State.HasTo() && r.local(item.JID):
			for _, s := range r.Sessions(user) {
				if present(s) {
					r.introduce(ctx, item.JID, s.JID())
				}
			}
		case item.State.HasTo() && r.anyPresent(user):
			r.ask(ctx, user, item.JID, "probe")
		}
	}
}
