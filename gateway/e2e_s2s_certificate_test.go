package main

import (
	"testing"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
)

// TestServerCertificates: with tls_verify = "ca" a certificate has to be signed and
// to hold, with "host" to name the domain too; the operator sees what is wrong with
// one (RFC 6120 §13.7.2, RFC 5280 §6.1).
func TestServerCertificates(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Mode: peertest.Certs,
		Prosody: []peertest.Domain{
			{Name: "good.example"},
			{Name: "expired.example", Certificate: peertest.Expired},
			{Name: "selfsigned.example", Certificate: peertest.SelfSigned},
			{Name: "ca.example", Certificate: peertest.WrongName},
			{Name: "host.example", Certificate: peertest.WrongName},
		},
		Others: [][]string{others(ours)},
	})
	g := newServer(t, n, ours, certified(n, peertest.Valid, ours)+`
tls = required
tls_verify = ca
domain good.example { tls_verify = host }
domain host.example { xmpp_role = client tls_verify = host }
`+clients("expired.example", "selfsigned.example"))
	ann := meet(t, g.xmpp(), "ann@"+ours+"/a")
	people := make(map[string]*contact)
	for _, domain := range []string{"good", "expired", "selfsigned", "ca", "host"} {
		people[domain] = meet(t, n.Prosody.C2S, "alice@"+domain+".example/a")
	}
	ann.says(people["good"], "verified")
	people["good"].says(ann, "and back")
	g.connected("good.example", "EXTERNAL", true)
	ann.says(people["ca"], "signed") // and no more is asked for on the way out

	for _, c := range []struct{ domain, word string }{
		{"expired", "expired"},
		{"selfsigned", "self-signed"},
		{"host", "wrong.example"}, // whom it is for
	} {
		alice := people[c.domain]
		g.injects(true, "news@corp.example", alice.bare(), "out")
		g.fails(c.domain+".example", "certificate", c.word)
		g.remains(c.domain+".example", admin.Deferred, 1, "certificate", c.word)
	}
	// None of them proves its domain to us either: the peer has no dialback.
	for _, domain := range []string{"expired", "selfsigned", "ca", "host"} {
		alice := people[domain]
		alice.send(`<message xmlns='jabber:client' type='chat' to='%s' id='in'><body>in</body></message>`, ann.full())
		st := alice.gets("an error", func(st *stanza.Stanza) bool { return st.Kind == stanza.Message && st.ID == "in" })
		if st.Type != stanza.TypeError {
			t.Errorf("%s has %s", domain, st.Element)
		}
	}
	ann.says(people["good"], "last")
	people["good"].says(ann, "nothing else came") // message checks that it is the next
}

// TestOurCertificate: a peer that wants certificates and does not get a good one of
// ours refuses us, and the operator sees what it says.
func TestOurCertificate(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Mode:     peertest.Certs,
		Prosody:  []peertest.Domain{{Name: "p1.example"}},
		Ejabberd: []peertest.Domain{{Name: "e1.example"}},
		Others:   [][]string{others("expired.example"), others("self.example"), others("name.example")},
	})
	for _, c := range []struct {
		domain string
		kind   peertest.Certificate
		says   string // of our certificate, Prosody
	}{
		{"expired.example", peertest.Expired, "has expired"},
		{"self.example", peertest.SelfSigned, "is not trusted"},
		{"name.example", peertest.WrongName, "is not valid for this name"},
	} {
		g := newServer(t, n, c.domain, certified(n, c.kind, c.domain)+clients("p1.example", "e1.example"))
		for _, peer := range []struct {
			domain, step string
			words        []string
		}{
			{"p1.example", "stream", []string{"not-authorized", c.says}}, // before any features
			{"e1.example", "dialback", []string{"not-authorized"}},       // which is tried when EXTERNAL is refused
		} {
			g.injects(false, "ann@"+c.domain, "alice@"+peer.domain, "refused")
			g.fails(peer.domain, peer.step, peer.words...)
			g.remains(peer.domain, admin.Deferred, 1, append(peer.words, peer.step)...)
		}
		g.stop()
	}
}
