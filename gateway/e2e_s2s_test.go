package main

import (
	"testing"

	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
)

const ours = "gw.example"

// TestServers: with servers that nobody here wrote messages, IQs and presence go both
// ways, and MCMT messages to their users, however servers prove who they are.
func TestServers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode   peertest.Mode
		method string // as the operator sees it
		peer   string // as ejabberd logs it
		config func(n *peertest.Network) string
	}{
		{peertest.Dialback, "dialback", "(tls|", func(n *peertest.Network) string { return certified(n, peertest.SelfSigned, ours) }},
		{peertest.Plain, "dialback", "(tcp|", func(*peertest.Network) string { return "tls = no\n" }},
		{peertest.Certs, "EXTERNAL", "(tls|", func(n *peertest.Network) string {
			return certified(n, peertest.Valid, ours) + "tls = required\ntls_verify = host\n"
		}},
	} {
		t.Run(c.mode.String(), func(t *testing.T) {
			t.Parallel()
			n := peertest.Start(t, peertest.Options{
				Mode:     c.mode,
				Prosody:  []peertest.Domain{{Name: "p1.example"}, {Name: "p2.example"}},
				Ejabberd: []peertest.Domain{{Name: "e1.example"}},
				Others:   [][]string{others(ours)},
			})
			g := newServer(t, n, ours, c.config(n)+clients("p1.example", "e1.example"))
			t.Run("prosody", func(t *testing.T) { converse(t, g, n.Prosody, "p1.example") })
			t.Run("ejabberd", func(t *testing.T) { converse(t, g, n.Ejabberd, "e1.example") })
			// Domains of one server share streams, or have their own: XEP-0220 §2.6.
			t.Run("second domain", func(t *testing.T) {
				ann, bob := meet(t, g.xmpp(), "ann@"+ours+"/second"), meet(t, n.Prosody.C2S, "bob@p2.example/b")
				ann.says(bob, "there")
				bob.says(ann, "and back")
			})
			encrypted := c.mode != peertest.Plain
			g.connected("p1.example", c.method, encrypted)
			g.connected("e1.example", c.method, encrypted)
			n.Ejabberd.Logged(c.peer, "Accepted inbound s2s "+c.method+" authentication "+ours+" -> e1.example")
			n.Ejabberd.Logged(c.peer, "Accepted outbound s2s "+c.method+" authentication e1.example -> "+ours)
		})
	}
}

// converse has people of the gateway and of a peer do all that they do.
func converse(t *testing.T, g *gateway, s *peertest.Server, domain string) {
	g.within(t)
	ann := meet(t, g.xmpp(), "ann@"+ours+"/"+domain)
	alice := meet(t, s.C2S, "alice@"+domain+"/a")
	// Each side begins a conversation once: there is no stream yet.
	ann.says(alice, "from the gateway")
	alice.says(ann, "from the peer")
	ann.pings(domain)
	alice.pings(ours)
	ann.refused("nobody@"+domain, stanza.ServiceUnavailable)
	alice.refused("nobody@"+ours, stanza.ServiceUnavailable)

	for i, smtp := range []bool{true, false} {
		text := []string{"by SMTP", "by HTTP"}[i]
		g.injects(smtp, "news@corp.example", alice.bare(), text)
		if st := alice.message(text); st.From.String() != `news\40corp.example@mail.`+ours || st.ID == "" {
			t.Errorf("an MCMT message came as %s", st.Element)
		}
		g.injects(smtp, "ann@"+ours, alice.bare(), "of ann "+text)
		if st := alice.message("of ann " + text); st.From.Bare().String() != ann.bare() {
			t.Errorf("a message of one of ours came as %s", st.Element)
		}
	}

	befriend(ann, alice, func() *contact { return meet(t, g.xmpp(), "ann@"+ours+"/again") })
	befriend(alice, meet(t, g.xmpp(), "ann@"+ours+"/other"), func() *contact { return meet(t, s.C2S, "alice@"+domain+"/again") })
}

// TestServerOnly: a certificate that is for servers only, as public authorities issue
// them, proves a domain in both directions (XEP-0178 §3); where the peer does not take
// it from a client, dialback does (COMPAT ejabberd 23).
func TestServerOnly(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		mode           peertest.Mode
		method         string
		ejabberd       bool
		inbound, tells string
	}{
		{"prosody", peertest.Certs, "EXTERNAL", false, "", ""},
		{"ejabberd", peertest.Dialback, "dialback", true, "Failed inbound s2s EXTERNAL authentication", "unsupported certificate purpose"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			peer := []peertest.Domain{{Name: "peer.example", Certificate: peertest.ServerOnly}}
			o := peertest.Options{Mode: c.mode, Prosody: peer, Others: [][]string{others(ours)}}
			if c.ejabberd {
				o.Prosody, o.Ejabberd = nil, peer
			}
			n := peertest.Start(t, o)
			server := n.Prosody
			if c.ejabberd {
				server = n.Ejabberd
			}
			g := newServer(t, n, ours, certified(n, peertest.ServerOnly, ours)+"tls_verify = host\n")
			ann, alice := meet(t, g.xmpp(), "ann@"+ours+"/a"), meet(t, server.C2S, "alice@peer.example/a")
			ann.says(alice, "out")
			alice.says(ann, "in")
			g.connected("peer.example", c.method, true)
			if c.ejabberd {
				server.Logged(c.inbound, ours+" -> peer.example", c.tells)
				server.Logged("Accepted outbound s2s EXTERNAL authentication peer.example -> " + ours)
			} else {
				server.Logged("Accepting SASL EXTERNAL identity from " + ours)
			}
		})
	}
}

// TestDirectTLS: a domain whose only port has TLS from the first byte is reached
// (XEP-0368), and a peer reaches ours.
func TestDirectTLS(t *testing.T) {
	t.Parallel()
	direct := peertest.Reserve(t)
	n := peertest.Start(t, peertest.Options{
		Prosody: []peertest.Domain{{Name: "p1.example", DirectTLS: true}},
		Others:  [][]string{others(ours)},
		Records: []string{"_xmpps-server._tcp." + ours + " SRV 0 5 " + direct[len("127.0.0.1:"):] + " localhost"}, // before the other port
	})
	g := newServer(t, n, ours, certified(n, peertest.SelfSigned, ours)+
		"xmpp_listener direct { Listen \""+direct+"\" { stream = server use_ssl = true } }\n")
	ann, alice := meet(t, g.xmpp(), "ann@"+ours+"/a"), meet(t, n.Prosody.C2S, "alice@p1.example/a")
	alice.says(ann, "in")
	ann.says(alice, "out")
	n.Prosody.Logged("Next target to try is " + direct)
	g.connected("p1.example", "dialback", true)
}

// TestBidirectional: on a stream in both directions a peer that cannot reach us is
// answered (XEP-0288).
func TestBidirectional(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Mode: peertest.Certs, Bidi: true, Prosody: []peertest.Domain{{Name: "p1.example"}}, Others: [][]string{others(ours)},
	})
	g := newServer(t, n, ours, certified(n, peertest.Valid, ours))
	n.Hide(t, ours)
	ann, alice := meet(t, g.xmpp(), "ann@"+ours+"/a"), meet(t, n.Prosody.C2S, "alice@p1.example/a")
	ann.says(alice, "on our stream")
	alice.says(ann, "on the same")
}
