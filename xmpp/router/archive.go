package router

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Archive keeps what accounts have sent and received (XEP-0313). Its methods may be
// called from any goroutine.
type Archive interface {
	// Keep stores a message of an account and returns the id that it has there; empty:
	// the account does not want it kept, or it could not be, which is no reason not to
	// deliver it. A message with the same once, if that is not empty, is stored once.
	Keep(ctx context.Context, user jid.JID, st *stanza.Stanza, once string) (id string)
	// Has says whether an archive has a message of that id.
	Has(ctx context.Context, user jid.JID, id string) bool
}

// conversational are the namespaces of elements that make a message without a body
// worth keeping, because they say something of another message, or are one that only
// the client can read.
var conversational = map[string]bool{
	nsReceipts: true, "urn:xmpp:chat-markers:0": true, nsInvitation: true, nsRoom: true,
	"urn:xmpp:message-correct:0": true, "urn:xmpp:message-retract:0": true, "urn:xmpp:message-retract:1": true,
	"urn:xmpp:reactions:0": true, "urn:xmpp:fasten:0": true, "urn:xmpp:jingle-message:0": true,
	"urn:xmpp:eme:0": true, "eu.siacs.conversations.axolotl": true, "urn:xmpp:omemo:1": true, "urn:xmpp:omemo:2": true,
	"urn:xmpp:openpgp:0": true, "jabber:x:encrypted": true, "jabber:x:oob": true, "urn:xmpp:sfs:0": true,
}

// archivable says whether a message belongs into an archive (XEP-0313 §6.1.1): what people
// say to each other, not the noise beside it, and nothing whose sender does not want it
// kept (XEP-0334 §4.1, §4.2).
func (r *Router) archivable(st *stanza.Stanza) bool {
	switch {
	case r.o.Archive == nil || st.Kind != stanza.Message:
		return false
	case st.Type == stanza.TypeError || st.Type == stanza.TypeGroupchat || st.Type == stanza.TypeHeadline:
		return false
	case hint(st, "no-store") || hint(st, "no-permanent-store"):
		return false
	}
	keep := hasBody(st) || hint(st, "store") // XEP-0334 §4.4
	for e := range st.Element.Elements() {
		keep = keep || conversational[e.Name.Space]
	}
	return keep && r.Tells(st)
}

// hint says whether a message has a processing hint (XEP-0334).
func hint(st *stanza.Stanza, local string) bool {
	return st.Element.Child(xmlwire.Name{Space: nsHints, Local: local}) != nil
}

// archived puts a message for an account of ours into its archive, and returns it with
// the id that it has there (XEP-0359 §3). One that is in there already, because it
// is delivered again or was kept for its recipient, is not stored twice.
func (r *Router) archived(ctx context.Context, st *stanza.Stanza, once string) *stanza.Stanza {
	user := st.To.Bare()
	if !r.local(user) {
		return st
	}
	if id := stanzaID(st, user); id != "" && r.o.Archive != nil && r.o.Archive.Has(ctx, user, id) {
		return st
	}
	if stanzaID(st, user) != "" {
		st = without(st, func(e *xmlwire.Element) bool { return isID(e, user) }) // which is not true
	}
	if !r.archivable(st) {
		return st
	}
	return withID(st, user, r.o.Archive.Keep(ctx, user, st, once))
}

// archiveSent puts a message that a client sends into the archive of its account, and
// returns it as the account's other resources may see it. To oneself a message is
// received.
func (r *Router) archiveSent(ctx context.Context, st *stanza.Stanza) *stanza.Stanza {
	user := st.From.Bare()
	if user == st.To.Bare() || !r.archivable(st) || r.blocks(user, st.To) {
		return st
	}
	return withID(st, user, r.o.Archive.Keep(ctx, user, st, ""))
}

// stanzaID is the id that a message is said to have in the archive of an account.
func stanzaID(st *stanza.Stanza, by jid.JID) string {
	for e := range st.Element.Elements() {
		if isID(e, by) {
			return e.Attr("id")
		}
	}
	return ""
}

// isID says whether an element is an id that somebody has given.
func isID(e *xmlwire.Element, by jid.JID) bool {
	if e.Name != stanza.StanzaID {
		return false
	}
	j, err := jid.Parse(e.Attr("by"))
	return err == nil && j == by
}

// withID returns a message with its id in the archive of an account; an empty one adds
// nothing.
func withID(st *stanza.Stanza, by jid.JID, id string) *stanza.Stanza {
	if id == "" {
		return st
	}
	out := without(st, func(*xmlwire.Element) bool { return false })
	out.Element.Add(xmlwire.New(stanza.StanzaID.Space, stanza.StanzaID.Local, "by", by.String(), "id", id))
	return out
}

// withoutIDs returns a message without the ids that only this server may have given it
// (XEP-0359 §3): whoever has put them in, it was somebody else.
func (r *Router) withoutIDs(st *stanza.Stanza) *stanza.Stanza {
	forged := func(e *xmlwire.Element) bool {
		if e.Name != stanza.StanzaID {
			return false
		}
		by, err := jid.Parse(e.Attr("by"))
		return err != nil || r.Serves(by.Domain())
	}
	for e := range st.Element.Elements() {
		if forged(e) {
			return without(st, forged)
		}
	}
	return st
}
