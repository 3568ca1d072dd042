package link

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"mcmt2xmpp/xmpp/certificate"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// resumable is how long a stream that broke is kept for resumption, though its server may
// keep it longer: what it holds goes back to its senders then.
const resumable = 2 * time.Minute

// login makes a connection the stream of an account, and goes on with the former one where
// the server lets us (XEP-0198 §5). It closes conn on error.
func (l *Link) login(ctx context.Context, conn net.Conn, direct bool) (*session, error) {
	var made atomic.Pointer[session]
	client, err := stream.Connect(ctx, conn, stream.ClientOptions{
		JID: l.o.JID, Password: l.o.Password, TLS: l.tls(l.o.JID.Domain()), Direct: direct, Protection: l.o.Protection,
		Manage: true, Answer: l.o.ProofTime, Resume: l.old, Limits: l.o.Limits, Wire: l.wire(), Observer: l.o.Observer,
		Overdue: func() {
			if c := made.Load(); c != nil {
				c.Close(&stream.Error{Condition: stream.ConnectionTimeout, Text: "stanzas were not acknowledged"})
			}
		},
	})
	if err != nil {
		return nil, &stepError{loginStep(err), err}
	}
	server, _ := jid.New("", client.JID().Domain(), "") // a part of an address that is good
	c := l.newSession(client.Stream(), client, jid.JID{}, server)
	made.Store(c)
	if client.Resumed() {
		l.old = nil
		l.stats.resumed.Add(1)
	}
	l.forgetOld(ctx)
	return c, nil
}

// loginStep finds the step of an error of stream.Connect.
func loginStep(err error) Step {
	var login *sasl.Failure
	var bind *stanza.Error
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var alert tls.AlertError
	var record tls.RecordHeaderError
	var problem *certificate.Problem
	switch {
	case errors.As(err, &login), errors.Is(err, sasl.ErrNoMechanism):
		return StepLogin
	case errors.As(err, &bind):
		return StepBind
	case errors.Is(err, stream.ErrNoTLS), errors.As(err, &verification), errors.As(err, &authority), errors.As(err, &alert), errors.As(err, &record), errors.As(err, &problem):
		return StepTLS
	}
	return StepStream
}

func (l *Link) wire() func(bool, *xmlwire.Element) { return stream.WireLog(l.log) }

// forgetOld gives back what a stream holds that will not be resumed.
func (l *Link) forgetOld(ctx context.Context) {
	if l.old == nil {
		return
	}
	w := l.old.Stream().Writer()
	l.old = nil
	l.returnAll(ctx, w.Release())
}

// giveBack does so for a stream that is over.
func (l *Link) giveBack(ctx context.Context, c *session) {
	if c.client != nil {
		l.returnAll(ctx, c.s.Writer().Release())
	}
}

// returnTime bounds the giving back.
const returnTime = 10 * time.Second

func (l *Link) returnAll(ctx context.Context, all []stream.Unacked) {
	if l.o.Return == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), returnTime)
	defer cancel()
	for _, u := range all {
		st, ok := l.undisguise(u.Stanza)
		if !ok {
			continue // it was ours
		}
		if err := l.o.Return(ctx, st, u.Sent); err != nil {
			l.log.Warn().Err(err).Str("id", st.ID).Stringer("from", st.From).Msg("message not kept, its sender is told")
		}
	}
}

var nameRoster = xmlwire.Name{Space: "jabber:iq:roster", Local: "query"}

// takeAccount deals with a stanza that the account has got.
func (l *Link) takeAccount(ctx context.Context, c *session, st *stanza.Stanza) {
	switch {
	case st.Kind == stanza.Presence:
		l.presence(ctx, c, st)
	case st.Kind == stanza.Message:
		l.message(ctx, c, st)
	case st.Type != stanza.TypeGet && st.Type != stanza.TypeSet:
		l.drop(st, "nobody has asked")
	case st.Element.Child(nameRoster) != nil && (st.From.IsZero() || st.From == l.o.JID.Bare()):
		c.answer(ctx, st.Reply(stanza.TypeResult)) // RFC 6121 §2.1.6: from others it is none
	default:
		c.answer(ctx, st.ErrorReply(&stanza.Error{Condition: stanza.ServiceUnavailable}))
	}
}

// message is for whoever has written to its sender last, or for reply_to.
func (l *Link) message(ctx context.Context, c *session, st *stanza.Stanza) {
	to := l.contacts.writer(st.From.Bare())
	if to.IsZero() {
		to = l.o.ReplyTo
	}
	switch {
	case st.Type == stanza.TypeGroupchat, st.From.IsZero(), st.From.Bare() == l.o.JID.Bare():
		l.drop(st, "it is from no contact")
	case !to.IsZero():
		out := *st
		out.To = to
		l.o.Receive(ctx, &out)
	case router.Storable(st):
		c.answer(ctx, st.ErrorReply(&stanza.Error{Condition: stanza.ServiceUnavailable, Text: "nobody here has written to you"}))
	default:
		l.drop(st, "nobody here has written to its sender")
	}
}

// answer sends something of the account's own; nil: nothing.
func (c *session) answer(ctx context.Context, st *stanza.Stanza) {
	if st == nil {
		return
	}
	st.From = jid.JID{} // the server stamps it (RFC 6120 §8.1.2.1)
	if err := c.sent(c.s.Writer().SendAnswer(ctx, st)); err != nil {
		c.l.log.Debug().Err(err).Msg("answer not sent")
	}
}
