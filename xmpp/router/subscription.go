package router

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// noRosters is the error where no roster is kept.
var noRosters = &stanza.Error{Type: stanza.Cancel, Condition: stanza.FeatureNotImplemented}

// Subscription takes a subscription stanza that a client of ours has sent to a
// contact: the roster of its user changes as RFC 6121 §A.2 has it, the stanza goes
// on to the contact, and presence follows. The roster is changed first: the
// contact's answer may be there before Forward returns. The error is for the
// client: a *stanza.Error, or one of ours.
func (r *Router) Subscription(ctx context.Context, st *stanza.Stanza) error {
	kind, ok := roster.KindOf(st.Type)
	if r.o.Rosters == nil || !ok {
		return noRosters
	}
	// §3.1.2: subscriptions are between bare JIDs, whatever the client has written.
	out := *st
	out.From, out.To = st.From.Bare(), st.To.Bare()
	user, contact := out.From, out.To
	if user == contact {
		return nil // who one is need not be asked for (§4.2.2)
	}
	if r.blocks(user, contact) {
		return errBlocked
	}
	if kind == roster.Subscribe && r.local(contact) {
		if err := r.account(ctx, contact); err != nil {
			return err
		}
	}
	_, listed := r.Roster(user).Item(contact)
	var o roster.Outcome
	err := r.update(ctx, user, func(ro *roster.Roster) (err error) {
		o, err = ro.Outbound(contact, kind)
		return err
	}, nil)
	if err != nil || !o.Pass {
		return err
	}
	if kind == roster.Unsubscribed && o.Was.HasFrom() {
		r.hide(ctx, user, contact) // §3.2.2: while the contact still is subscribed
	}
	err = r.Forward(ctx, &out)
	switch {
	case kind == roster.Subscribed:
		r.show(ctx, user, contact) // §3.1.5
	case kind == roster.Subscribe && !o.Was.PendingOut() && refused(err):
		r.takeBack(ctx, user, contact, listed)
	}
	return err
}

// refused says whether an error is for good.
func refused(err error) bool {
	var e *stanza.Error
	return errors.As(err, &e) && !e.Temporary()
}

// takeBack undoes a request that nobody will ever answer. listed: the contact was an
// item before.
func (r *Router) takeBack(ctx context.Context, user, contact jid.JID, listed bool) {
	// Where this fails the request stays as one without an answer, which the user
	// can end (§3.1.2).
	_ = r.update(ctx, user, func(ro *roster.Roster) error {
		_, err := ro.Outbound(contact, roster.Unsubscribe)
		if err == nil && !listed && ro.State(contact) == roster.None {
			_, err = ro.Remove(contact)
		}
		return err
	}, nil)
}

// account returns unavailable for what is no account: the domain itself, too.
func (r *Router) account(ctx context.Context, j jid.JID) error {
	if j.Local() == "" {
		return unavailable
	}
	return r.known(ctx, j)
}

// subscription takes a subscription stanza to an account, from whomever it is (RFC
// 6121 §A.3).
func (r *Router) subscription(ctx context.Context, st *stanza.Stanza) error {
	kind, ok := roster.KindOf(st.Type)
	if r.o.Rosters == nil || !ok {
		return noRosters
	}
	// §3.1.3: what is for a resource is for the account. COMPAT Prosody 0.12: it
	// unsubscribes from the full JID when a contact is removed.
	in := *st
	in.From, in.To = st.From.Bare(), st.To.Bare()
	user, contact := in.To, in.From
	switch err := r.account(ctx, user); {
	case errors.Is(err, unavailable) && kind != roster.Subscribe:
		return nil // §8.5.1
	case err != nil:
		return err
	}
	var o roster.Outcome
	err := r.update(ctx, user, func(ro *roster.Roster) (err error) {
		o, err = ro.Inbound(contact, kind, &in)
		return err
	}, func() {
		if o.Pass {
			r.notify(ctx, &in, kind)
		}
	})
	switch {
	case err != nil:
		return err
	case o.Reply: // §3.1.3, §3.4.2
		r.ask(ctx, user, contact, string(roster.Subscribed))
		r.show(ctx, user, contact)
	case kind == roster.Unsubscribe && o.Was.HasFrom():
		r.hide(ctx, user, contact) // §3.3.3
	}
	return nil
}

// notify delivers a subscription stanza: a request to the available resources of
// the account (RFC 6121 §3.1.3), all else to those that know the roster, before they
// get the push (§3.1.6, §3.2.3, §3.3.3).
func (r *Router) notify(ctx context.Context, st *stanza.Stanza, kind roster.Kind) {
	for _, s := range r.Sessions(st.To) {
		wants := present(s)
		if i, ok := s.(interested); ok && kind != roster.Subscribe {
			wants = i.Interested()
		}
		if wants {
			_ = s.Send(ctx, st) // one that is going away asks again when it is back
		}
	}
}

// SetRoster does what the query of a roster set says (RFC 6121 §2.3 to §2.5). With
// a contact all between the two ends. The error is for the client.
func (r *Router) SetRoster(ctx context.Context, user jid.JID, query *xmlwire.Element) error {
	set, err := roster.ParseSet(query, r.Roster(user).Limits)
	switch {
	case err != nil:
		return r.counted(err)
	case set.JID == user:
		// One's own presence needs no subscription, and cannot be given up.
		return &stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed}
	case set.Remove:
		return r.RemoveContact(ctx, user, set.JID)
	}
	return r.update(ctx, user, func(ro *roster.Roster) error { return ro.Set(set.JID, set.Name, set.Groups) }, nil)
}

// RemoveContact removes an item of a roster, and ends subscriptions and requests
// both ways (RFC 6121 §2.5.2). The error is item-not-found, or one of ours.
func (r *Router) RemoveContact(ctx context.Context, user, contact jid.JID) error {
	var was roster.State
	err := r.update(ctx, user, func(ro *roster.Roster) (err error) {
		was, err = ro.Remove(contact)
		return err
	}, nil)
	if err == nil {
		r.part(ctx, user, contact, was)
	}
	return err
}

// part ends what is left of a state when the user's roster has nothing of it any
// more.
func (r *Router) part(ctx context.Context, user, contact jid.JID, was roster.State) {
	if was.HasTo() || was.PendingOut() {
		r.ask(ctx, user, contact, string(roster.Unsubscribe))
	}
	if was.HasFrom() {
		r.hide(ctx, user, contact)
	}
	if was.HasFrom() || was.PendingIn() {
		r.ask(ctx, user, contact, string(roster.Unsubscribed))
	}
}

// Forget ends all subscriptions and requests of an account that is no more and had
// this roster.
func (r *Router) Forget(ctx context.Context, user jid.JID, had *roster.Roster) {
	for item := range had.All() {
		r.part(ctx, user, item.JID, item.State)
	}
	for _, st := range had.Requests() {
		if _, listed := had.Item(st.From); !listed {
			r.part(ctx, user, st.From, roster.NonePendingIn)
		}
	}
}

// update changes a roster.
func (r *Router) update(ctx context.Context, user jid.JID, change func(*roster.Roster) error, stored func()) error {
	return r.counted(r.o.Rosters.Update(ctx, user, change, stored))
}

// counted counts an error that a limit has caused.
func (r *Router) counted(err error) error {
	var limit *roster.LimitError
	if errors.As(err, &limit) {
		r.stats.rosterLimits.Add(1)
	}
	return err
}
