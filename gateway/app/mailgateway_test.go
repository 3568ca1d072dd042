package app

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/gateway"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
	"mcmt2xmpp/xmpp/xmlwire"
)

// TestMailGatewayAddresses: what a person types has the JID that a message from there
// comes from, or where it goes by a recipient_map.
func TestMailGatewayAddresses(t *testing.T) {
	t.Parallel()
	r := start(t, basic+`domain "#xmpp#partner.example" { xmpp_role = client }
recipient_map staff { match = "(.*)@sms.example" jid = "$1@localhost" }
recipient_map desk { match = "[+]4412345678" jid = "desk@localhost" }
`)
	ad, domain := addresses{r.App}, jid.MustParse("mail.localhost")
	for _, c := range []struct{ reason, text, want string }{
		{"a mail address", "Bob@Corp.example", `bob\40corp.example@mail.localhost`},
		{"with what a JID cannot hold", `"bob smith"@corp.example`, `bob\20smith\40corp.example@mail.localhost`},
		{"a phone number", "+49 (151) 234-567", "+49151234567@mail.localhost"},
		{"another spelling of it", "0049151234567", "+49151234567@mail.localhost"},
		{"the JID itself", `bob\40corp.example@mail.localhost/x`, `bob\40corp.example@mail.localhost`},
		{"an account of ours", "alice@localhost", "alice@localhost"},
		{"a user of a domain that we send to", "carol@partner.example", "carol@partner.example"},
		{"by a map", "dave@sms.example", "dave@localhost"},
		{"a number by a map", "+44 12 345678", "desk@localhost"},
		{"no address", "Bob", ""},
		{"nothing", "", ""},
		{"a number without its country", "0151 234567", ""},
		{"no JID of the gateway", "bob@mail.localhost", ""},
		{"the gateway", "mail.localhost", ""},
		{"two lines", "bob@corp.example\r\nRCPT TO:<x@y>", ""},
	} {
		j, err := ad.JID(domain, c.text)
		if j.String() != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: %q has %q, %v; want %q", c.reason, c.text, j, err, c.want)
		}
		if err != nil && !strings.Contains(err.Error(), "nor a phone number with its country code") {
			t.Errorf("%s: %v says nothing to a person", c.reason, err)
		}
	}
	for _, c := range []struct {
		j, address string
		kind       gateway.Kind
	}{
		{`bob\40corp.example@mail.localhost`, "bob@corp.example", gateway.Mail},
		{`bob\20smith\40corp.example@mail.localhost`, `"bob smith"@corp.example`, gateway.Mail},
		{"+49151234567@mail.localhost", "+49151234567", gateway.Phone},
		{"bob@mail.localhost", "", gateway.NoAddress},
		{"mail.localhost", "", gateway.NoAddress},
		{"bob@elsewhere.example", "", gateway.NoAddress},
	} {
		if address, kind := ad.Address(jid.MustParse(c.j)); address != c.address || kind != c.kind {
			t.Errorf("%s stands for %q, %d; want %q, %d", c.j, address, kind, c.address, c.kind)
		}
	}
}

// ask sends an IQ and returns the answer.
func ask(t *testing.T, c *stream.Client, to, typ string, payload *xmlwire.Element) *stanza.Stanza {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Send(ctx, stanza.NewIQ(jid.MustParse(to), jid.JID{}, typ, "ask", payload)); err != nil {
		t.Fatal(err)
	}
	for {
		if st := hear(t, c); st.Kind == stanza.IQ && st.ID == "ask" {
			return st
		}
	}
}

