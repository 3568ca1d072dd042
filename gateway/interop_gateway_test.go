package main

import "testing"

// TestInteropGateway: what the mail gateway's domain and the addresses in it do
// (XEP-0100), as a client nobody here wrote sees it.
func TestInteropGateway(t *testing.T) {
	t.Parallel()
	g, mx := newMailGateway(t, "")
	s := runSlixmpp(t, "slixmpp_gateway.py", g.xmpp())
	const nobody = " is neither an e-mail address, such as name@example.com, nor a phone number with its country code, such as +44 7700 900123"
	for _, step := range [][2]string{
		{"found", "mail.localhost ['gateway/sms', 'gateway/smtp']"},
		{"features", "True"},
		{"asked for", "registered False, fields []"},
		{"registered", "True"},
		{"capabilities", "sha-1"},
		{"roster", "both"},
		{"prompt", "Please enter the e-mail address or the phone number, with + and its country code, of the person you would like to contact."},
		{"refused", `not-acceptable: "Bob <bob@corp.example>"` + nobody},
		{"refused", `not-acceptable: "0151 234567"` + nobody},
		{"JID", `bob\40corp.example@mail.localhost`},
		{"contact", "to"},
		{"identity", "['account/registered']"},
		{"vCard", "bob@corp.example, ['bob@corp.example'], []"},
		{"version", "mcmt2xmpp"},
		{"time", "True"},
		{"message", "taken"},
		{"JID", "+49151234567@mail.localhost"},
		{"contact", "to"},
		{"identity", "['client/sms']"},
		{"vCard", "+49151234567, [], ['+49151234567']"},
		{"version", "mcmt2xmpp"},
		{"time", "True"},
		{"message", "+49151234567@mail.localhost feature-not-implemented: short messages to phone numbers are not sent, only mail"},
		{"further errors", "0"},
		{"unregistered", "none"},
		{"deleted", "none"},
		{"end", ""},
	} {
		if got := s.wait("step"); got.Name != step[0] || got.Body != step[1] {
			t.Errorf("step %q came to %q, want %q to %q", got.Name, got.Body, step[0], step[1])
		}
	}
	if got := one(t, mx, "bob@corp.example"); got.Text != "hello\n" || got.Header.Get("From") != "alice@localhost" {
		t.Errorf("bob has %s", got.Raw)
	}
}
