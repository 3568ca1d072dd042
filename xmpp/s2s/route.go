package s2s

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

var _ router.Remote = (*Server)(nil)

// Route implements router.Remote.
func (v *Server) Route(ctx context.Context, st *stanza.Stanza) error {
	l, err := v.lane(st.From.Domain(), st.To.Domain())
	if err != nil {
		return err
	}
	return l.send(ctx, st)
}

// Session implements router.Remote.
func (v *Server) Session(ctx context.Context, from, to string) (router.Session, error) {
	l, err := v.lane(from, to)
	if err != nil {
		return nil, err
	}
	c, err := l.session(ctx)
	if err != nil {
		// What the other server calls an error for good is none of ours: its operator may
		// mend it.
		var f *Failure
		if errors.As(err, &f) {
			return nil, f.stanzaError()
		}
		return nil, err
	}
	return c, nil
}

// Ready implements router.Remote.
func (v *Server) Ready(ctx context.Context, from, to string) (bool, error) {
	l, err := v.lane(from, to)
	var refused *stanza.Error
	switch {
	case errors.As(err, &refused) && !refused.Temporary():
		return false, err
	case err != nil:
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.carrier(ctx) != nil {
		return true, nil
	}
	if f := l.p.hindered(); f != nil && !f.Temporary() {
		return false, f.stanzaError()
	}
	return false, nil
}

// Reachable implements router.Remote: a domain that could not be reached a moment ago is
// not worth while.
func (v *Server) Reachable(domain string) bool {
	v.mu.Lock()
	p := v.peers[domain]
	v.mu.Unlock()
	return p == nil || p.resting() == nil
}

// lane finds the way between two domains. The error is a *stanza.Error.
func (v *Server) lane(ours, theirs string) (*lane, error) {
	if !v.o.Serves(ours) {
		return nil, &stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "the sender is in no domain of this server"}
	}
	p, err := v.peer(theirs)
	if err != nil {
		return nil, err
	}
	return p.lane(ours), nil
}
