package main

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// mailer is an SMTP client that says what it likes.
type mailer struct {
	t    *testing.T
	conn net.Conn
	text *textproto.Conn
}

// dialSMTP connects and reads the greeting.
func dialSMTP(t *testing.T, addr string) *mailer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	m := &mailer{t, conn, textproto.NewConn(conn)}
	t.Cleanup(func() { _ = m.conn.Close() })
	m.want("220")
	return m
}

// want checks how the next reply begins.
func (m *mailer) want(prefix string) {
	m.t.Helper()
	code, text, err := m.text.ReadResponse(0)
	if err != nil && code == 0 {
		m.t.Fatalf("want a reply %s, got %v", prefix, err)
	}
	if got := fmt.Sprint(code, " ", text); !strings.HasPrefix(got, prefix) {
		m.t.Fatalf("want a reply %s, got %s", prefix, got)
	}
}

// say sends a line and checks the reply.
func (m *mailer) say(line, prefix string) {
	m.t.Helper()
	if err := m.text.PrintfLine("%s", line); err != nil {
		m.t.Fatal(err)
	}
	m.want(prefix)
}

func (m *mailer) startTLS() {
	m.t.Helper()
	m.say("EHLO client.example", "250")
	m.say("STARTTLS", "220")
	m.conn = tls.Client(m.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12})
	m.text = textproto.NewConn(m.conn)
	m.say("EHLO client.example", "250")
}

// mail sends one message and returns after its 250.
func (m *mailer) mail(from, to, raw string) {
	m.t.Helper()
	m.say("MAIL FROM:<"+from+">", "250")
	m.say("RCPT TO:<"+to+">", "250")
	m.say("DATA", "354")
	w := m.text.DotWriter()
	if _, err := w.Write([]byte(raw)); err != nil {
		m.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.want("250 2.0.0")
}

// TestSenders: a sender address in a domain of ours takes a login or a peer in
// relay_hosts; others are free (SPEC 5).
func TestSenders(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, xmppOnly+`
xmpp_listener { listen "127.0.0.1:0" {} }
esmtp_listener { mcmt_reception = "allow"
  listen "127.0.0.1:0" {}
  listen "127.0.3.1:0" { relay_hosts = ( "192.0.2.0/24" ) }
  listen "127.0.3.2:0" { peer "127.0.0.0/8" { relay_hosts = ( "192.0.2.0/24" ) } }
}
recipient_map "international" { match = "\+(\d{6,15})@sms\.example" jid = "n${1}@localhost" }
recipient_map "short" { match = "(?P<code>\d{4,5})@sms\.example" jid = "$code@localhost" }
`)
	g.start()
	for _, u := range []string{"alice", "bob", "n4915112345678", "80080"} {
		g.addUser(u+"@localhost", "secret")
	}
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	const mail = "From: a\r\nSubject: s\r\n\r\nhello\r\n"

	for _, host := range []string{"127.0.3.1", "127.0.3.2"} {
		m := dialSMTP(t, g.on(host))
		m.say("EHLO client.example", "250")
		m.say("MAIL FROM:<alice@localhost>", "550 5.7.1")
		m.say("MAIL FROM:<alice@mail.localhost>", "550 5.7.1") // the mail gateway is ours too
		m.mail("someone@corp.example", "bob@localhost", mail)
		bob.want("hello")
		// A login by each mechanism.
		for _, auth := range []func(*mailer){
			func(m *mailer) {
				m.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00alice@localhost\x00secret")), "235")
			},
			func(m *mailer) {
				m.say("AUTH LOGIN", "334")
				m.say(base64.StdEncoding.EncodeToString([]byte("alice@localhost")), "334")
				m.say(base64.StdEncoding.EncodeToString([]byte("secret")), "235")
			},
		} {
			m := dialSMTP(t, g.on(host))
			m.startTLS()
			m.say("MAIL FROM:<alice@localhost>", "550 5.7.1")
			auth(m)
			m.mail("alice@localhost", "bob@localhost", mail)
			if st := bob.want("hello"); st.From.Bare().String() != "alice@localhost" {
				t.Errorf("from %s, want alice@localhost: the domain is ours", st.From)
			}
		}
		m = dialSMTP(t, g.on(host))
		m.startTLS()
		m.say("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00alice@localhost\x00guess")), "535 5.7.8")
		m.say("MAIL FROM:<alice@localhost>", "550 5.7.1")
	}
	// A peer in relay_hosts is trusted; by default that is this machine.
	m := dialSMTP(t, g.smtp())
	m.say("EHLO client.example", "250")
	m.mail("alice@localhost", "bob@localhost", mail)
	bob.want("hello")

	// Phone numbers (SPEC 6).
	phone, short := login(t, g.xmpp(), "n4915112345678@localhost/p", 0), login(t, g.xmpp(), "80080@localhost/p", 0)
	m.mail("someone@corp.example", "+4915112345678@sms.example", mail)
	phone.want("hello")
	m.mail("someone@corp.example", "80080@sms.example", mail)
	short.want("hello")
	m.say("MAIL FROM:<someone@corp.example>", "250")
	m.say("RCPT TO:<+49151@mail.localhost>", "550 5.1.2")      // too short for any map, and the domain is ours
	m.say("RCPT TO:<+4915100000000@sms.example>", "550 5.1.1") // mapped to nobody
}
