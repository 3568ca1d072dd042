package c2s

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// contacts is what a session has to do with its user's roster.
type contacts struct {
	interested atomic.Bool // it has asked for the roster, and gets pushes (RFC 6121 §2.2)

	mu     sync.Mutex // of asking and pushing: no push overtakes the roster that it changes
	pushes int
}

// Interested says whether the client has asked for the roster (RFC 6121 §2.2).
func (c *session) Interested() bool { return c.contacts.interested.Load() }

// roster answers a roster get or set of the client, who has addressed it as to.
func (c *session) roster(ctx context.Context, st *stanza.Stanza, query *xmlwire.Element, to jid.JID) error {
	var err error
	switch rosters := c.server.o.Router.Rosters(); {
	case st.Type == stanza.TypeGet:
		return c.sendRoster(ctx, st, query, to)
	case rosters == nil:
		err = &stanza.Error{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "no rosters here"}
	default:
		err = c.server.o.Router.SetRoster(ctx, c.full.Bare(), query)
	}
	answer := st.Reply(stanza.TypeResult)
	if err != nil {
		answer = st.ErrorReply(c.refusal(err))
	}
	return c.replyAs(ctx, answer, to)
}

// sendRoster answers with what the client lacks: nothing, the changes since the
// version that it has, or the roster (RFC 6121 §2.1.4, §2.6.3). From now on it gets
// pushes.
func (c *session) sendRoster(ctx context.Context, st *stanza.Stanza, query *xmlwire.Element, to jid.JID) error {
	c.contacts.mu.Lock()
	defer c.contacts.mu.Unlock()
	c.contacts.interested.Store(true)
	r := c.server.o.Router.Roster(c.full.Bare())
	answer := st.Reply(stanza.TypeResult)
	changes, known := r.Since(query.Attr("ver"))
	if !known || len(changes) > 0 && len(changes) >= r.Len() {
		changes = nil // all of it is less than each single one
		answer.Element.Add(roster.Query(r.Items(), c.version(r)))
	}
	if err := c.replyAs(ctx, answer, to); err != nil {
		return err
	}
	return c.push(ctx, changes)
}

// version is that of a roster, none where rosters are not kept.
func (c *session) version(r *roster.Roster) string {
	if c.server.o.Router.Rosters() == nil {
		return ""
	}
	return r.Version()
}

// Push sends changes of the roster to a client that is interested (RFC 6121 §2.1.6).
func (c *session) Push(ctx context.Context, changes []roster.Change) {
	if !c.Interested() {
		return
	}
	c.contacts.mu.Lock()
	defer c.contacts.mu.Unlock()
	_ = c.push(ctx, changes) // a session that is going away asks again when it is back
}

// push sends changes; c.contacts.mu is held.
func (c *session) push(ctx context.Context, changes []roster.Change) error {
	for _, change := range changes {
		c.contacts.pushes++
		// Without `from` it is from the client's own account, and from nobody else
		// (§2.1.6).
		st := stanza.NewIQ(c.full, jid.JID{}, stanza.TypeSet, fmt.Sprintf("push-%d", c.contacts.pushes), change.Push())
		if err := c.reply(ctx, st); err != nil {
			return err
		}
	}
	return nil
}

// othersRoster says whether an IQ is about the roster of another account here.
func (c *session) othersRoster(st *stanza.Stanza) bool {
	return (st.Type == stanza.TypeGet || st.Type == stanza.TypeSet) && st.Element.Child(roster.Name) != nil &&
		st.To.Local() != "" && st.To.IsBare() && c.server.o.Router.Serves(st.To.Domain())
}

// refusal is what the client may know of an error. One of ours goes to the log.
func (c *session) refusal(err error) *stanza.Error {
	var refused *stanza.Error
	if errors.As(err, &refused) {
		return refused
	}
	c.log.Error().Err(err).Msg("request not answered")
	return &stanza.Error{Type: stanza.Wait, Condition: stanza.InternalServerError}
}

// rosterVersions announces roster versioning (RFC 6121 §2.6.1).
type rosterVersions struct{ server *Server }

// Name is <ver/>.
func (rosterVersions) Name() xmlwire.Name {
	return xmlwire.Name{Space: "urn:xmpp:features:rosterver", Local: "ver"}
}

// Advertise announces it to a client that has logged in.
func (f rosterVersions) Advertise(s *stream.Stream) *xmlwire.Element {
	return announced(f.server, s, f.Name())
}

// Negotiate refuses: there is nothing to negotiate.
func (f rosterVersions) Negotiate(context.Context, *stream.Stream, *xmlwire.Element) (stream.Next, error) {
	return 0, notNegotiated
}

// preApproval announces that subscriptions can be approved before they are asked
// for (RFC 6121 §3.4.1).
type preApproval struct{ server *Server }

// Name is <sub/>.
func (preApproval) Name() xmlwire.Name {
	return xmlwire.Name{Space: "urn:xmpp:features:pre-approval", Local: "sub"}
}

// Advertise announces it to a client that has logged in.
func (f preApproval) Advertise(s *stream.Stream) *xmlwire.Element {
	return announced(f.server, s, f.Name())
}

// Negotiate refuses: there is nothing to negotiate.
func (preApproval) Negotiate(context.Context, *stream.Stream, *xmlwire.Element) (stream.Next, error) {
	return 0, notNegotiated
}

var notNegotiated = &stream.Error{Condition: stream.UnsupportedStanzaType, Text: "this feature is not negotiated"}

// announced is the element of a feature that needs rosters and a client who is
// known.
func announced(v *Server, s *stream.Stream, name xmlwire.Name) *xmlwire.Element {
	if v.o.Router.Rosters() == nil || s.Mechanism() == "" {
		return nil
	}
	return xmlwire.New(name.Space, name.Local)
}
