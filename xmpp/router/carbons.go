package router

import (
	"context"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// NSCarbons is the namespace of Message Carbons (XEP-0280).
const NSCarbons = "urn:xmpp:carbons:2"

// nsCarbonRules says that the rules of §6.1 hold as they are written (§6.2).
const nsCarbonRules = "urn:xmpp:carbons:rules:0"

const (
	nsForward    = "urn:xmpp:forward:0"                    // XEP-0297
	nsHints      = "urn:xmpp:hints"                        // XEP-0334
	nsReceipts   = "urn:xmpp:receipts"                     // XEP-0184
	nsChatStates = "http://jabber.org/protocol/chatstates" // XEP-0085
	nsInvitation = "jabber:x:conference"                   // XEP-0249
	nsRoom       = "http://jabber.org/protocol/muc#user"   // XEP-0045
)

// Copied is what a session may have beside Session: whether its client wants copies
// of the messages that the account's other resources send and get (XEP-0280).
type Copied interface {
	Session
	Carbons() bool
	SetCarbons(on bool)
}

// wantsCopies says whether the client of s has enabled carbons.
func wantsCopies(s Session) bool {
	c, ok := s.(interface{ Carbons() bool })
	return ok && c.Carbons()
}

// provideCarbons registers what enables and disables carbons (XEP-0280 §4, §5),
// either any number of times (§10.1).
func (r *Router) provideCarbons() {
	r.Provide(Service{
		Payloads: []xmlwire.Name{{Space: NSCarbons, Local: "enable"}, {Space: NSCarbons, Local: "disable"}},
		Reach:    Owner,
		OfDomain: []string{NSCarbons, nsCarbonRules}, OfAccount: []string{NSCarbons, nsCarbonRules},
		Answer: func(_ context.Context, rq Request) (*xmlwire.Element, error) {
			s, ok := rq.Asker.(Copied)
			switch {
			case rq.Type != stanza.TypeSet:
				return nil, &stanza.Error{Condition: stanza.BadRequest}
			case !ok:
				return nil, &stanza.Error{Condition: stanza.NotAllowed}
			}
			s.SetCarbons(rq.Payload.Name.Local == "enable")
			return nil, nil
		},
	})
}

// direction is which way a message goes, for the account that gets copies.
type direction string

const (
	sent     direction = "sent"
	received direction = "received"
)

// copyable applies the rules of XEP-0280 §6.1, and §9.
func (r *Router) copyable(st *stanza.Stanza, d direction) bool {
	switch {
	case st.Kind != stanza.Message || st.Type == stanza.TypeGroupchat:
		return false
	case st.Type == stanza.TypeError:
		// Not by what is in it, which is often the message.
		return st.Element.Child(namePrivate) == nil && r.copies.answered(st, d)
	}
	// A type that we do not know is normal (RFC 6121 §5.2.2).
	instant := st.Type == stanza.TypeChat || st.Type != stanza.TypeHeadline && st.Child("body") != nil
	for e := range st.Element.Elements() {
		switch e.Name.Space {
		case NSCarbons:
			return false // <private/> (§9), or what somebody wants to pass for a copy
		case nsHints:
			if e.Name.Local == "no-copy" {
				return false // XEP-0334 §4.3
			}
		case nsReceipts, nsChatStates, nsInvitation:
			instant = true
		case nsRoom:
			invite := e.Child(xmlwire.Name{Space: nsRoom, Local: "invite"}) != nil
			if d == received && !invite && !st.From.IsBare() {
				return false // the room has sent it to all that have joined
			}
			instant = true
		}
	}
	return instant
}

// copySent sends copies of a message that a client here has sent to the other
// resources of its account (§8). A message to oneself is received by them.
func (r *Router) copySent(ctx context.Context, from Session, st *stanza.Stanza) {
	if st.From.Bare() == st.To.Bare() || !r.copyable(st, sent) {
		return
	}
	for _, s := range r.Sessions(st.From.Bare()) {
		if s.JID() != from.JID() && wantsCopies(s) && together(from, s, st) {
			_ = s.Send(ctx, carbon(s, st, sent)) // whose fault it is, is not the sender's business (§10.3)
			r.copies.note(st, sent)
		}
	}
}

// copyRefusal sends copies of the error that answers a message of from at once.
func (r *Router) copyRefusal(ctx context.Context, from Session, answer *stanza.Stanza) {
	if answer.Kind == stanza.Message && answer.From.Bare() != answer.To.Bare() {
		r.copyReceived(ctx, answer, r.Sessions(from.JID().Bare()), []Session{from})
	}
}

// Occupied is what a session may have beside Session: by which occupants of a room its
// client takes part in it (XEP-0045).
type Occupied interface {
	Session
	Occupants(room jid.JID) []jid.JID
}

// together says whether the client of s gets copies of what that of from says in private
// within a room: only if it is there by the same nickname, since nobody else could answer
// (§6.1). Of a session that is not known to be in the room nothing is concluded.
func together(from, s Session, st *stanza.Stanza) bool {
	a, ok := from.(Occupied)
	b, also := s.(Occupied)
	if !ok || !also || st.To.IsBare() || !hasRoom(st) {
		return true
	}
	own := a.Occupants(st.To.Bare())
	return len(own) == 0 || slices.ContainsFunc(b.Occupants(st.To.Bare()), func(o jid.JID) bool { return slices.Contains(own, o) })
}

// hasRoom says whether a message is of a room, by what its client has marked it with.
func hasRoom(st *stanza.Stanza) bool {
	return st.Element.Child(xmlwire.Name{Space: nsRoom, Local: "x"}) != nil
}

// copyReceived sends copies of a message that was delivered to chosen to the other
// resources of its account (§7).
func (r *Router) copyReceived(ctx context.Context, st *stanza.Stanza, sessions, chosen []Session) {
	if !r.copyable(st, received) {
		return
	}
	for _, s := range sessions {
		// One's own message is known where it was written.
		if !slices.Contains(chosen, s) && s.JID() != st.From && wantsCopies(s) {
			_ = s.Send(ctx, carbon(s, st, received))
			r.copies.note(st, received)
		}
	}
}

// carbon wraps a message for a resource of the account that it is from or to.
func carbon(s Session, st *stanza.Stanza, d direction) *stanza.Stanza {
	out := stanza.NewMessage(s.JID(), s.JID().Bare(), st.Type, "")
	out.Element.Add(xmlwire.New(NSCarbons, string(d)).Add(forwarded(st)))
	return out
}

// forwarded is a message as another one carries it (XEP-0297 §3.1).
func forwarded(st *stanza.Stanza) *xmlwire.Element {
	return xmlwire.New(nsForward, "forwarded").Add(st.Whole())
}

var namePrivate = xmlwire.Name{Space: NSCarbons, Local: "private"}

// withoutPrivate is a message as its recipient gets it (XEP-0280 §9): that no copies
// were to be made is no concern of his client's.
func withoutPrivate(st *stanza.Stanza) *stanza.Stanza {
	if st.Kind != stanza.Message || st.Element.Child(namePrivate) == nil {
		return st
	}
	return without(st, func(e *xmlwire.Element) bool { return e.Name == namePrivate })
}

// without is st less some of its children; st stays as it is.
func without(st *stanza.Stanza, drop func(*xmlwire.Element) bool) *stanza.Stanza {
	out, element := *st, *st.Element
	element.Children = slices.DeleteFunc(slices.Clone(element.Children), func(n xmlwire.Node) bool {
		return n.Element != nil && drop(n.Element)
	})
	out.Element = &element
	return &out
}
