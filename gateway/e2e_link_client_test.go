package main

import (
	"fmt"
	"testing"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/xmlwire"
)

// clientLink is a link as the account dave@ of a peer.
func clientLink(s *peertest.Server, domain, password, more string) string {
	return fmt.Sprintf("link \"far\" { type = \"client\" jid = \"dave@%s\" gateway = %q password = %q domains = ( %q ) tls = required %s }",
		domain, s.C2S, password, domain, more)
}

// TestClientLink: by an account on a server the gateway reaches the people there, who
// answer the account; the answer goes to whoever wrote to them.
func TestClientLink(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Mode:    peertest.Certs,
		Prosody: []peertest.Domain{{Name: "p1.example"}}, Ejabberd: []peertest.Domain{{Name: "e1.example"}},
		ChannelBinding: true,
	})
	for _, c := range []struct {
		server *peertest.Server
		theirs string
	}{{n.Prosody, "p1.example"}, {n.Ejabberd, "e1.example"}} {
		t.Run(c.theirs, func(t *testing.T) {
			g := newLinked(t, ours, clientLink(c.server, c.theirs, "secret", fmt.Sprintf("tls_ca = %q", n.CA.File)))
			ann, alice := meet(t, g.xmpp(), "ann@"+ours+"/a"), meet(t, c.server.C2S, "alice@"+c.theirs+"/a")
			account := "dave@" + c.theirs
			for i, smtp := range []bool{true, false} {
				text := []string{"by SMTP", "by HTTP"}[i]
				g.injects(smtp, "news@corp.example", alice.bare(), text)
				if st := alice.message(text); st.From.Bare().String() != account || st.ID == "" {
					t.Errorf("an MCMT message came as %s", st.Element)
				}
			}
			ann.send(`<message xmlns='jabber:client' type='chat' to='%s' id='m1'><body>of ann</body></message>`, alice.bare())
			st := alice.message("of ann")
			if got := replyAddress(st.Element); st.From.Bare().String() != account || got != ann.full() {
				t.Errorf("a message of ann came as %s", st.Element)
			}
			alice.send(`<message xmlns='jabber:client' type='chat' to='%s' id='m2'><body>an answer</body></message>`, st.From)
			if st := ann.message("an answer"); st.From != alice.c.JID() || st.To.Bare() != ann.c.JID().Bare() {
				t.Errorf("the answer came as %s", st.Element)
			}
			restartLinked(t, g, c.server, alice, c.server == n.Prosody)
		})
	}
}

// replyAddress is where a message asks to be answered (XEP-0033).
func replyAddress(e *xmlwire.Element) string {
	const ns = "http://jabber.org/protocol/address"
	if all := e.Child(xmlwire.Name{Space: ns, Local: "addresses"}); all != nil {
		for a := range all.Elements() {
			if a.Attr("type") == "replyto" {
				return a.Attr("jid")
			}
		}
	}
	return ""
}

// TestClientLinkRefused: a wrong password and a certificate that does not verify are
// told to the operator, and messages wait.
func TestClientLinkRefused(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Prosody: []peertest.Domain{{Name: "p1.example"}}, Ejabberd: []peertest.Domain{{Name: "e1.example"}},
	})
	for _, c := range []struct {
		server         *peertest.Server
		theirs         string
		password, more string
		step, word     string
	}{
		{n.Prosody, "p1.example", "wrong", "tls_verify = no", "login", "not-authorized"},
		{n.Ejabberd, "e1.example", "wrong", "tls_verify = no", "login", "not-authorized"},
		{n.Prosody, "p1.example", "secret", "", "tls", "self-signed"},
		{n.Ejabberd, "e1.example", "secret", "tls_verify = ca", "tls", "self-signed"},
	} {
		g := newLinked(t, ours, clientLink(c.server, c.theirs, c.password, c.more))
		g.injects(false, "news@corp.example", "alice@"+c.theirs, "waits")
		g.linkFails("far", c.step, c.word)
		g.remains(c.theirs, admin.Deferred, 1)
		g.stop()
	}
}
