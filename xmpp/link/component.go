package link

import (
	"context"
	"errors"
	"fmt"
	"net"

	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// join makes a connection the stream of a component (XEP-0114 §3). It closes conn on
// error.
func (l *Link) join(ctx context.Context, conn net.Conn) (*session, error) {
	s := stream.New(conn, stream.Options{Content: stanza.Component, Limits: l.o.Limits, Wire: l.wire(), Observer: l.o.Observer})
	err := l.handshake(ctx, s)
	if err != nil {
		_ = s.End(context.WithoutCancel(ctx), err) // the first error is the one to tell
		return nil, err
	}
	// A ping to ourselves comes back when the server has dealt with all that was sent
	// before. Its own domain, of which the component protocol says nothing, need not be
	// known for that.
	return l.newSession(s, nil, l.o.JID, l.o.JID), nil
}

func (l *Link) handshake(ctx context.Context, s *stream.Stream) error {
	if l.o.Protection == stream.ProtectionRequired {
		cfg := l.tls(hostOf(l.o.Address))
		if err := s.UpgradeTLS(ctx, cfg); err != nil {
			return &stepError{StepTLS, fmt.Errorf("handshake: %w", err)}
		}
	}
	err := s.InitiateComponent(ctx, l.o.JID, l.o.Password)
	var theirs *stream.PeerError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &theirs) && theirs.Err.Condition == stream.NotAuthorized:
		return &stepError{StepHandshake, fmt.Errorf("the secret is refused: %w", err)}
	}
	return &stepError{StepStream, err}
}

// take deals with a stanza from the server.
func (l *Link) take(ctx context.Context, c *session, st *stanza.Stanza) {
	switch {
	case c.client == nil && st.From == st.To && l.o.Stray != nil && l.o.Stray(st):
	case l.o.Ours(st.From.Domain()):
		// Nobody of ours speaks through another server: his name is borrowed.
		l.drop(st, "its sender is in a domain of ours")
	case c.client != nil:
		l.takeAccount(ctx, c, st)
	case !l.takes(st.To.Domain()) || st.From.IsZero():
		l.drop(st, "it is not for the component") // XEP-0114 §3: both addresses are there
	default:
		l.o.Receive(ctx, st)
	}
}

func (l *Link) takes(domain string) bool {
	return domain == l.o.JID.Domain() || l.o.Takes != nil && l.o.Takes(domain)
}

// drop counts a stanza that goes no further.
func (l *Link) drop(st *stanza.Stanza, why string) {
	l.stats.dropped.Add(1)
	l.log.Debug().Stringer("from", st.From).Stringer("to", st.To).Stringer("kind", st.Kind).Str("reason", why).Msg("stanza dropped")
}
