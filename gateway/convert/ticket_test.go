package convert

import (
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

var tickets = Tickets{Key: []byte("0123456789abcdef")}

// asking is a message of bob's that asks for a receipt.
func asking(id string) *stanza.Stanza {
	st := stanza.NewMessage(jid.MustParse(`alice\\40other.example@mail.jabber.example`), jid.MustParse("bob@jabber.example/desk"), stanza.TypeChat, "hello")
	st.ID = id
	st.Element.Add(xmlwire.New(receiptRequest.Space, receiptRequest.Local))
	return st
}

// reporting is the notification of a mail server.
func reporting(ticket, original, final, action string) string {
	return "From: MAILER-DAEMON@other.example\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n" +
		"--b\r\nContent-Type: text/plain\r\n\r\nit is there\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" +
		"Reporting-MTA: dns; other.example\r\nOriginal-Envelope-Id: " + ticket + "\r\n\r\n" +
		"Original-Recipient: rfc822;" + original + "\r\nFinal-Recipient: rfc822;" + final + "\r\nAction: " + action + "\r\n--b--\r\n"
}

// TestTicket: who is asked for a receipt, and how.
func TestTicket(t *testing.T) {
	t.Parallel()
	plain := asking("m1")
	plain.Element.Children = plain.Element.Children[:1]
	room := asking("m1")
	room.Type = stanza.TypeGroupchat
	for _, tt := range []struct {
		name string
		t    Tickets
		st   *stanza.Stanza
		want bool
	}{
		{"asks", tickets, asking("m1"), true},
		{"id of any characters", tickets, asking("<ä & ö> \\u0000"), true},
		{"longest id", tickets, asking(strings.Repeat("x", 50)), true},
		{"longer id", tickets, asking(strings.Repeat("x", 51)), false},
		{"does not ask", tickets, plain, false},
		{"no id", tickets, asking(""), false},
		{"room", tickets, room, false},
		{"no key", Tickets{}, asking("m1"), false},
	} {
		got := tt.t.Of(tt.st, "alice@other.example")
		if (got != "") != tt.want || len(got) > maxEnvelopeID || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' || r == '+' || r == '=' }) {
			t.Errorf("%s: %q", tt.name, got)
		}
		if id, ok := tt.t.id(strings.ToUpper(got[:min(2, len(got))])+got[min(2, len(got)):], jid.MustParse("bob@jabber.example"), "ALICE@other.example"); ok && id != tt.st.ID {
			t.Errorf("%s: id %q", tt.name, id)
		}
	}
}

// TestReceipt: what a notification brings, and to whom it does not.
func TestReceipt(t *testing.T) {
	t.Parallel()
	c := newConverter(t, nil)
	ticket := tickets.Of(asking("m1"), "alice@other.example")
	const alice = "alice@other.example"
	for _, tt := range []struct {
		name, reason, from, to, raw string
		ours, receipt               bool
	}{
		{"delivered", "XEP-0184", "", "bob@jabber.example", reporting(ticket, alice, "a.lice@mx.example", "delivered"), true, true},
		{"without the original recipient", "RFC 3464 §2.3.1: not all servers know it", "", "bob@jabber.example", reporting(ticket, "", alice, "delivered"), true, true},
		{"in capitals", "addresses and base32 have no case", "", "bob@jabber.example", reporting("r."+strings.ToUpper(ticket[2:]), "Alice@Other.example", "", "Delivered"), true, true},
		{"relayed", "nobody knows whether it arrives", "", "bob@jabber.example", reporting(ticket, alice, alice, "relayed"), true, false},
		{"expanded", "likewise", "", "bob@jabber.example", reporting(ticket, alice, alice, "expanded"), true, false},
		{"in the header only", "OpenSMTPD does not give the envelope id back", "", "bob@jabber.example",
			strings.Replace(reporting("", "", "a.lice@mx.example", "delivered"), "--b--", "--b\r\nContent-Type: text/rfc822-headers\r\n\r\nTo: <alice@other.example>\r\nJabber-Gateway-Receipt: "+ticket+"\r\n--b--", 1), true, true},
		{"of another's header", "to whom it was not written", "", "bob@jabber.example",
			strings.Replace(reporting("", "", alice, "delivered"), "--b--", "--b\r\nContent-Type: text/rfc822-headers\r\n\r\nTo: <eve@other.example>\r\nJabber-Gateway-Receipt: "+ticket+"\r\n--b--", 1), false, false},
		{"failed", "a person has to read why", "", "bob@jabber.example", reporting(ticket, alice, alice, "failed"), false, false},
		{"to another", "who did not write it", "", "carol@jabber.example", reporting(ticket, alice, alice, "delivered"), false, false},
		{"of another", "to whom it was not written", "", "bob@jabber.example", reporting(ticket, "eve@other.example", "eve@other.example", "delivered"), false, false},
		{"made up", "nobody without the key can", "", "bob@jabber.example", reporting("r.0000000000000000."+ticket[19:], alice, alice, "delivered"), false, false},
		{"no ticket", "of a mail by another way", "", "bob@jabber.example", reporting("abc", alice, alice, "delivered"), false, false},
		{"not from the null path", "RFC 3461 §6.1", "alice@other.example", "bob@jabber.example", reporting(ticket, alice, alice, "delivered"), false, false},
		{"no notification", "a mail", "", "bob@jabber.example", "From: a@x.example\r\n\r\n" + ticket, false, false},
	} {
		in := input(parse(t, tt.raw))
		in.From, in.To = tt.from, tt.to
		st, ours := c.Receipt(tickets, in)
		if ours != tt.ours || (st != nil) != tt.receipt {
			t.Errorf("%s: %v, %t; %s", tt.name, st, ours, tt.reason)
			continue
		}
		if st == nil {
			continue
		}
		e := st.Element.Child(receipt)
		if e == nil || e.Attr("id") != "m1" || st.To.String() != "bob@jabber.example" || !strings.HasPrefix(strings.ToLower(st.From.String()), `alice\40other.example@mail.`) || st.ID == "" {
			t.Errorf("%s: %s", tt.name, st)
		}
	}
	if _, ours := c.Receipt(Tickets{}, func() Input {
		in := input(parse(t, reporting(ticket, alice, alice, "delivered")))
		in.From, in.To = "", "bob@jabber.example"
		return in
	}()); ours {
		t.Error("without a key everything is a person's")
	}
}
