package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"mcmt2xmpp/xmpp/c2s"
	"mcmt2xmpp/xmpp/gateway"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/sasl"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmpptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// addresses has a JID for each text with an @ or a +.
type addresses struct{}

func (addresses) JID(domain jid.JID, text string) (jid.JID, error) {
	if !strings.ContainsAny(text, "@+") {
		return jid.JID{}, fmt.Errorf("%q is no address", text)
	}
	return jid.New(jid.Escape(text), domain.Domain(), "")
}

func (addresses) Address(j jid.JID) (string, gateway.Kind) {
	switch text := jid.Unescape(j.Local()); {
	case strings.Contains(text, "@"):
		return text, gateway.Mail
	case strings.HasPrefix(text, "+"):
		return text, gateway.Phone
	}
	return "", gateway.NoAddress
}

// registrations has room for one.
type registrations struct {
	mu   sync.Mutex
	user jid.JID
}

func (r *registrations) Registered(_, user jid.JID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.user == user
}

func (r *registrations) Register(_ context.Context, _, user jid.JID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case user.Local() == "broken":
		return errors.New("store is down")
	case !r.user.IsZero() && r.user != user:
		return &stanza.Error{Condition: stanza.ResourceConstraint, Text: "more than 1 registrations"}
	}
	r.user = user
	return nil
}

func (r *registrations) Unregister(context.Context, jid.JID, jid.JID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user = jid.JID{}
	return nil
}

// options are those of a gateway that takes nothing but messages with "please" in them.
func options(r *router.Router) gateway.Options {
	return gateway.Options{
		Router: r, Addresses: addresses{}, Kinds: []gateway.Kind{gateway.Mail, gateway.Phone}, Registrations: new(registrations),
		Filter: func(_ context.Context, st *stanza.Stanza) (*stanza.Stanza, string, error) {
			if st.Child("body") == nil {
				return nil, "", nil
			}
			return st, "it has a body", nil
		},
		Message: func(_ context.Context, st *stanza.Stanza, note string) error {
			if note != "it has a body" {
				return &stanza.Error{Type: stanza.Cancel, Condition: stanza.UndefinedCondition, Text: "the note is " + note}
			}
			if strings.Contains(st.Child("body").Text(), "please") {
				return nil
			}
			return &stanza.Error{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable, Text: "mail is not sent"}
		},
		Version: "1.2",
	}
}

// anybody is a store in which everybody has the password "secret".
type anybody struct{}

func (anybody) Credentials(context.Context, string, string) (sasl.Credentials, error) {
	return sasl.Credentials{Password: "secret"}, nil
}

func (anybody) Holds() sasl.Holding { return sasl.HoldsPassword }

func TestTranscripts(t *testing.T) {
	t.Parallel()
	xmpptest.Run(t, "testdata/*.txt", func(t *testing.T, uses []string) string {
		rosters := new(xmpptest.Rosters)
		r := router.New(router.Options{Domains: func(d string) bool { return d == "localhost" }, Rosters: rosters})
		rosters.OnChange = r.RosterChanged
		o := options(r)
		for _, use := range uses {
			switch use {
			case "mail-only":
				o.Kinds, o.Registrations, o.Message = nil, nil, nil
			default:
				t.Fatalf("no such use: %s", use)
			}
		}
		r.Host("mail.localhost", gateway.New(o).Take)
		return serve(t, r)
	})
}

// serve has clients of a router log in at the address that it returns.
func serve(t *testing.T, r *router.Router) string {
	t.Helper()
	v := c2s.New(c2s.Options{Router: r, Connection: func(net.Addr) c2s.ConnOptions {
		return c2s.ConnOptions{Accounts: anybody{}, AllowPlainWithoutTLS: true}
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}
