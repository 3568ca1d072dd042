package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/gateway"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// elsewhere is the other servers: what goes there is noted.
type elsewhere struct {
	router.Remote
	sent []string
	next func(st *stanza.Stanza) // sees it too; nil: nobody does
}

func (e *elsewhere) Route(_ context.Context, st *stanza.Stanza) error {
	typ := st.Type
	if typ == "" {
		typ = "available"
	}
	e.sent = append(e.sent, fmt.Sprintf("%s %s %s", st.Kind, typ, st.To))
	if e.next != nil {
		e.next(st)
	}
	return nil
}

func (e *elsewhere) heard() string {
	all := strings.Join(e.sent, ", ")
	e.sent = nil
	return all
}

const mail = "mail.localhost"

// site is a router with a gateway and nobody at home.
func site(domain string, change func(*gateway.Options)) (*router.Router, *gateway.Gateway, *elsewhere) {
	e := new(elsewhere)
	r := router.New(router.Options{Remote: e})
	o := options(r)
	if change != nil {
		change(&o)
	}
	g := gateway.New(o)
	r.Host(domain, g.Take)
	return r, g, e
}

func query(from jid.JID, to, typ, ns, children string) *stanza.Stanza {
	e, err := xmlwire.Parse(fmt.Appendf(nil, "<query xmlns='%s'>%s</query>", ns, children), xmlwire.Limits{})
	if err != nil {
		panic(err)
	}
	return stanza.NewIQ(jid.MustParse(to), from, typ, "1", e)
}

// TestRemoteUser: somebody on another server registers, has a contact, and leaves: what he
// gets goes there, in the order of XEP-0100 §4.1.1, §4.6.1 and §4.3.1.
func TestRemoteUser(t *testing.T) {
	t.Parallel()
	r, g, e := site(mail, nil)
	romeo := jid.MustParse("romeo@montague.example/orchard")
	const contact = `bob\40corp.example@mail.localhost`
	presence := func(from jid.JID, to, typ string) *stanza.Stanza {
		return stanza.NewPresence(jid.MustParse(to), from, typ)
	}
	for _, step := range []struct {
		what string
		st   *stanza.Stanza
		want string
	}{
		{"registers", query(romeo, mail, "set", "jabber:iq:register", ""), "iq result romeo@montague.example/orchard, presence subscribe romeo@montague.example"},
		{"asks for a JID", query(romeo, mail, "set", "jabber:iq:gateway", "<prompt>bob@corp.example</prompt>"), "iq result romeo@montague.example/orchard"},
		{"adds the contact", presence(romeo.Bare(), contact, "subscribe"), "presence subscribed romeo@montague.example, presence available romeo@montague.example"},
		// COMPAT Prosody 0.12: from the full JID.
		{"adds it again", presence(romeo, contact, "subscribe"), "presence subscribed romeo@montague.example, presence available romeo@montague.example/orchard"},
		{"logs in", presence(romeo, contact, "probe"), "presence available romeo@montague.example/orchard"},
		{"removes the contact", presence(romeo.Bare(), contact, "unsubscribe"), "presence unsubscribed romeo@montague.example, presence unavailable romeo@montague.example"},
		{"has one that is none", presence(romeo, "bob@mail.localhost", "probe"), "presence unsubscribed romeo@montague.example"},
		{"leaves", query(romeo, mail, "set", "jabber:iq:register", "<remove/>"),
			"iq result romeo@montague.example/orchard, presence unsubscribe romeo@montague.example, presence unsubscribed romeo@montague.example, presence unavailable romeo@montague.example"},
	} {
		if err := r.Forward(t.Context(), step.st); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
		if got := e.heard(); got != step.want {
			t.Errorf("%s: he hears\n %s, want\n %s", step.what, got, step.want)
		}
	}
	if got, want := g.Stats(), (gateway.Stats{Registered: 1, Unregistered: 1, Prompted: 1, Subscribed: 2, Unknown: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// TestStoreFails: a registration that cannot be kept is not told to be, and the reason
// stays here.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	r, g, e := site(mail, nil)
	err := r.Forward(t.Context(), query(jid.MustParse("broken@a.example/x"), mail, "set", "jabber:iq:register", ""))
	var refused *stanza.Error
	if err == nil || errors.As(err, &refused) || e.heard() != "" || g.Stats().Registered != 0 {
		t.Errorf("%v, heard %q", err, e.heard())
	}
}

// TestTwoGateways: two that face each other, or one that hears itself, come to rest,
// whatever began it.
func TestTwoGateways(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"", "unavailable", "probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed", "error"} {
		for _, from := range []string{"sms.example", "mail.localhost"} {
			here, _, hears := site(mail, nil)
			there, _, hear := site("sms.example", nil)
			n := 0
			pass := func(to *router.Router) func(*stanza.Stanza) {
				return func(st *stanza.Stanza) {
					if n++; n < 50 {
						_ = to.Forward(t.Context(), st)
					}
				}
			}
			hears.next, hear.next = pass(there), pass(here)
			_ = here.Forward(t.Context(), stanza.NewPresence(jid.MustParse(`bob\40corp.example@mail.localhost`), jid.MustParse("+123@"+from), typ))
			if n > 2 {
				t.Errorf("presence %q from %s: %d stanzas", typ, from, n)
			}
		}
	}
}

// TestMessages: what becomes of a message is counted, and the filter's copy goes on.
func TestMessages(t *testing.T) {
	t.Parallel()
	var took *stanza.Stanza
	fails := errors.New("full")
	r, g, e := site(mail, func(o *gateway.Options) {
		o.Filter = func(_ context.Context, st *stanza.Stanza) (*stanza.Stanza, string, error) {
			switch st.ID {
			case "drop":
				return nil, "", nil
			case "strip":
				return stanza.NewMessage(st.To, st.From, st.Type, "stripped"), "", nil
			case "defer":
				return nil, "", &stanza.Error{Condition: stanza.ResourceConstraint}
			}
			return st, "", nil
		}
		o.Message = func(_ context.Context, st *stanza.Stanza, _ string) error {
			took = st
			if st.ID == "fail" {
				return fails
			}
			return nil
		}
	})
	for _, c := range []struct {
		id, to string
		body   string // of what was taken
		want   string
	}{
		{"take", `bob\40corp.example@mail.localhost`, "hi", ""},
		{"strip", `+123@mail.localhost/x`, "stripped", ""},
		{"drop", `bob\40corp.example@mail.localhost`, "", ""},
		{"defer", `bob\40corp.example@mail.localhost`, "", "resource-constraint"},
		{"fail", `bob\40corp.example@mail.localhost`, "hi", "full"},
		{"nobody", `bob@mail.localhost`, "", "item-not-found"},
		{"gateway", mail, "", "service-unavailable"},
	} {
		took = nil
		st := stanza.NewMessage(jid.MustParse(c.to), jid.MustParse("romeo@montague.example/x"), "chat", "hi")
		st.ID = c.id
		err := r.Forward(t.Context(), st)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.id, err, c.want)
		}
		if body := bodyOf(took); body != c.body {
			t.Errorf("%s: took %q, want %q", c.id, body, c.body)
		}
	}
	if got, want := g.Stats(), (gateway.Stats{Messages: 2, Filtered: 1, Refused: 3, Unknown: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if heard := e.heard(); heard != "" {
		t.Errorf("sent %s", heard)
	}
}

func bodyOf(st *stanza.Stanza) string {
	if st == nil {
		return ""
	}
	return st.Child("body").Text()
}
