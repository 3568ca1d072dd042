package main

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt/mailtest"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/peertest"
)

// mails sends a mail as somebody's mail program does.
func mails(t *testing.T, g *gateway, from, to, fields, text string) {
	t.Helper()
	raw := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\n%s\r\n%s\r\n", from, to, fields, text)
	if _, err := relay.Submit(t.Context(), g.smtp(), from, []string{to}, []byte(raw)); err != nil {
		t.Fatalf("%s writes to %s: %v", from, to, err)
	}
}

// answerTo are the fields of a mail that answers another (RFC 5322 §3.6.4).
func answerTo(m mailtest.Mail, id string) string {
	msgID := m.Header.Get("Message-ID")
	return fmt.Sprintf("Subject: Re: %s\r\nMessage-ID: <%s>\r\nIn-Reply-To: %s\r\nReferences: %s\r\n", m.Header.Get("Subject"), id, msgID,
		strings.TrimSpace(m.Header.Get("References")+" "+msgID))
}

// TestMailRoundTrip: a mail reaches a user of a server that nobody here wrote, whose client
// answers; the answer is a mail that refers to the first, and what answers that is in the
// same thread in Jabber.
func TestMailRoundTrip(t *testing.T) {
	t.Parallel()
	mx := mailtest.Start(t)
	n := peertest.Start(t, peertest.Options{
		Prosody:  []peertest.Domain{{Name: "p1.example"}},
		Ejabberd: []peertest.Domain{{Name: "e1.example"}},
		Others:   [][]string{others(ours)},
	})
	g := newServer(t, n, ours, certified(n, peertest.SelfSigned, ours)+clients("p1.example", "e1.example")+fmt.Sprintf("relay { gateway = %q }\n", mx.Addr))
	for domain, server := range map[string]*peertest.Server{"p1.example": n.Prosody, "e1.example": n.Ejabberd} {
		t.Run(domain, func(t *testing.T) {
			g.within(t)
			alice := runSlixmpp(t, "slixmpp_mail.py", server.C2S, "alice@"+domain+"/desk", peertest.Password)
			alice.wait("online")
			bob, first := "bob@"+strings.TrimSuffix(domain, ".example")+".corp.example", "first-"+domain+"@corp.example"
			mails(t, g, bob, "alice@"+domain, "Subject: Lunch?\r\nMessage-ID: <"+first+">\r\n", "At noon?")
			came := alice.wait("message")
			if came.Thread != first || came.Subject != "Lunch?" || strings.TrimSpace(came.Body) != "At noon?" || !strings.HasPrefix(came.From, `bob\40`) {
				t.Errorf("the mail came as %+v", came)
			}
			alice.do(map[string]any{"do": "reply", "body": "Noon is fine – grüße"})
			answer := one(t, mx, bob)
			if refs := answer.Header.Get("References"); answer.Header.Get("In-Reply-To") != "<"+first+">" || !strings.Contains(refs, "<"+first+">") ||
				answer.Header.Get("From") != "alice@"+domain || decoded(t, answer) != "Noon is fine – grüße" {
				t.Errorf("the answer is %s", answer.Raw)
			}
			mails(t, g, bob, "alice@"+domain, answerTo(answer, "second-"+first), "Good.")
			if again := alice.wait("message"); again.Thread != first || strings.TrimSpace(again.Body) != "Good." {
				t.Errorf("the answer to the answer came as %+v", again)
			}
		})
	}
}
