package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// farDomain is that of a far server which fails in one way.
type farDomain struct {
	name   string
	talk   func(c *farStream) error // nil: nobody listens
	config string                   // of the domain
	step   string
	words  []string // in the reason
}

// TestServerFailures: whatever a server does wrong, the operator sees at which step
// and why, the message waits, and domains that work are not delayed.
func TestServerFailures(t *testing.T) {
	t.Parallel()
	var cert tls.Certificate
	domains := failing(&cert)
	o := peertest.Options{Others: [][]string{others(ours), {"good.example"}}}
	var text strings.Builder
	text.WriteString(clients("good.example"))
	for _, d := range domains {
		o.Others = append(o.Others, []string{d.name})
		text.WriteString("domain " + d.name + " { xmpp_role = client " + d.config + " }\n")
	}
	n := peertest.Start(t, o)
	file := n.CA.Issue(peertest.SelfSigned, "selfsigned.example")
	var err error
	if cert, err = tls.LoadX509KeyPair(file, file); err != nil {
		t.Fatal(err)
	}
	for _, d := range domains {
		if d.talk != nil {
			newFar(t, n.Addr(d.name), d.talk)
		}
	}
	g := newServer(t, n, ours, text.String())
	took := make(chan string, 16)
	newFar(t, n.Addr("good.example"), takes(func(st *stanza.Stanza) error { took <- bodyOf(st); return nil }))
	for _, d := range domains {
		g.injects(false, "news@corp.example", "bob@"+d.name, "hello "+d.name)
	}
	g.injects(false, "news@corp.example", "bob@good.example", "hello")
	select {
	case got := <-took:
		if got != "hello" {
			t.Errorf("the good domain took %q", got)
		}
	case <-time.After(patience):
		t.Error("the good domain has to wait")
	}
	for _, d := range domains {
		if g.fails(d.name, d.step, d.words...) {
			g.remains(d.name, admin.Deferred, 1, append([]string{d.step}, d.words...)...)
		}
	}
}

// failing are domains whose servers fail, each in its way. One shows a certificate
// that is not yet there.
func failing(cert *tls.Certificate) []farDomain {
	return []farDomain{
		{name: "refused.example", step: "tcp", words: []string{"refused"}},
		{name: "silent.example", step: "stream", words: nil,
			talk: (*farStream).listen},
		{name: "closes.example", step: "stream", words: nil,
			talk: func(c *farStream) error { _, err := c.conn.Read(make([]byte, 1)); return err }},
		{name: "http.example", step: "stream", words: nil,
			talk: func(c *farStream) error { return c.send("HTTP/1.1 400 Bad Request\r\n\r\n") }},
		{name: "unknown.example", step: "stream", words: []string{"host-unknown"}, // in place of features
			talk: func(c *farStream) error { return errors.Join(c.open(), c.send(hostUnknown)) }},
		{name: "late.example", step: "dialback", words: []string{"host-unknown"}, // in place of a verdict
			talk: func(c *farStream) error { return errors.Join(c.greet(withDialback), c.send(hostUnknown)) }},
		{name: "cleartext.example", step: "tls", words: nil, config: "tls = required",
			talk: func(c *farStream) error { return errors.Join(c.greet(withDialback), c.listen()) }},
		{name: "garbage.example", step: "tls", words: nil,
			talk: func(c *farStream) error {
				if err := c.greet(withTLS + withDialback); err != nil {
					return err
				}
				if _, err := c.next(); err != nil {
					return err
				}
				return c.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>this is no handshake")
			}},
		{name: "selfsigned.example", step: "certificate", words: []string{"self-signed"}, config: "tls_verify = ca",
			talk: func(c *farStream) error {
				if err := c.greet(withTLS + withDialback); err != nil {
					return err
				}
				if err := c.proceed(*cert); err != nil {
					return err
				}
				return errors.Join(c.greet(withDialback), c.listen())
			}},
		{name: "invalid.example", step: "dialback", words: []string{"invalid"}, // XEP-0220 §2.1.1
			talk: verdict("invalid", "")},
		{name: "error.example", step: "dialback", words: []string{"remote-server-timeout"}, // XEP-0220 §2.5
			talk: verdict("error", "<error type='cancel'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>")},
		{name: "mute.example", step: "dialback", words: []string{"verdict"}, // nothing answers a key
			talk: func(c *farStream) error { return errors.Join(c.greet(""), c.listen()) }},
	}
}

