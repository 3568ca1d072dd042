package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"mcmt2xmpp/mcmt/mailtest"
	"mcmt2xmpp/mcmt/relay"
	"mcmt2xmpp/xmpp/xmlwire"
)

// dsn is a notification as Python's email package reads it.
type dsn struct {
	Type, Report, Auto, To, Human, Returned string
	Parts, Defects                          []string
	Message                                 map[string]string
	Recipients                              []map[string]string
}

// runDSN runs dsn.py.
func runDSN(t *testing.T, stdin []byte, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, append([]string{"testdata/dsn.py"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("dsn.py %s: %v\n%s", args[0], err, errs.Bytes())
	}
	return out
}

// readDSN reads a notification, and checks that nobody finds a fault in its form.
func readDSN(t *testing.T, m mailtest.Mail) dsn {
	t.Helper()
	var d dsn
	if err := json.Unmarshal(runDSN(t, m.Raw, "read"), &d); err != nil {
		t.Fatal(err)
	}
	if d.Type != "multipart/report" || d.Report != "delivery-status" || len(d.Defects) > 0 || d.Auto != "auto-replied" || len(d.Recipients) != 1 ||
		!slices.Equal(d.Parts, []string{"text/plain", "message/delivery-status", "text/rfc822-headers"}) {
		t.Errorf("%+v\n%s", d, m.Raw)
	}
	if got := m.Header.Get("Return-Path"); got != "" && got != "<>" {
		t.Errorf("the notification is from %q", got)
	}
	return d
}

// sendAsking sends a message that is called name, with NOTIFY where notify is not empty, and
// returns its sender.
func sendAsking(t *testing.T, g *gateway, name, to, notify string) (sender string) {
	t.Helper()
	host, port, err := net.SplitHostPort(g.smtp())
	if err != nil {
		t.Fatal(err)
	}
	sender = name + "@sender.example"
	args := []string{"send", host, port, sender, to, name}
	if notify != "" {
		args = append(args, notify)
	}
	runDSN(t, nil, args...)
	return sender
}

// TestInteropDSN: who asks by NOTIFY (RFC 3461 §4.1) gets the reports that he has asked
// for and no others, of messages to Jabber and to mail; those that are asked for nothing
// hear of failures.
func TestInteropDSN(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "")
	mx.Refuse("gone@corp.example", "550 5.1.1 gone has left")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	for _, c := range []struct {
		name, to, notify      string
		action, status, human string // of the only report; empty: there is none
	}{
		{"failure-default", "gone@corp.example", "", "failed", "5.1.1", "gone has left"},
		{"failure-wanted", "gone@corp.example", "FAILURE", "failed", "5.1.1", "gone has left"},
		{"failure-beside", "gone@corp.example", "SUCCESS,FAILURE", "failed", "5.1.1", "gone has left"},
		{"failure-unwanted", "gone@corp.example", "SUCCESS", "", "", ""},
		{"failure-never", "gone@corp.example", "NEVER", "", "", ""},
		{"success-wanted", "alice@localhost", "SUCCESS", "delivered", "2.1.5", "This is known by: "},
		{"success-default", "alice@localhost", "", "", "", ""},
		{"success-unwanted", "alice@localhost", "FAILURE", "", "", ""},
		{"success-never", "alice@localhost", "NEVER", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.within(t)
			sender := sendAsking(t, g, c.name, c.to, c.notify)
			if c.to == "alice@localhost" {
				alice.want("Hello!")
			}
			if c.action == "" {
				return
			}
			d := readDSN(t, one(t, mx, sender))
			r := d.Recipients[0]
			if d.To != sender || d.Message["Original-Envelope-Id"] != c.name || r["Action"] != c.action || r["Status"] != c.status ||
				r["Original-Recipient"] != "rfc822; "+c.to || r["Final-Recipient"] != "rfc822; "+c.to ||
				!strings.Contains(d.Human, c.human) || d.Returned != "<"+c.name+"@corp.example>" {
				t.Errorf("%+v", d)
			}
		})
	}
	// Each message has ended by now, and all reports are sent.
	g.eventually("all have ended", func() bool {
		return metric(t, g, `mail_total{outcome="failed"}`) == 5 && metric(t, g, `delivery_total{outcome="delivered"}`) == 4 &&
			metric(t, g, `mail_total{outcome="relayed"}`) == 4 && metric(t, g, "mail_parked_messages") == 0
	})
	if made := metric(t, g, `reports_total{action="failed"}`) + metric(t, g, `reports_total{action="delivered"}`); made != 4 {
		t.Errorf("%v reports, want 4", made)
	}
}

