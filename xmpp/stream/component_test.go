package stream

import (
	"errors"
	"net"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// TestHandshake: the examples of XEP-0114 §3; their secret is "test".
func TestHandshake(t *testing.T) {
	t.Parallel()
	if got := Handshake("3BF96D32", "test"); got != "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e" {
		t.Errorf("got %s", got)
	}
}

// component lets a component and a server negotiate and returns their errors.
func component(t *testing.T, domain, secret string, admit func(jid.JID) error) (s *Stream, theirs, ours error) {
	t.Helper()
	a, b := net.Pipe()
	s = New(a, Options{Content: stanza.Component, Receiving: true, Serves: func(d string) bool { return d != "other.example" }})
	c := New(b, Options{Content: stanza.Component})
	done := make(chan error)
	go func() {
		err := c.InitiateComponent(t.Context(), jid.MustParse(domain), secret)
		if err != nil {
			_ = c.End(t.Context(), err)
		}
		done <- err
	}()
	secrets := map[string]string{"irc.example": "s3cret"}
	ours = s.AcceptComponent(t.Context(), func(d string) string { return secrets[d] }, admit)
	if ours != nil {
		_ = s.End(t.Context(), ours)
	}
	theirs = <-done
	if ours == nil {
		_ = s.Abort()
		_ = c.Abort()
	}
	return s, theirs, ours
}

func anybody(jid.JID) error { return nil }

func TestComponent(t *testing.T) {
	t.Parallel()
	s, theirs, ours := component(t, "irc.example", "s3cret", anybody)
	if theirs != nil || ours != nil {
		t.Fatalf("component: %v, server: %v", theirs, ours)
	}
	if s.Mechanism() != MechanismHandshake || s.User() != jid.MustParse("irc.example") {
		t.Errorf("%s by %s", s.User(), s.Mechanism())
	}
}

// TestComponentRefused: each error of XEP-0114 §3 reaches the component.
func TestComponentRefused(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, domain, secret string
		admit                func(jid.JID) error
		want                 Condition
	}{
		{"wrong secret", "irc.example", "guess", anybody, NotAuthorized},
		{"no secret is configured", "smtp.example", "", anybody, NotAuthorized},
		{"unknown domain", "other.example", "s3cret", anybody, HostUnknown},
		{"there is one already", "irc.example", "s3cret", func(jid.JID) error { return &Error{Condition: Conflict} }, Conflict},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err, ours := component(t, test.domain, test.secret, test.admit)
			var theirs *PeerError
			if !errors.As(err, &theirs) || theirs.Err.Condition != test.want {
				t.Errorf("component got %v, want %s; the server says %v", err, test.want, ours)
			}
		})
	}
}

// TestComponentNoID: a server that makes no stream id gets no hash of the bare secret.
func TestComponentNoID(t *testing.T) {
	t.Parallel()
	conn := &canned{r: strings.NewReader("<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' from='irc.example'><handshake/>")}
	c := New(conn, Options{Content: stanza.Component})
	err := c.InitiateComponent(t.Context(), jid.MustParse("irc.example"), "s3cret")
	var own *Error
	if !errors.As(err, &own) || own.Condition != BadFormat {
		t.Errorf("got %v", err)
	}
	_ = c.Abort()
}
