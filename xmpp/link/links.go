package link

import (
	"context"
	"errors"

	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// Links are the links of a configuration, in the order that they are written. Nil is
// none. They are a router.Remote.
type Links []*Link

// For returns those that lead from a domain of ours to another, the best first; none where
// no link does.
func (ls Links) For(from, to string) Links {
	var found Links
	for _, l := range ls {
		if l.Leads(from, to) {
			found = append(found, l)
		}
	}
	return found
}

// errNone is for a domain that no link leads to.
var errNone = &stanza.Error{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound}

// best is the first link that is up, or else the first; nil where there is none.
func (ls Links) best() *Link {
	for _, l := range ls {
		if l.Ready() {
			return l
		}
	}
	if len(ls) == 0 {
		return nil
	}
	return ls[0]
}

// Route sends a stanza by the first link to its domain that is up. The error is that of
// [Link.Route], or remote-server-not-found.
func (ls Links) Route(ctx context.Context, st *stanza.Stanza) error {
	l := ls.For(st.From.Domain(), st.To.Domain()).best()
	if l == nil {
		return errNone
	}
	return l.Route(ctx, st)
}

// Session returns that of the first link which is up, or will be in a moment. The error
// is temporary, but for a domain that no link leads to.
func (ls Links) Session(ctx context.Context, from, to string) (router.Session, error) {
	leads := ls.For(from, to)
	if l := leads.best(); l == nil {
		return nil, errNone
	} else if l.Ready() {
		return l.Session(ctx)
	}
	var errs []error
	for _, l := range leads {
		s, err := l.Session(ctx)
		if err == nil {
			return s, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// Ready says whether a stanza would be sent at once. The error is remote-server-not-found.
func (ls Links) Ready(_ context.Context, from, to string) (bool, error) {
	l := ls.For(from, to).best()
	if l == nil {
		return false, errNone
	}
	return l.Ready(), nil
}

// Reachable says whether a link to a domain, from whichever of ours, is up or about to be.
func (ls Links) Reachable(domain string) bool {
	for _, l := range ls {
		if l.leadsTo(domain) && l.reachable() {
			return true
		}
	}
	return false
}

// Answered says whether a stanza answers a ping of one of them: see Options.Stray.
func (ls Links) Answered(st *stanza.Stanza) bool {
	for _, l := range ls {
		l.mu.Lock()
		c := l.up
		l.mu.Unlock()
		if c != nil && c.pings.Answered(st) {
			return true
		}
	}
	return false
}

// Any says whether one of them leads from any domain of ours to another.
func (ls Links) Any(to string) bool {
	for _, l := range ls {
		if l.leadsTo(to) {
			return true
		}
	}
	return false
}
