package main

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// facing is the configuration of a gateway for one domain that takes mail at an address
// and sends all mail to another's.
func facing(domain, smtp, smartHost, extra string) string {
	return fmt.Sprintf(`data_dir = "data"
log_format = "json"
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "nats://accounts" ]
  Listen "127.0.0.1:0" { stream = "client" }
}
esmtp_listener { mcmt_reception = "allow" Listen %q {} }
http_listener { Listen "127.0.0.1:0" {} }
control_listener { Listen "127.0.0.1:0" {} }
relay { gateway = %q retry_interval = 1 max_retry_interval = 1 }
domain %q { xmpp_role = "server" }
%s`, smtp, smartHost, domain, extra)
}

// newFacing starts two gateways, each of which is the other's smart host.
func newFacing(t *testing.T, extraA, extraB string) (a, b *gateway) {
	t.Helper()
	addrA, addrB := peertest.Reserve(t), peertest.Reserve(t)
	a, b = newGatewayOf(t, facing("a.example", addrA, addrB, extraA)), newGatewayOf(t, facing("b.example", addrB, addrA, extraB))
	a.start()
	b.start()
	a.addUser("alice@a.example", "secret")
	b.addUser("bob@b.example", "secret")
	return a, b
}

// TestMailFacing: with mail_format = mcmt two gateways that know each other by mail alone
// pass on whole messages, both ways.
func TestMailFacing(t *testing.T) {
	t.Parallel()
	a, b := newFacing(t, "mail_format = mcmt", "mail_format = mcmt")
	alice, bob := login(t, a.xmpp(), "alice@a.example/desk", 0), login(t, b.xmpp(), "bob@b.example/phone", 0)
	const inner = `<subject>Lunch</subject><subject xml:lang='de'>Essen</subject><body>At noon – grüße</body><body xml:lang='de'>Mittags?</body><thread>e0ffe42b</thread>`
	for round := range 2 {
		alice.say(`bob\40b.example@mail.a.example`, inner)
		check := func(st *stanza.Stanza, from string) {
			t.Helper()
			if st.From.Bare().String() != from || st.Type != "chat" {
				t.Errorf("round %d: came as %s", round, st)
			}
			for _, want := range []string{"<subject>Lunch</subject>", "<subject xml:lang='de'>Essen</subject>", "<body>At noon – grüße</body>",
				"<body xml:lang='de'>Mittags?</body>", "<thread>e0ffe42b</thread>"} {
				if !strings.Contains(string(st.Append(nil, stanza.Client)), want) {
					t.Errorf("round %d: no %s in %s", round, want, st)
				}
			}
		}
		there := bob.next()
		check(there, `alice\40a.example@mail.b.example`)
		bob.say(there.From.Bare().String(), inner)
		check(alice.next(), `bob\40b.example@mail.a.example`)
	}
	for _, g := range []*gateway{a, b} {
		g.eventually("both mails are sent", func() bool { return metric(t, g, `mail_total{outcome="relayed"}`) == 2 })
	}
}

// TestMailDigest: lines typed within digest_window are one mail, over a kill of the
// gateway, too.
func TestMailDigest(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "digest_window = 20")
	ping := func(j *jabber) {
		t.Helper()
		j.write(j.c.JID(), "to myself") // after it all before it is stored
		j.want("to myself")
	}
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	for _, line := range []string{"one", "two", "three – grüße"} {
		alice.write(bob, line, xmlwire.New("http://jabber.org/protocol/chatstates", "active"))
	}
	ping(alice)
	g.kill()
	g.start()
	if got := decoded(t, one(t, mx, "bob@corp.example")); got != "one\ntwo\nthree – grüße" {
		t.Errorf("came as %q", got)
	}
	alice = login(t, g.xmpp(), "alice@localhost/desk", 0)
	alice.write(bob, "later")
	mx.Wait("bob@corp.example", 2)
	if all := mx.Mailbox("bob@corp.example"); len(all) != 2 || decoded(t, all[1]) != "later" {
		t.Errorf("%d mails", len(all))
	}
}
