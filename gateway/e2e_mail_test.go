package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"mcmt2xmpp/mcmt"
	"mcmt2xmpp/mcmt/mailtest"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/dnstest"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// bob is the JID of a mail address.
var bob = jid.MustParse(`bob\40corp.example@mail.localhost`)

// newMailGateway is a gateway whose mail goes to a real mail server.
func newMailGateway(t *testing.T, extra string) (*gateway, *mailtest.Server) {
	t.Helper()
	mx := mailtest.Start(t)
	g := newGateway(t, fmt.Sprintf("relay { gateway = %q }\n%s", mx.Addr, extra))
	g.start()
	g.addUser("alice@localhost", "secret")
	return g, mx
}

// write has a client write a message.
func (j *jabber) write(to jid.JID, body string, children ...*xmlwire.Element) {
	j.t.Helper()
	st := stanza.NewMessage(to, jid.JID{}, stanza.TypeChat, body)
	st.ID = "id-" + fmt.Sprint(len(body)) + "-" + body[:1]
	for _, c := range children {
		st.Element.Add(c)
	}
	if err := j.c.Send(j.t.Context(), st); err != nil {
		j.t.Fatal(err)
	}
}

// one waits for the only mail to an address.
func one(t *testing.T, mx *mailtest.Server, address string) mailtest.Mail {
	t.Helper()
	mx.Wait(address, 1)
	all := mx.Mailbox(address)
	if len(all) != 1 {
		t.Fatalf("%d mails to %s, want 1", len(all), address)
	}
	return all[0]
}

// TestMailBothWays: a mail becomes a message, its answer a mail, and the answer to that
// a message again, all in one thread on either side. A chat state becomes nothing.
func TestMailBothWays(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	first := "From: Bob <bob@corp.example>\r\nTo: alice@localhost\r\nSubject: Lunch?\r\nMessage-ID: <first@corp.example>\r\n\r\nAt noon?\r\n"
	if _, err := relay.Submit(t.Context(), g.smtp(), "bob@corp.example", []string{"alice@localhost"}, []byte(first)); err != nil {
		t.Fatal(err)
	}
	came := alice.next()
	thread := came.Element.Child(xmlwire.Name{Space: stanza.Client, Local: "thread"})
	if came.From != bob || thread == nil {
		t.Fatalf("came as %s", came)
	}
	for _, state := range []string{"composing", "paused", "composing", "active"} {
		st := &stanza.Stanza{Kind: stanza.Message, To: bob, Type: stanza.TypeChat, Element: xmlwire.New(stanza.Client, "message")}
		st.Element.Add(xmlwire.New("http://jabber.org/protocol/chatstates", state))
		if err := alice.c.Send(t.Context(), st); err != nil {
			t.Fatal(err)
		}
	}
	alice.write(bob, "Noon is fine – grüße", xmlwire.New(stanza.Client, "thread").AddText(thread.Text()))
	answer := one(t, mx, "bob@corp.example")
	if got := answer.Header.Get("From"); !strings.Contains(got, "alice@localhost") {
		t.Errorf("the answer is from %q", got)
	}
	if refs := answer.Header.Get("In-Reply-To") + answer.Header.Get("References"); !strings.Contains(refs, "<first@corp.example>") {
		t.Errorf("the answer refers to %q", refs)
	}
	second := fmt.Sprintf("From: Bob <bob@corp.example>\r\nTo: alice@localhost\r\nSubject: Re: Lunch?\r\nMessage-ID: <second@corp.example>\r\nIn-Reply-To: %s\r\nReferences: %s %s\r\n\r\nGood.\r\n",
		answer.Header.Get("Message-ID"), answer.Header.Get("References"), answer.Header.Get("Message-ID"))
	if _, err := relay.Submit(t.Context(), g.smtp(), "bob@corp.example", []string{"alice@localhost"}, []byte(second)); err != nil {
		t.Fatal(err)
	}
	again := alice.next()
	if e := again.Element.Child(thread.Name); e == nil || e.Text() != thread.Text() {
		t.Errorf("the second came as %s, want the thread %q", again, thread.Text())
	}
	if n := len(mx.Mailbox("bob@corp.example")); n != 1 {
		t.Errorf("%d mails, want 1", n)
	}
}

