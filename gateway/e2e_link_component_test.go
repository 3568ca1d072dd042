package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
)

// linkText is the configuration of a gateway that nobody can reach but through a
// link, and that has no other way out.
func linkText(domain string, links ...string) string {
	return fmt.Sprintf(`data_dir = "data"
log_format = "json"
retry_interval = 1
max_retry_interval = 2
s2s_default = deny
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "nats://accounts" ]
  Listen "127.0.0.1:0" { stream = "client" }
}
esmtp_listener { mcmt_reception = "allow" Listen "127.0.0.1:0" {} }
http_listener { Listen "127.0.0.1:0" {} }
control_listener { Listen "127.0.0.1:0" {} }
domain %q { xmpp_role = "server" }
%s
`, domain, strings.Join(links, "\n")) + clients("p1.example", "e1.example")
}

// componentLink is a link as a component of a peer.
func componentLink(name, domain, addr, secret, reaches string) string {
	return fmt.Sprintf("link %q { type = \"component\" jid = %q gateway = %q password = %q domains = ( %q ) }", name, domain, addr, secret, reaches)
}

// componentLinks are links for the people of a domain and for its mail users, which
// are two components.
func componentLinks(s *peertest.Server, domain, secret, reaches string) []string {
	mail := "mail." + domain
	return []string{
		componentLink("far", domain, s.Component(domain), secret, reaches),
		componentLink("mail", mail, s.Component(mail), secret, reaches),
	}
}

// components are the domains of componentLinks, for peertest.
func components(domain, secret string) []peertest.Domain {
	return []peertest.Domain{{Name: domain, Secret: secret}, {Name: "mail." + domain, Secret: secret}}
}

// newLinked starts a gateway with links, and an account ann@.
func newLinked(t *testing.T, domain string, links ...string) *gateway {
	t.Helper()
	g := newGatewayOf(t, linkText(domain, links...))
	g.start()
	g.addUser("ann@"+domain, "secret")
	return g
}

// TestComponentLink: as a component of a server (XEP-0114) the gateway has its users,
// and those who send it mail, talk to those of the server, both ways.
func TestComponentLink(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Prosody:  append(components("cp.example", "pr0s0dy"), peertest.Domain{Name: "p1.example"}),
		Ejabberd: append(components("ce.example", "ejabb3rd"), peertest.Domain{Name: "e1.example"}),
	})
	for _, c := range []struct {
		server                 *peertest.Server
		domain, secret, theirs string
	}{
		{n.Prosody, "cp.example", "pr0s0dy", "p1.example"},
		{n.Ejabberd, "ce.example", "ejabb3rd", "e1.example"},
	} {
		t.Run(c.theirs, func(t *testing.T) {
			g := newLinked(t, c.domain, componentLinks(c.server, c.domain, c.secret, c.theirs)...)
			again := func() *contact { return meet(t, g.xmpp(), "ann@"+c.domain+"/again") }
			ann, alice := meet(t, g.xmpp(), "ann@"+c.domain+"/a"), meet(t, c.server.C2S, "alice@"+c.theirs+"/a")
			ann.says(alice, "from the gateway")
			alice.says(ann, "from the server")
			alice.pings(c.domain)
			ann.pings(c.theirs)
			ann.refused("nobody@"+c.theirs, stanza.ServiceUnavailable)
			alice.refused("nobody@"+c.domain, stanza.ServiceUnavailable)
			for i, smtp := range []bool{true, false} {
				text := []string{"by SMTP", "by HTTP"}[i]
				g.injects(smtp, "news@corp.example", alice.bare(), text)
				if st := alice.message(text); st.From.String() != `news\40corp.example@mail.`+c.domain || st.ID == "" {
					t.Errorf("an MCMT message came as %s", st.Element)
				}
			}
			befriend(ann, alice, again)

			// A domain that the link does not lead to has no Jabber users: it gets mail.
			if err := inject(t.Context(), g, true, "x@elsewhere.example", "x"); err != nil {
				t.Error(err)
			}
			g.eventually("it goes as mail", func() bool { return metricsOf(t, g)[`mcmt2xmpp_mail_total{outcome="relayed"}`] == 1 })
			restartLinked(t, g, c.server, alice, c.server == n.Prosody)
		})
	}
}

// restartLinked stops the server of a link: what is sent meanwhile waits with the
// reason, and arrives, in order where the server keeps it.
func restartLinked(t *testing.T, g *gateway, s *peertest.Server, alice *contact, ordered bool) {
	t.Helper()
	alice.leave()
	s.Stop()
	texts := []string{"1", "2", "3"}
	for _, text := range texts {
		g.injects(false, "news@corp.example", alice.bare(), text)
	}
	g.linkFails("far", "tcp", "refused")
	g.remains(alice.c.JID().Domain(), admin.Deferred, len(texts), "refused")
	s.Start()
	g.eventually("an empty queue", func() bool { return len(g.routes()) == 0 })
	// COMPAT ejabberd 23: what comes while somebody logs in is stored, and stays there
	// until the next login.
	got := newInbox()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for ctx.Err() == nil && slices.ContainsFunc(texts, func(text string) bool { return !got.has(text) }) {
		visit, leave := context.WithTimeout(ctx, 3*time.Second)
		got.stay(visit, func() string { return s.C2S }, alice.bare())
		leave()
	}
	if !ordered {
		slices.Sort(got.bodies) // for the same reason
	}
	if !slices.Equal(got.bodies, texts) {
		t.Errorf("%s has %q, want %q", alice.bare(), got.bodies, texts)
	}
}

// TestComponentLinkRefused: a wrong secret is told to the operator as what it is
// (XEP-0114 §3), and messages wait.
func TestComponentLinkRefused(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Prosody:  append(components("cp.example", "right"), peertest.Domain{Name: "p1.example"}),
		Ejabberd: append(components("ce.example", "right"), peertest.Domain{Name: "e1.example"}),
	})
	for _, c := range []struct {
		server         *peertest.Server
		domain, theirs string
	}{{n.Prosody, "cp.example", "p1.example"}, {n.Ejabberd, "ce.example", "e1.example"}} {
		g := newLinked(t, c.domain, componentLinks(c.server, c.domain, "wrong", c.theirs)...)
		g.injects(true, "news@corp.example", "alice@"+c.theirs, "waits")
		g.linkFails("far", "handshake", "not-authorized")
		g.remains(c.theirs, admin.Deferred, 1)
		g.stop()
		// The right one, and what has waited arrives.
		alice := meet(t, c.server.C2S, "alice@"+c.theirs+"/a")
		for range 2 {
			g.replace(`"wrong"`, `"right"`)
		}
		g.start()
		alice.message("waits")
	}
}
