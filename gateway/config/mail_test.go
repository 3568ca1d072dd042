package config

import (
	"testing"
	"time"
)

// TestMail: what holds for mail to a domain is said for its mail side, for all of it, or
// for all.
func TestMail(t *testing.T) {
	t.Parallel()
	c := load(t, `digest_window = 5 mail_subject = "Hi"
		domain "both.example" { digest_window = 7 }
		domain "#smtp#both.example" { mail_format = mcmt }
		domain "#smtp#smtp.example" { mail_subject = "" mail_receipts = false }
		domain "#xmpp#xmpp.example" { digest_window = 9 }`)
	for _, tc := range []struct {
		why, domain string
		want        Mail
	}{
		{"no scope: the global ones", "other.example", Mail{5 * time.Second, "plain", "Hi", true}},
		{"the mail side falls back to the domain", "both.example", Mail{7 * time.Second, "mcmt", "Hi", true}},
		{"domains have no case", "BOTH.example", Mail{7 * time.Second, "mcmt", "Hi", true}},
		{"an empty subject is one", "smtp.example", Mail{5 * time.Second, "plain", "", false}},
		{"the XMPP side says nothing of mail", "xmpp.example", Mail{5 * time.Second, "plain", "Hi", true}},
	} {
		if got := c.Mail(tc.domain); got != tc.want {
			t.Errorf("%s: got %+v, want %+v", tc.why, got, tc.want)
		}
	}
	if got := load(t, "").Mail("x.example"); got != (Mail{Format: "plain", Subject: "Chat message", Receipts: true}) {
		t.Errorf("defaults %+v", got)
	}
}