// TestMailRelayed: mail for others from who may relay goes on untouched, beside that for
// Jabber, and from nobody else.
func TestMailRelayed(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, `esmtp_listener "ignorant" { mcmt_reception = "passthru" Listen "127.0.0.4:0" {} }`)
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	// The mail server adds what is missing.
	raw := "Date: Fri, 27 Nov 2026 10:00:00 +0100\r\nMessage-ID: <outer@corp.example>\r\n" + sample("alice@localhost", "both")
	for at, c := range map[string]struct{ to, part string }{g.smtp(): {"eve@corp.example", "both"}, g.on("127.0.0.4"): {"adam@corp.example", "mail: both"}} {
		if _, err := relay.Submit(t.Context(), at, "news@corp.example", []string{"alice@localhost", c.to}, []byte(raw)); err != nil {
			t.Fatal(err)
		}
		alice.want(c.part)
		got := one(t, mx, c.to)
		if !strings.HasSuffix(string(got.Raw), strings.ReplaceAll(raw, "\r\n", "\n")) || got.Header.Get("Received") == "" {
			t.Errorf("came to %s as %s", c.to, got.Raw)
		}
	}
	strict, _ := newMailGateway(t, "relay_hosts = ( \"192.0.2.1/32\" )\nrelay_domains = ( open.example )")
	_, err := relay.Submit(t.Context(), strict.smtp(), "news@corp.example", []string{"eve@corp.example"}, []byte(raw))
	if err == nil || !strings.Contains(err.Error(), "550 5.1.2") {
		t.Errorf("an open relay: %v", err)
	}
	if _, err := relay.Submit(t.Context(), strict.smtp(), "news@corp.example", []string{"eve@Open.example"}, []byte(raw)); err != nil {
		t.Errorf("relay_domains: %v", err)
	}
}

// TestMailMX: without a smart host mail goes where the DNS says, and a domain that is not
// there is told to who wrote to it.
func TestMailMX(t *testing.T) {
	t.Parallel()
	mx := mailtest.Start(t)
	const host = "127.0.77.25" // nobody else's, as the port is that of all mail
	ln, err := net.Listen("tcp", host+":25")
	if err != nil {
		t.Fatal(err)
	}
	var carrying sync.WaitGroup
	carrying.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			carrying.Go(func() {
				defer in.Close()
				if out, err := net.Dial("tcp", mx.Addr); err == nil {
					defer out.Close()
					splice(in, out)
				}
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); carrying.Wait() })
	g := newGateway(t, fmt.Sprintf("relay { retry_interval = 1 }\nresolvers = ( %q )\n", dnstest.Serve(t, "corp.example MX 10 mail.corp.example", "mail.corp.example A "+host)))
	g.start()
	g.addUser("alice@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	alice.write(bob, "by MX")
	if got := decoded(t, one(t, mx, "bob@corp.example")); got != "by MX" {
		t.Errorf("came as %q", got)
	}
	alice.write(jid.MustParse(`bob\40nowhere.example@mail.localhost`), "to nobody")
	if st := alice.next(); st.Type != stanza.TypeError || !strings.Contains(st.String(), "no such domain") {
		t.Errorf("came back as %s", st)
	}
}

// TestMailRefused: who wrote in Jabber hears by a stanza error what the mail server has
// said, and who sent mail by a delivery status notification.
func TestMailRefused(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "")
	mx.Refuse("bob@corp.example", "550 5.1.1 bob has left")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	alice.write(bob, "hello?")
	if st := alice.next(); st.Type != stanza.TypeError || st.From != bob || !strings.Contains(st.String(), "bob has left") {
		t.Errorf("came back as %s", st)
	}
	if err := inject(t.Context(), g, true, "bob@corp.example", "hello?"); err != nil {
		t.Fatal(err)
	}
	dsn := one(t, mx, "news@corp.example")
	for _, want := range []string{"multipart/report", "Action: failed", "Status: 5.1.1", "rfc822; bob@corp.example", "bob has left"} {
		if !strings.Contains(string(dsn.Raw), want) {
			t.Errorf("no %q in %s", want, dsn.Raw)
		}
	}
	if got := dsn.Header.Get("Return-Path"); got != "" && got != "<>" {
		t.Errorf("the notification is from %q", got)
	}
	g.eventually("the mail of others is dead", func() bool { return metricsOf(t, g)[`mcmt2xmpp_mail_total{outcome="failed"}`] == 2 })
}

// TestMailLater: while the mail server is away mail waits, also over the death of the
// gateway; an operator sees why, and has it tried.
func TestMailLater(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	mx.Stop()
	for i := range 3 {
		alice.write(bob, fmt.Sprintf("%d to bob", i))
	}
	g.eventually("they wait", func() bool { return metricsOf(t, g)["mcmt2xmpp_mail_parked_messages"] == 3 })
	operate(t, g, "bob@corp.example", "queue", "list")
	operate(t, g, "connection refused", "queue", "list", "--domain", "corp.example")
	g.kill()
	g.start()
	g.eventually("they wait still", func() bool { return metricsOf(t, g)["mcmt2xmpp_mail_parked_messages"] == 3 })
	mx.Start()
	operate(t, g, "3 messages", "queue", "retry", "--domain", "corp.example")
	mx.Wait("bob@corp.example", 3)
	if n := len(mx.Mailbox("bob@corp.example")); n != 3 {
		t.Errorf("%d mails", n)
	}
}

