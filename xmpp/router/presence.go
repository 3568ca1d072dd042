package router

import (
	"context"
	"errors"
	"iter"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
)

// Rosters keeps the rosters of local accounts, by bare JID. Its methods may be
// called from any goroutine.
type Rosters interface {
	// Roster returns the roster of an account as it is known here, never nil. It
	// must not be changed.
	Roster(user jid.JID) *roster.Roster
	// Update has change change a copy of the roster and stores that, unless change
	// returns an error; change may be called several times, with newer copies.
	// stored, if not nil, is called when that is done, before anybody learns of it
	// by RosterChanged. Neither may call Update for the same account.
	Update(ctx context.Context, user jid.JID, change func(*roster.Roster) error, stored func()) error
}

// Beside router.Session a session may have these, which a proxy for one of another
// process may lack.
type (
	// pusher gets changes of its user's roster, and pushes them to its client if
	// that has asked for the roster (RFC 6121 §2.1.6).
	pusher interface {
		Push(ctx context.Context, changes []roster.Change)
	}
	// interested says whether the client has asked for the roster (§2.2). Without
	// it an available one counts as having done so.
	interested interface{ Interested() bool }
	// shower sends its presence to somebody, if it has any, by Forward.
	shower interface {
		Show(ctx context.Context, to jid.JID)
	}
)

// Rosters returns Options.Rosters.
func (r *Router) Rosters() Rosters { return r.o.Rosters }

// Roster is the roster of a local account, never nil. It must not be changed.
func (r *Router) Roster(user jid.JID) *roster.Roster {
	if r.o.Rosters == nil {
		return new(roster.Roster)
	}
	return r.o.Rosters.Roster(user)
}

// RosterChanged tells the router that the roster of an account was old and is now:
// the sessions of this process that are interested get the pushes (RFC 6121
// §2.1.6). Whoever keeps the rosters calls it in every process, for one account at
// a time.
func (r *Router) RosterChanged(user jid.JID, old, now *roster.Roster) {
	var changes []roster.Change
	for _, s := range r.Sessions(user) {
		p, ok := s.(pusher)
		if !ok {
			continue
		}
		if changes == nil {
			changes = now.Diff(old)
		}
		p.Push(context.Background(), changes) // the patience of the session bounds it
	}
}

// Forward sends a stanza on its way, on behalf of somebody who waits for no
// answer. The error is why it is known not to arrive.
func (r *Router) Forward(ctx context.Context, st *stanza.Stanza) error {
	_, err := r.route(ctx, nil, st)
	return err
}

// Broadcast sends the presence of a resource, which st is from, to the contacts
// that are subscribed to it (RFC 6121 §4.2.2, §4.4.2, §4.5.2). The account's own
// resources get it otherwise.
func (r *Router) Broadcast(ctx context.Context, st *stanza.Stanza) {
	for item := range r.Roster(st.From.Bare()).All() {
		if item.State.HasFrom() {
			out := *st
			out.To = item.JID
			_ = r.Forward(ctx, &out) // whom it does not reach has nothing from us anyhow
		}
	}
}

// Arrived asks the contacts of s for their presence, when s has sent initial
// presence (RFC 6121 §4.2.2, §4.3.1). Requests that were not answered are made
// again (§3.1.2): they may have been lost.
func (r *Router) Arrived(ctx context.Context, s Session) {
	user := s.JID().Bare()
	for item := range r.Roster(user).All() {
		switch {
		case item.State.HasTo() && r.local(item.JID):
			r.introduce(ctx, item.JID, s.JID())
		case item.State.HasTo():
			r.ask(ctx, user, item.JID, "probe")
		case item.State.PendingOut():
			r.ask(ctx, user, item.JID, string(roster.Subscribe))
		}
	}
}

// ask sends presence of a type from the account of a user to a contact.
func (r *Router) ask(ctx context.Context, user, contact jid.JID, typ string) {
	_ = r.Forward(ctx, stanza.NewPresence(contact, user, typ)) // as good as not answered
}

// local says whether an address is to be that of an account here.
func (r *Router) local(j jid.JID) bool { return r.Serves(j.Domain()) && r.host(j.Domain()) == nil }

// introduce sends the presence of a local contact to a resource of a user, as the
// answer to a probe would (RFC 6121 §4.3.2). A contact who has not granted that
// stays silent: an operator may be about to write the other roster. One that does
// not exist any more cancels the subscription.
func (r *Router) introduce(ctx context.Context, contact, to jid.JID) {
	switch {
	case r.Roster(contact).State(to).HasFrom():
		r.show(ctx, contact, to)
	case errors.Is(r.known(ctx, contact), unavailable):
		r.ask(ctx, contact, to.Bare(), string(roster.Unsubscribed))
	}
}

// show has each available resource of an account send its presence to somebody.
func (r *Router) show(ctx context.Context, account, to jid.JID) {
	for _, s := range r.Sessions(account) {
		if o, ok := s.(shower); ok {
			o.Show(ctx, to)
		}
	}
}