// TestMailGatewayReload: the gateway moves with its option, and answers nowhere else.
func TestMailGatewayReload(t *testing.T) {
	t.Parallel()
	const basic = basic + "s2s_default = deny\n" // nobody is asked for what is not here
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	c := r.login("alice@localhost/a", "secret")
	ping := xmlwire.New("urn:xmpp:ping", "ping")
	answers := func(domain, want string) {
		t.Helper()
		st := ask(t, c, domain, stanza.TypeGet, ping)
		got := st.Type
		if got == stanza.TypeError {
			got = string(stanza.ParseError(st.Child("error")).Condition)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", domain, got, want)
		}
	}
	answers("mail.localhost", "result")
	answers("post.example", "not-allowed")
	r.reload(basic + "mail_gateway_domain = post.example\n")
	answers("mail.localhost", "not-allowed")
	answers("post.example", "result")
	r.reload(basic + "mail_gateway_domain = post.example\nmax_retry_interval = 2000\n")
	answers("post.example", "result")
}

// TestMailGatewayRegistrations: that of an account goes with the account; those of
// strangers are bounded, and nobody else's.
func TestMailGatewayRegistrations(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	kept := registrations{r.services.registrations, r.router}
	domain, alice := jid.MustParse("mail.localhost"), jid.MustParse("alice@localhost")
	ctx := t.Context()
	if err := kept.Register(ctx, domain, alice); err != nil {
		t.Fatal(err)
	}
	strangers := make([]string, maxStrangers)
	for i := range strangers {
		strangers[i] = fmt.Sprintf("u%04d@a.example", i)
	}
	for _, s := range strangers {
		if err := kept.Register(ctx, domain, jid.MustParse(s)); err != nil {
			t.Fatal(err)
		}
	}
	late := jid.MustParse("late@b.example")
	if err := kept.Register(ctx, domain, late); err == nil || kept.Registered(domain, late) {
		t.Errorf("one stranger too many: %v", err)
	}
	r.add("bob@localhost", "secret")
	if bob := jid.MustParse("bob@localhost"); kept.Register(ctx, domain, bob) != nil || !kept.Registered(domain, bob) {
		t.Error("strangers keep an account from registering")
	}
	if err := kept.Unregister(ctx, domain, jid.MustParse(strangers[7])); err != nil || kept.Registered(domain, jid.MustParse(strangers[7])) {
		t.Errorf("one that leaves: %v", err)
	}
	if err := kept.Register(ctx, domain, late); err != nil || !kept.Registered(domain, late) {
		t.Errorf("the late one with room again: %v", err)
	}
	if !kept.Registered(domain, alice) {
		t.Error("alice is not registered any more")
	}
	if err := r.Accounts().Remove(ctx, alice); err != nil {
		t.Fatal(err)
	}
	again, err := store.OpenRegistrations(ctx, r.broker, nil) // the first may not have heard of it
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.Has(alice, domain) {
		t.Error("the registration outlives the account")
	}
}

// TestMailGatewayMetric: what is asked is counted.
func TestMailGatewayMetric(t *testing.T) {
	t.Parallel()
	r := start(t, basic)
	r.add("alice@localhost", "secret")
	c := r.login("alice@localhost/a", "secret")
	ask(t, c, "mail.localhost", stanza.TypeSet, xmlwire.New("jabber:iq:register", "query"))
	for _, body := range []string{"hi", ""} {
		if err := c.Send(t.Context(), stanza.NewMessage(jid.MustParse(`bob\40corp.example@mail.localhost`), jid.JID{}, "chat", body)); err != nil {
			t.Fatal(err)
		}
	}
	ask(t, c, "nobody@mail.localhost", stanza.TypeGet, xmlwire.New("urn:xmpp:ping", "ping"))
	got := make(map[string]float64)
	for _, m := range r.mailGatewayMetrics() {
		m.Collect(func(v float64, labels ...string) { got[strings.Join(append([]string{m.Name}, labels...), " ")] = v })
	}
	for name, want := range map[string]float64{
		"mail_gateway_requests_total register": 1, "mail_gateway_requests_total unregister": 0, "mail_gateway_requests_total prompt": 0,
		"mail_gateway_requests_total subscribe": 0, "mail_gateway_messages_total accepted": 1, "mail_gateway_messages_total filtered": 1,
		"mail_gateway_messages_total refused": 0, "mail_gateway_no_address_total": 1,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %v (there: %v), want %v", name, n, ok, want)
		}
	}
}