// TestMailFallback: the e-mail of a message for somebody who does not come goes out.
func TestMailFallback(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "fallback = email\nfallback_after = 1")
	if err := inject(t.Context(), g, true, "alice@localhost", "where are you?"); err != nil {
		t.Fatal(err)
	}
	got := one(t, mx, "alice@localhost")
	if got.Header.Get("Subject") != "Track 7" || !strings.Contains(got.Text, "mail: where are you?") {
		t.Errorf("came as %s", got.Raw)
	}
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	if err := inject(t.Context(), g, false, "alice@localhost", "there you are"); err != nil {
		t.Fatal(err)
	}
	alice.want("there you are")
	if n := len(mx.Mailbox("alice@localhost")); n != 1 {
		t.Errorf("%d mails", n)
	}
}

// TestMailSuccess: who asks for it hears that a client has the message, and how that is
// known, once.
func TestMailSuccess(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	s := relay.New(relay.Options{SmartHost: g.smtp(), TLS: relay.TLSNever})
	t.Cleanup(s.Close)
	m := relay.Message{From: "news@corp.example", To: mcmt.Recipient{Address: "alice@localhost", Notify: []string{"SUCCESS"}, ORCPT: "rfc822;alice@localhost"},
		EnvelopeID: "envelope 7", Raw: []byte(sample("alice@localhost", "are you there?"))}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if res, err := s.Send(ctx, m); err != nil || !res.DSN {
		t.Fatalf("%+v, %v", res, err)
	}
	st := alice.want("are you there?")
	if st.Element.Child(xmlwire.Name{Space: "urn:xmpp:receipts", Local: "request"}) == nil {
		t.Errorf("no receipt is asked for: %s", st)
	}
	for _, id := range []string{st.ID, st.ID, "unasked"} {
		receipt := &stanza.Stanza{Kind: stanza.Message, To: st.From, ID: "r1", Element: xmlwire.New(stanza.Client, "message")}
		receipt.Element.Add(xmlwire.New("urn:xmpp:receipts", "received", "id", id))
		if err := alice.c.Send(t.Context(), receipt); err != nil {
			t.Fatal(err)
		}
	}
	dsn := one(t, mx, "news@corp.example")
	for _, want := range []string{"Action: delivered", "Original-Envelope-Id: envelope 7", "Original-Recipient: rfc822; alice@localhost", "This is known by: "} {
		if !strings.Contains(string(dsn.Raw), want) {
			t.Errorf("no %q in %s", want, dsn.Raw)
		}
	}
	g.eventually("the receipts are counted", func() bool {
		m := metricsOf(t, g)
		return m[`mcmt2xmpp_receipts_total{outcome="again"}`]+m[`mcmt2xmpp_receipts_total{outcome="reported"}`] == 2 && m[`mcmt2xmpp_receipts_total{outcome="not_asked"}`] == 1
	})
	if n := len(mx.Mailbox("news@corp.example")); n != 1 {
		t.Errorf("%d notifications", n)
	}
}

// TestMailSentBack: who sent mail for a user whom the other server does not know hears of
// it, although that server had taken the message.
func TestMailSentBack(t *testing.T) {
	t.Parallel()
	mx := mailtest.Start(t)
	n := peertest.Start(t, peertest.Options{Prosody: []peertest.Domain{{Name: "p1.example"}}, Ejabberd: []peertest.Domain{{Name: "e1.example"}}, Others: [][]string{others(ours)}})
	g := newServer(t, n, ours, clients("p1.example", "e1.example")+fmt.Sprintf("relay { gateway = %q }\n", mx.Addr))
	for i, domain := range []string{"p1.example", "e1.example"} {
		sender := fmt.Sprintf("news%d@corp.example", i)
		g.injects(true, sender, "nobody@"+domain, "hello?")
		dsn := one(t, mx, sender)
		for _, want := range []string{"Action: failed", "Final-Recipient: rfc822; nobody@" + domain} {
			if !strings.Contains(string(dsn.Raw), want) {
				t.Errorf("no %q in %s", want, dsn.Raw)
			}
		}
	}
	g.eventually("they are dead", func() bool { return metricsOf(t, g)[`mcmt2xmpp_delivery_total{outcome="failed"}`] == 2 })
}

// decoded is the text of a mail as its reader sees it.
func decoded(t *testing.T, m mailtest.Mail) string {
	t.Helper()
	read, err := mcmt.ParseMail(m.Raw, mcmt.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(read.Email.Text, "\n")
}