// hide tells somebody that the available resources of an account are gone: for him
// they are.
func (r *Router) hide(ctx context.Context, account, from jid.JID) {
	for _, s := range r.Sessions(account) {
		if present(s) {
			_ = r.Forward(ctx, stanza.NewPresence(from, s.JID(), "unavailable"))
		}
	}
}

// Lost tells the contacts of an account that are bound in this process that a resource
// of it is gone, which the process that had it cannot say any more (RFC 6121 §4.5.2).
// Whoever shares the sessions calls it in every process.
func (r *Router) Lost(ctx context.Context, full jid.JID) {
	for contact, s := range r.watching(full) {
		_ = s.Send(ctx, stanza.NewPresence(contact, full, "unavailable")) // one that is going away needs none
	}
}

// Come is the reverse, for a resource of another process that is available: where it is
// back after it was said to be gone, all are shown it; else those that came themselves
// when this process did not know of it yet, nor its own process of them.
func (r *Router) Come(ctx context.Context, s Session, back bool) {
	o, ok := s.(shower)
	if !ok {
		return
	}
	for _, contact := range r.watching(s.JID()) {
		c, ok := contact.(interface{ Fresh() bool })
		if back || ok && c.Fresh() {
			o.Show(ctx, contact.JID())
		}
	}
}

// watching are the available sessions in this process of the contacts that see the
// presence of an account, by contact.
func (r *Router) watching(full jid.JID) iter.Seq2[jid.JID, Session] {
	return func(yield func(jid.JID, Session) bool) {
		for item := range r.Roster(full.Bare()).All() {
			if !item.State.HasFrom() || !r.local(item.JID) || r.blocks(full, item.JID) || r.blocks(item.JID, full) {
				continue
			}
			for _, s := range r.Sessions(item.JID) {
				// One of another process is told there.
				if _, here := s.(pusher); here && present(s) && !yield(item.JID, s) {
					return
				}
			}
		}
	}
}

// present says whether others see the resource of s as available.
func present(s Session) bool {
	if p, ok := s.(interface{ Present() bool }); ok {
		return p.Present()
	}
	_, available := s.Priority()
	return available
}

// probed answers a probe to an account (RFC 6121 §4.3.2).
func (r *Router) probed(ctx context.Context, st *stanza.Stanza) error {
	contact := st.To.Bare()
	if contact.Local() == "" {
		answer := stanza.NewPresence(st.From, st.To, "") // a domain is always there
		answer.ID = st.ID
		answer.Element.Add(r.Caps())
		return r.Forward(ctx, answer)
	}
	if r.o.Rosters == nil {
		return nil // nobody here has anything to tell
	}
	err := r.known(ctx, contact)
	switch {
	case err != nil && !errors.Is(err, unavailable):
		return err
	case err != nil, contact != st.From.Bare() && !r.Roster(contact).State(st.From).HasFrom():
		answer := stanza.NewPresence(st.From.Bare(), contact, string(roster.Unsubscribed))
		answer.ID = st.ID
		return r.Forward(ctx, answer)
	}
	shown := false
	for _, s := range r.Sessions(contact) {
		if o, ok := s.(shower); ok && present(s) && (st.To.IsBare() || s.JID() == st.To) {
			o.Show(ctx, st.From)
			shown = true
		}
	}
	if shown {
		return nil
	}
	answer := stanza.NewPresence(st.From, st.To, "unavailable")
	answer.ID = st.ID
	return r.Forward(ctx, answer)
}

// Align brings presence into line with a roster that an operator has changed from
// old to now: who is to see the user sees him, and the other way round, as after the
// stanzas that would have led there (RFC 6121 §3.1.5, §3.2.2).
func (r *Router) Align(ctx context.Context, user jid.JID, old, now *roster.Roster) {
	for contact := range touched(old, now) {
		was, is := old.State(contact), now.State(contact)
		switch {
		case is.HasFrom() && !was.HasFrom():
			r.show(ctx, user, contact)
		case was.HasFrom() && !is.HasFrom():
			r.hide(ctx, user, contact)
		}
		switch here := r.local(contact); {
		case !is.HasTo() && was.HasTo() && here:
			r.hide(ctx, contact, user)
		case is.HasTo() && !was.HasTo() && here && r.Roster(contact).State(user).HasFrom():
			r.show(ctx, contact, user)
		case is.HasTo() && !was.HasTo() && !here && r.anyPresent(user):
			r.ask(ctx, user, contact, "probe")
		}
	}
}

func (r *Router) anyPresent(user jid.JID) bool {
	for _, s := range r.Sessions(user) {
		if present(s) {
			return true
		}
	}
	return false
}

// touched are the contacts of two rosters.
func touched(a, b *roster.Roster) map[jid.JID]struct{} {
	all := make(map[jid.JID]struct{})
	for _, r := range []*roster.Roster{a, b} {
		for item := range r.All() {
			all[item.JID] = struct{}{}
		}
	}
	return all
}