// RFC 6120 §4.9.3.6.
const hostUnknown = "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"

const withTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"

// listen reads to the end and says nothing.
func (c *farStream) listen() error {
	_, err := io.Copy(io.Discard, c.conn)
	return err
}

// proceed takes <starttls/> and does the handshake.
func (c *farStream) proceed(cert tls.Certificate) error {
	e, err := c.next()
	if err != nil {
		return err
	}
	if e.Name.Local != "starttls" {
		return fmt.Errorf("no starttls but %s", e)
	}
	if err := c.send("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
		return err
	}
	c.conn = tls.Server(c.conn, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	return nil
}

// verdict is a talk that answers the first key with a type.
func verdict(typ, inner string) func(c *farStream) error {
	return func(c *farStream) error {
		if err := c.greet(withDialback); err != nil {
			return err
		}
		e, err := c.next()
		for ; err == nil && e.Name != (xmlwire.Name{Space: nsDialback, Local: "result"}); e, err = c.next() {
		}
		if err != nil {
			return err
		}
		return c.dialback(e, typ, inner)
	}
}

// TestServerNotFound: what the DNS says for good ends a message, what may pass has it
// wait (RFC 6120 §3.2.1, RFC 2782).
func TestServerNotFound(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Others:  [][]string{others(ours)},
		Records: []string{"_xmpp-server._tcp.no.example SRV 0 0 0 .", "no.example A 127.0.0.1", "broken.example SERVFAIL"},
	})
	forGood := []string{"nowhere.example", "no.example"}
	g := newServer(t, n, ours, clients(forGood...)+clients("broken.example"))
	for _, domain := range forGood {
		g.injects(false, "news@corp.example", "bob@"+domain, "hello")
		g.fails(domain, "dns", domain)
		g.remains(domain, admin.Dead, 1, "remote-server-not-found", domain)
	}
	g.injects(false, "news@corp.example", "bob@broken.example", "hello")
	g.remains("broken.example", admin.Deferred, 1)
	g.fails("broken.example", "dns", "broken.example")
	ann := meet(t, g.xmpp(), "ann@"+ours+"/a")
	for _, domain := range append(forGood, "nobody.example") { // that nobody has yet tried
		ann.refused("bob@"+domain, stanza.RemoteServerNotFound) // RFC 6120 §10.4.3, §8.3.3.16
	}
}

// TestServersDenied: with s2s_default = "deny" only the domains that have a role are
// talked to, in either direction.
func TestServersDenied(t *testing.T) {
	t.Parallel()
	n := peertest.Start(t, peertest.Options{
		Prosody: []peertest.Domain{{Name: "p1.example"}, {Name: "p2.example"}}, Others: [][]string{others(ours)},
	})
	g := newServer(t, n, ours, certified(n, peertest.SelfSigned, ours)+`
s2s_default = deny
domain "#xmpp#p1.example" { XMPP_Role = "client" }
`)
	ann := meet(t, g.xmpp(), "ann@"+ours+"/a")
	allowed, denied := meet(t, n.Prosody.C2S, "alice@p1.example/a"), meet(t, n.Prosody.C2S, "alice@p2.example/a")
	ann.says(allowed, "to a client")
	ann.refused(denied.full(), stanza.NotAllowed)
	// For who may relay the address is one of mail; by Jabber nothing goes there.
	if err := inject(t.Context(), g, true, denied.bare(), "x"); err != nil {
		t.Error(err)
	}
	g.eventually("it goes as mail", func() bool { return metricsOf(t, g)[`mcmt2xmpp_mail_total{outcome="relayed"}`] == 1 })
	// What Prosody makes of our refusal is its affair; that there is an error is not.
	denied.send(`<message xmlns='jabber:client' type='chat' to='%s' id='in'><body>in</body></message>`, ann.full())
	st := denied.gets("an error", func(st *stanza.Stanza) bool { return st.Kind == stanza.Message && st.ID == "in" })
	if st.Type != stanza.TypeError {
		t.Errorf("a denied domain has %s", st.Element)
	}
	g.logged(0, "refused", "p2.example")
}
