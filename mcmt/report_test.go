package mcmt

import (
	"reflect"
	"strings"
	"testing"
)

// notification is one as servers write it, with lines for its status part.
func notification(report, kind, status string) string {
	return strings.ReplaceAll("From: MAILER-DAEMON@mx.example\nTo: alice@jabber.example\nSubject: Delivered\nMIME-Version: 1.0\n"+
		"Content-Type: multipart/report; "+report+"; boundary=\"b\"\n\n--b\nContent-Type: text/plain\n\nIt has arrived.\n"+
		"--b\nContent-Type: "+kind+"\n\n"+status+"\n--b\nContent-Type: text/rfc822-headers\n\nSubject: hello\n--b--\n", "\n", "\r\n")
}

// TestReport: RFC 3464, as servers write it.
func TestReport(t *testing.T) {
	t.Parallel()
	const usual = "report-type=delivery-status"
	for _, tt := range []struct {
		name, raw string
		want      *Report
	}{
		{"usual", notification(usual, "message/delivery-status",
			"Reporting-MTA: dns; mx.example\nOriginal-Envelope-Id: r.abc.def\n\nOriginal-Recipient: rfc822;bob@corp.example\nFinal-Recipient: rfc822; bob@mx.corp.example\nAction: delivered\nStatus: 2.0.0\n"),
			&Report{EnvelopeID: "r.abc.def", Recipients: []Reported{{"bob@corp.example", "bob@mx.corp.example", "delivered", "2.0.0"}}}},
		{"several recipients, folded, with comments and empty lines", notification("Report-Type=\"Delivery-Status\"", "Message/Delivery-Status",
			"Reporting-MTA: dns; mx.example\n\n\nFinal-Recipient: RFC822;\n a@corp.example\nAction: Failed (mailbox is gone)\nStatus: 5.1.1\n\n\nFinal-Recipient: rfc822; b@corp.example\nAction: relayed\nStatus: 2.0.0\n"),
			&Report{Recipients: []Reported{{"", "a@corp.example", "failed", "5.1.1"}, {"", "b@corp.example", "relayed", "2.0.0"}}}},
		{"international", notification(usual, "message/global-delivery-status",
			"Reporting-MTA: dns; mx.example\n\nFinal-Recipient: utf-8; bücher@corp.example\nAction: delivered\nStatus: 2.0.0\n"),
			&Report{Recipients: []Reported{{"", "bücher@corp.example", "delivered", "2.0.0"}}}},
		{"address without a type", notification(usual, "message/delivery-status", "Reporting-MTA: dns; x\n\nFinal-Recipient: bob@corp.example\nAction: delivered\n"),
			&Report{Recipients: []Reported{{"", "", "delivered", ""}}}},
		{"of nobody", notification(usual, "message/delivery-status", "Reporting-MTA: dns; x\nOriginal-Envelope-Id: e\n"), &Report{EnvelopeID: "e"}},
		{"without its status", notification(usual, "text/plain", "x"), nil},
		{"not called a report", strings.Replace(notification(usual, "message/delivery-status", "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; b@x\nAction: delivered\n"), "multipart/report", "multipart/mixed", 1),
			&Report{Recipients: []Reported{{"", "b@x", "delivered", ""}}}},
		{"of another kind", notification("report-type=disposition-notification", "message/disposition-notification", "Disposition: x"), nil},
		{"a mail", "From: a@x.example\r\n\r\nhello\r\n", nil},
		{"encoded", notification(usual, "message/delivery-status\nContent-Transfer-Encoding: quoted-printable",
			"Reporting-MTA: dns; x\nOriginal-Envelope-Id: r.a=\nb\n\nFinal-Recipient: rfc822; bob=40corp.example\nAction: delivered\n"),
			&Report{EnvelopeID: "r.ab", Recipients: []Reported{{"", "bob@corp.example", "delivered", ""}}}},
	} {
		m, err := Parse([]byte(tt.raw), Limits{})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got := m.Email.Report(Limits{})
		if got != nil {
			if subject := got.Returned.Get("Subject"); subject != "hello" {
				t.Errorf("%s: the subject of the mail is %q", tt.name, subject)
			}
			got.Returned = Header{}
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// FuzzReport: what a server writes is taken as it stands, or not at all.
func FuzzReport(f *testing.F) {
	f.Add([]byte(notification("report-type=delivery-status", "message/delivery-status", "Original-Envelope-Id: a\n\nFinal-Recipient: rfc822; a@b\nAction: delivered\n")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMail(raw, Limits{})
		if err != nil {
			return
		}
		r := m.Email.Report(Limits{})
		if r == nil {
			return
		}
		if len(r.Recipients) > maxReported {
			t.Errorf("%d recipients", len(r.Recipients))
		}
		all := []string{r.EnvelopeID}
		for _, about := range r.Recipients {
			all = append(all, about.Original, about.Final, about.Action, about.Status)
		}
		for _, s := range all {
			if strings.ContainsAny(s, "\r\n") {
				t.Errorf("%q is of two lines", s)
			}
		}
	})
}