// TestInteropDelay: who asks for it (RFC 3461 §4.1, DELAY) hears once that a message waits,
// for Jabber or for mail, and another process does not say it again.
func TestInteropDelay(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "delay_warning = 1\nretry_interval = 1\nmax_retry_interval = 1")
	g.addUser("carol@localhost", "secret")
	mx.Refuse("late@corp.example", "450 4.2.1 late is busy")
	for _, c := range []struct{ name, to, notify, human string }{
		{"jabber", "carol@localhost", "DELAY,FAILURE", "has not been delivered yet"},
		{"mail", "late@corp.example", "DELAY", "has not been delivered yet"},
		{"unasked", "carol@localhost", "FAILURE", ""},
		{"default", "carol@localhost", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			g.within(t)
			sender := sendAsking(t, g, c.name, c.to, c.notify)
			if c.human == "" {
				return
			}
			d := readDSN(t, one(t, mx, sender))
			r := d.Recipients[0]
			if d.Message["Original-Envelope-Id"] != c.name || r["Action"] != "delayed" || !strings.HasPrefix(r["Status"], "4.") ||
				r["Will-Retry-Until"] == "" || !strings.Contains(d.Human, c.human) {
				t.Errorf("%+v", d)
			}
		})
	}
	g.kill()
	g.start()
	carol := login(t, g.xmpp(), "carol@localhost/desk", 0)
	for range 3 {
		carol.want("Hello!")
	}
	g.eventually("what waits is tried again", func() bool {
		return metric(t, g, `delivery_total{outcome="delivered"}`) == 3 && metric(t, g, "mail_parked_messages") == 1
	})
	for _, sender := range []string{"jabber", "mail"} {
		one(t, mx, sender+"@sender.example")
	}
	for _, sender := range []string{"unasked", "default"} {
		if all := mx.Mailbox(sender + "@sender.example"); len(all) > 0 {
			t.Errorf("%s hears %s", sender, all[0].Raw)
		}
	}
}

// TestInteropReceipt: a client that asks for a receipt gets it when a mail server reports
// that the mail has arrived, and hears nothing where it does not ask. Where the report
// says that it has failed, the author reads that.
func TestInteropReceipt(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "")
	alice := login(t, g.xmpp(), "alice@localhost/desk", 0)
	ask := xmlwire.New("urn:xmpp:receipts", "request")
	alice.write(bob, "wanted", ask)
	alice.write(bob, "unwanted!")
	mx.Wait("bob@corp.example", 2)
	// The server has nobody but itself to give the report to.
	report := one(t, mx, "alice@localhost")
	if _, err := relay.Submit(t.Context(), g.smtp(), "", []string{"alice@localhost"}, report.Raw); err != nil {
		t.Fatal(err)
	}
	st := alice.next()
	if r := st.Element.Child(xmlwire.Name{Space: "urn:xmpp:receipts", Local: "received"}); r == nil || r.Attr("id") != "id-6-w" || st.From != bob || bodyOf(st) != "" {
		t.Errorf("%s\n%s", st, report.Raw)
	}
	changed := bytes.ReplaceAll(report.Raw, []byte("Action: delivered"), []byte("Action: relayed"))
	failed := bytes.ReplaceAll(report.Raw, []byte("Action: delivered"), []byte("Action: failed"))
	for _, raw := range [][]byte{changed, failed} {
		if _, err := relay.Submit(t.Context(), g.smtp(), "", []string{"alice@localhost"}, raw); err != nil {
			t.Fatal(err)
		}
	}
	if st := alice.next(); bodyOf(st) == "" {
		t.Errorf("the next is %s, want the failure for a person", st)
	}
	if n := metric(t, g, "mail_receipts_total"); n != 1 {
		t.Errorf("%v receipts", n)
	}
}
