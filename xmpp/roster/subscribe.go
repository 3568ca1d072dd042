package roster

import (
	"cmp"
	"slices"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// Outcome is what became of a subscription stanza.
type Outcome struct {
	Transition
	Was State // before
}

// Outbound does what a stanza of the user to j asks for. A contact that is asked,
// approved or pre-approved becomes an item (RFC 6121 §3.1.2, §3.1.5, §3.4.2). The
// error is a *LimitError, and nothing has changed then.
func (r *Roster) Outbound(j jid.JID, k Kind) (Outcome, error) {
	j = j.Bare()
	c := r.contacts[j]
	o := Outcome{Outbound(c.state, k), c.state}
	c.state = o.Next
	c.approved = (c.approved || o.Approve) && !o.Withdraw
	c.listed = c.listed || o.Approve || o.Next.PendingOut() || o.Next.HasFrom()
	return o, r.settle(j, c)
}

// Inbound does what a stanza of j to the user asks for. request is the stanza, of
// which a copy is kept while a request waits for its answer (RFC 6121 §3.1.3).
// The error is a *LimitError, and nothing has changed then.
func (r *Roster) Inbound(j jid.JID, k Kind, request *stanza.Stanza) (Outcome, error) {
	j = j.Bare()
	c := r.contacts[j]
	o := Outcome{Inbound(c.state, k, c.approved), c.state}
	c.state = o.Next
	if o.Next.PendingIn() && !o.Was.PendingIn() {
		if !c.listed {
			if err := r.roomForRequest(); err != nil {
				return Outcome{}, err
			}
		}
		c.request = r.keep(request)
	}
	return o, r.settle(j, c)
}

// settle puts a line whose state may have changed.
func (r *Roster) settle(j jid.JID, c contact) error {
	old := r.contacts[j]
	if !c.state.PendingIn() {
		c.request = ""
	}
	if c.state == old.state && c.approved == old.approved && c.listed == old.listed {
		return nil
	}
	return r.put(j, c)
}

// roomForRequest bounds what strangers can put into a roster.
func (r *Roster) roomForRequest() error {
	n := 1
	for _, c := range r.contacts {
		if !c.listed {
			n++
		}
	}
	return check(n, r.Limits.orDefault().Requests, "subscription requests that wait for an answer", stanza.ResourceConstraint)
}

// keep is a request as it is kept: the whole stanza, extended content included,
// unless that is too much.
func (r *Roster) keep(st *stanza.Stanza) string {
	if st == nil {
		return ""
	}
	s := st.String()
	if len(s) > r.Limits.orDefault().Request {
		bare := stanza.NewPresence(st.To, st.From, string(Subscribe))
		bare.ID = st.ID
		s = bare.String()
	}
	return s
}

// Requests are the requests that wait for the user's answer, in the order of
// their senders' addresses. To is not set.
func (r *Roster) Requests() []*stanza.Stanza {
	var all []*stanza.Stanza
	for j, c := range r.contacts {
		if c.state.PendingIn() {
			all = append(all, parseRequest(j, c.request))
		}
	}
	slices.SortFunc(all, func(a, b *stanza.Stanza) int { return cmp.Compare(a.From.String(), b.From.String()) })
	return all
}

// parseRequest reads a request of j, as far as it can be read.
func parseRequest(j jid.JID, kept string) *stanza.Stanza {
	st, err := stanza.ParseBytes([]byte(kept), xmlwire.Limits{})
	if err != nil || !isRequest(st) {
		st = stanza.NewPresence(jid.JID{}, j, string(Subscribe))
	}
	st.From, st.To = j, jid.JID{}
	return st
}

func isRequest(st *stanza.Stanza) bool {
	return st.Kind == stanza.Presence && st.Type == string(Subscribe)
}
