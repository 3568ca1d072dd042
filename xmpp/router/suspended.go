package router

import (
	"context"
	"errors"
	"time"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// suspended says whether a session waits for its client (XEP-0198 §5). A message
// that can be stored is not for it then: it goes to another resource or into
// custody, as if this one were gone (RFC 6121 §8.5.3.2.1). Presence and IQs are
// held by the session, because its client relies on having missed none: it does not
// ask for them again.
func suspended(s Session) bool {
	w, ok := s.(interface{ Suspended() bool })
	return ok && w.Suspended()
}

// Present says whether others see the resource of s as available, which a
// suspended one stays.
func Present(s Session) bool {
	if p, ok := s.(interface{ Present() bool }); ok {
		return p.Present()
	}
	_, available := s.Priority()
	return available
}

// Storable says whether custody would keep a message for a user who is offline
// (RFC 6121 §8.5.2.2.1).
func Storable(st *stanza.Stanza) bool {
	if st.Kind != stanza.Message || !hasBody(st) || hint(st, "no-store") { // XEP-0334 §4.2
		return false
	}
	switch st.Type {
	case stanza.TypeError, stanza.TypeGroupchat, stanza.TypeHeadline:
		return false
	}
	return true
}

// Return takes back a stanza that went to a session at some time and is not known
// to have arrived: it is treated as one for a resource that is not there (XEP-0198
// §4). A message goes to another resource or into custody, marked with that time; the
// sender of an IQ request gets an error. Others are of no use any more, nor is what was
// said on behalf of the account itself. The error is that of a message which could not be
// kept; its sender is told.
func (r *Router) Return(ctx context.Context, st *stanza.Stanza, sent time.Time) error {
	if ownWords(st) {
		return nil
	}
	var err error
	switch {
	case st.Kind == stanza.Message && !r.Serves(st.To.Domain()):
		delay(st, st.From.Domain(), sent)
		err = r.keep(ctx, st)
	case st.Kind == stanza.Message:
		delay(st, st.To.Domain(), sent)
		if r.mustKeep(ctx, st) {
			err = r.keep(ctx, st)
		} else if _, err = r.Deliver(ctx, st); errors.Is(err, ErrOffline) {
			err = r.keep(ctx, st)
		}
	case st.Kind == stanza.IQ && st.Type != stanza.TypeResult && !st.From.IsZero():
		err = unavailable // RFC 6121 §8.5.3.2.3
	}
	if err == nil {
		return nil
	}
	if answer := st.ErrorReply(r.refusal(err)); answer != nil {
		// Of the error of an error nobody is told (RFC 6120 §8.3.1).
		_, _ = r.route(ctx, nil, answer)
	}
	var refused *stanza.Error
	if errors.As(err, &refused) {
		return nil // as its sender would have been told at once
	}
	return err
}

// ownWords says whether a stanza to a session is the server's own, for that session alone: a
// push of the roster, which has no from (RFC 6121 §2.1.6), a result of the archive
// (XEP-0313 §4.2) or a copy (XEP-0280 §7), which come from the account. None has a body, as a
// message to oneself has that did not come by a session.
func ownWords(st *stanza.Stanza) bool {
	if st.Kind == stanza.IQ && st.From.IsZero() {
		return true
	}
	return !st.To.IsBare() && st.From == st.To.Bare() && !hasBody(st)
}

// delay marks a message as held by a server since a time, unless somebody has said so
// before (XEP-0203 §2).
func delay(st *stanza.Stanza, by string, since time.Time) {
	if st.Element.Child(stanza.Delay) != nil {
		return
	}
	st.Element.Add(xmlwire.New(stanza.Delay.Space, stanza.Delay.Local, "from", by, "stamp", since.UTC().Format("2006-01-02T15:04:05Z")))
}
