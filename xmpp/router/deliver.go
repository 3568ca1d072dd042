package router

import (
	"context"
	"errors"
	"fmt"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// unavailable is the error for whoever is not there, does not exist or does not
// answer: one for all, so that it tells nobody which it is (RFC 6121 §8.5.1).
var unavailable = &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}

// Deliver sends a message to the sessions that RFC 6121 §8.5 names and returns
// those that took it. It marks st with its id in the recipient's archive. No session
// and no error means that the rules have it ignored. The error is ErrOffline where nobody takes it now, which is
// temporary, or a *stanza.Error for good: service-unavailable for an unknown
// account. A stanza for another domain goes to its Host; Remote has a session for it.
func (r *Router) Deliver(ctx context.Context, st *stanza.Stanza) ([]Session, error) {
	took, _, err := r.deliver(ctx, st, "", func(s Session, st *stanza.Stanza) (bool, error) { return false, s.Send(ctx, st) })
	return took, err
}

// DeliverKept is Deliver for a message that the caller has in custody, see
// Session.SendKept. had: a client has received it before, and no session took it. One
// whose recipient has blocked its sender (XEP-0191) is refused for good.
func (r *Router) DeliverKept(ctx context.Context, st *stanza.Stanza) (took []Session, had bool, err error) {
	if r.local(st.To) && r.blocks(st.To, st.From) {
		r.stats.blocked.Add(1)
		return nil, false, errUnwanted
	}
	return r.deliver(ctx, st, st.ID, func(s Session, st *stanza.Stanza) (bool, error) { return s.SendKept(ctx, st) })
}

// deliver sends a message, which it marks with its id in the recipient's archive, by
// send. once is what the archive knows a message by that may be delivered again.
func (r *Router) deliver(ctx context.Context, st *stanza.Stanza, once string, send func(Session, *stanza.Stanza) (bool, error)) (took []Session, had bool, err error) {
	if h := r.host(st.To.Domain()); h != nil {
		return nil, false, h(ctx, nil, st)
	}
	if !r.Serves(st.To.Domain()) {
		return r.deliverAway(ctx, st, send)
	}
	sessions := r.Sessions(st.To.Bare())
	if len(sessions) == 0 {
		if err := r.known(ctx, st.To.Bare()); err != nil {
			return nil, false, err
		}
	}
	chosen, err := choose(sessions, st)
	if err != nil || len(chosen) == 0 {
		return nil, false, err
	}
	var errs []error
	*st = *r.archived(ctx, st, once) // should nobody take it, custody gets it with its id
	out := withoutPrivate(st)
	for _, s := range chosen {
		switch before, err := send(s, out); {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", s.JID(), err))
		case before:
			had = true
		default:
			took = append(took, s)
		}
	}
	if len(errs) == len(chosen) {
		return nil, false, fmt.Errorf("%w: %w", ErrOffline, errors.Join(errs...))
	}
	r.stats.delivered.Add(1)
	if len(took) > 0 {
		r.copyReceived(ctx, st, sessions, chosen)
	}
	return took, had, nil
}

// known returns unavailable for an account that does not exist.
func (r *Router) known(ctx context.Context, bare jid.JID) error {
	if r.o.Accounts == nil {
		return nil
	}
	ok, err := r.o.Accounts(ctx, bare)
	switch {
	case err != nil:
		return fmt.Errorf("account %s: %w", bare, err)
	case !ok:
		return unavailable
	}
	return nil
}

// choose applies RFC 6121 §8.5.2 and §8.5.3 to a message.
func choose(sessions []Session, st *stanza.Stanza) ([]Session, error) {
	if !st.To.IsBare() {
		for i, s := range sessions {
			if s.JID() == st.To && !(suspended(s) && Storable(st)) {
				return sessions[i : i+1 : i+1], nil // §8.5.3.1
			}
		}
	}
	switch st.Type {
	case stanza.TypeError:
		return nil, nil // §8.5.2.1.1: ignored, wherever it was going
	case stanza.TypeGroupchat:
		return nil, unavailable
	case stanza.TypeHeadline:
		return headline(sessions, st.To), nil
	}
	// chat, normal, and what we do not know, which is normal (§5.2.2). §8.5.3.2.1
	// would have a normal message to a resource that is gone ignored or refused;
	// like other servers we treat it as chat, because what mail wrote to a
	// resource is not worth less than to the account.
	if best := mostAvailable(sessions); len(best) > 0 {
		return best, nil
	}
	return nil, ErrOffline
}

// mostAvailable are the resources with the highest priority that is not
// negative (§8.5.2.1.1): all of them, as any may be where the user looks.
func mostAvailable(sessions []Session) []Session {
	var best []Session
	top := int8(0)
	for _, s := range sessions {
		switch p, ok := s.Priority(); {
		case !ok || p < top:
		case p > top:
			top = p
			best = append(best[:0], s)
		default:
			best = append(best, s)
		}
	}
	return best
}

// headline goes to every resource whose priority is not negative, and nowhere
// where there is none (§8.5.2.1.1, §8.5.2.2.1); to a full JID that is not bound
// it goes nowhere either (§8.5.3.2.1).
func headline(sessions []Session, to jid.JID) []Session {
	if !to.IsBare() {
		return nil
	}
	var out []Session
	for _, s := range sessions {
		if p, ok := s.Priority(); ok && p >= 0 {
			out = append(out, s)
		}
	}
	return out
}
