package main

import (
	"fmt"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/convert"
	"mcmt2xmpp/mcmt/mailtest"
	"mcmt2xmpp/xmpp/peertest"
	"mcmt2xmpp/xmpp/stanza"
)

// respond answers every mail to an address with one whose fields are made of it, until
// nothing more will come.
func respond(t *testing.T, g *gateway, mx *mailtest.Server, address, to string, fields func(m mailtest.Mail, id string) string, over func() bool) {
	t.Helper()
	answered := 0
	g.eventually("the end of the loop", func() bool {
		for all := mx.Mailbox(address); answered < len(all); answered++ {
			id := fmt.Sprintf("answer-%d-%s", answered, address)
			mails(t, g, address, to, fields(all[answered], id), fmt.Sprintf("I am away, too. (%d)", answered))
		}
		if answered > 2*convert.MaxHops {
			t.Fatalf("%d answers to answers, and no end", answered)
		}
		return over()
	})
}

// TestMailLoopResponders: a program that answers every message in Jabber and one that
// answers every mail stop: at once where a mail says that no person has written it, after
// 20 mails where it refers to what it answers, and by a filter where it says neither.
func TestMailLoopResponders(t *testing.T) {
	t.Parallel()
	const filter = `filter "silent" { type = "rate" rate = "5/3600" action = "drop" direction = "out" domains = ( "silent.example" ) }`
	g, mx := newMailGateway(t, filter)
	all := 0.0
	inReplyTo := func(m mailtest.Mail, id string) string {
		return "Subject: Out of office\r\nMessage-ID: <" + id + ">\r\nIn-Reply-To: " + m.Header.Get("Message-ID") + "\r\n"
	}
	for _, c := range []struct {
		name    string
		fields  func(m mailtest.Mail, id string) string
		want    int
		because string // is said to the program in Jabber; empty: nothing is
	}{
		{"automatic", func(m mailtest.Mail, id string) string { return answerTo(m, id) + "Auto-Submitted: auto-replied\r\n" }, 1, "this answers an automatic mail"},
		{"older", func(m mailtest.Mail, id string) string { return answerTo(m, id) + "Precedence: junk\r\n" }, 1, "this answers an automatic mail"},
		{"references", answerTo, convert.MaxHops, "20 answers to answers"},
		{"reply", inReplyTo, convert.MaxHops, "20 answers to answers"},
		{"silent", func(_ mailtest.Mail, id string) string {
			return "Subject: Out of office\r\nMessage-ID: <" + id + ">\r\n"
		}, 5, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.within(t)
			user, address := c.name+"@localhost", "bob@"+c.name+".example"
			g.addUser(user, "secret")
			bot := runSlixmpp(t, "slixmpp_mail.py", g.xmpp(), user+"/bot", "secret", "--bot")
			bot.wait("online")
			mails(t, g, address, user, "Subject: Are you there?\r\nMessage-ID: <first@"+c.name+".example>\r\n", "Hello!")
			var refused []slixmppEvent
			respond(t, g, mx, address, user, c.fields, func() bool {
				select {
				case e, ok := <-bot.events:
					if !ok {
						t.Fatal("the program in Jabber has ended")
					}
					if e.Event == "refused" {
						refused = append(refused, e)
					}
				default:
				}
				return len(refused) > 0 || c.because == "" && mailsSaved(g) > 0
			})
			// On a busy machine an answer may be as late as a person's.
			n := len(mx.Mailbox(address))
			if n < c.want || n > c.want+2 {
				t.Errorf("%d mails, want %d", n, c.want)
			}
			all += float64(n)
			if c.because != "" && !strings.Contains(refused[0].Body, c.because) {
				t.Errorf("the program in Jabber hears %q", refused[0].Body)
			}
		})
	}
	g.eventually("all mails are sent", func() bool { return metric(t, g, `mail_total{outcome="relayed"}`) == all })
}

// told returns the notification that a Jabber user gets of a mail of his.
func told(t *testing.T, j *jabber) *stanza.Stanza {
	t.Helper()
	for {
		if st := j.next(); strings.Contains(bodyOf(st), "could not be delivered") {
			return st
		}
	}
}

// TestMailLoopFallback: mail that the fallback sends and that comes back, by a smart host
// that is ourselves or by another gateway whose fallback we are, stops after 50 trace
// fields, of which each round adds two, and its author hears of it.
func TestMailLoopFallback(t *testing.T) {
	t.Parallel()
	const fallback = "fallback = email\nfallback_after = 0\n"
	for _, c := range []struct {
		name     string
		gateways int
	}{{"ourselves", 1}, {"each other", 2}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var addrs []string
			for range c.gateways {
				addrs = append(addrs, peertest.Reserve(t))
			}
			var all []*gateway
			for i, addr := range addrs {
				g := newGatewayOf(t, facing("a.example", addr, addrs[(i+1)%len(addrs)], fallback))
				g.start()
				g.addUser("alice@a.example", "secret")
				g.addUser("ann@a.example", "secret")
				all = append(all, g)
			}
			ann := login(t, all[0].xmpp(), "ann@a.example/desk", 0)
			all[0].injects(true, "ann@a.example", "alice@a.example", "where are you?")
			st := told(t, ann)
			if !strings.Contains(bodyOf(st), "loop") {
				t.Errorf("ann hears %q", bodyOf(st))
			}
			sent := 0.0
			for _, g := range all {
				g.eventually("nothing is left", func() bool { return metric(t, g, "parked_messages") == 0 && metric(t, g, "mail_parked_messages") == 0 })
				sent += metric(t, g, `mail_total{outcome="relayed"}`)
			}
			if sent < 2 || sent > 27 {
				t.Errorf("%v mails", sent)
			}
			t.Logf("%v mails", sent)
		})
	}
}
