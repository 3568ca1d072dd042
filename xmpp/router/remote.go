package router

import (
	"context"
	"errors"
	"fmt"

	"mcmt2xmpp/xmpp/stanza"
)

// Remote takes stanzas for domains that are not ours. Its methods may be called from
// any goroutine. A *stanza.Error that it returns goes to the sender.
type Remote interface {
	// Route takes a stanza that nobody keeps. It does not wait for the network: while
	// a stream is being made a bounded number waits, and the sender is told what
	// became of it. What is given to Route for one pair of domains keeps its order.
	Route(ctx context.Context, st *stanza.Stanza) error
	// Session is what carries messages from a domain of ours to another one. It waits
	// a few seconds for a stream to be made. An error passes, unless it is a
	// *stanza.Error that does not.
	Session(ctx context.Context, from, to string) (Session, error)
	// Ready says whether Route would send a message at once. The error is why it never
	// will.
	Ready(ctx context.Context, from, to string) (bool, error)
	// Reachable says whether it is worth while to ask for a Session to a domain.
	Reachable(domain string) bool
}

// errNoRemote is the error where there is no way out (RFC 6120 §10.4.1).
var errNoRemote = &stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound}

// Receive takes a stanza that another server has sent, or whoever stands for one; its
// addresses are proven. The answer, or the error of a request, goes back by Remote.
func (r *Router) Receive(ctx context.Context, st *stanza.Stanza) {
	r.stats.received.Add(1)
	if st.Kind == stanza.Message {
		st = r.withoutIDs(st)
	}
	answer, err := r.route(ctx, nil, st)
	if err != nil {
		answer = st.ErrorReply(r.refusal(err))
	}
	if answer != nil {
		_ = r.Forward(ctx, answer) // of the error of an answer nobody is told (RFC 6120 §8.3.1)
	}
}

// away hands a stanza over for another domain (RFC 6120 §10.4). A message that custody
// would keep for a user of ours it keeps for others too, while there is no stream to
// them or earlier ones wait.
func (r *Router) away(ctx context.Context, st *stanza.Stanza) error {
	if r.o.Remote == nil {
		return errNoRemote
	}
	if st.Kind == stanza.Message {
		var err error
		if st, err = r.filter(ctx, st, false); st == nil {
			return err
		}
	}
	if r.o.Custody == nil || !Storable(st) {
		err := r.o.Remote.Route(ctx, st)
		if st.Kind == stanza.Message && !r.Tells(st) {
			return nil // nobody waits for a chat state, nor for an error about one
		}
		return err
	}
	ready, err := r.o.Remote.Ready(ctx, st.From.Domain(), st.To.Domain())
	switch {
	case err != nil:
		return err
	case !ready || r.mustKeep(ctx, st):
		return r.keep(ctx, st)
	}
	return r.o.Remote.Route(ctx, st)
}

// deliverAway sends a message to another domain by send, from custody.
func (r *Router) deliverAway(ctx context.Context, st *stanza.Stanza, send func(Session, *stanza.Stanza) (bool, error)) (took []Session, had bool, err error) {
	if r.o.Remote == nil {
		return nil, false, errNoRemote
	}
	s, err := r.o.Remote.Session(ctx, st.From.Domain(), st.To.Domain())
	if err == nil {
		had, err = send(s, st)
	}
	var refused *stanza.Error
	switch {
	case errors.As(err, &refused) && !refused.Temporary():
		return nil, false, refused
	case err != nil:
		return nil, false, fmt.Errorf("%w: %w", ErrOffline, err)
	case had:
		return nil, true, nil
	}
	r.stats.delivered.Add(1)
	return []Session{s}, false, nil
}
