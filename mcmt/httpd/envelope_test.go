package httpd

import (
	"strings"
	"testing"
)

// Bcc reaches those it names and nobody else (RFC 5322 §3.6.3).
func TestBccIsTakenOut(t *testing.T) {
	t.Parallel()
	const bcc = "bCC : peter@localhost,\r\n\tnurse@localhost\r\n"
	inner := mcmtBody("Bcc: x@localhost\r\nFrom: a@b\r\nTo: juliet@localhost\r\n" + "X-Last: 1\r\nBcc: y@localhost\r\n")
	for name, tc := range map[string]struct{ path, fields, body string }{
		"in a mail":                     {"", mailField, bcc + goodMail},
		"though the query says to whom": {"?to=juliet@localhost", mailField, bcc + goodMail},
		"in the e-mail part":            {"", multipartField, inner},
		"in both headers":               {"", mailField, bcc + mailAddrs + "Content-Type: multipart/vnd.msys.mcmt; boundary=b\r\n\r\n" + inner},
		"in a mail in JSON":             {"", jsonField, `{"email":` + quote(bcc+goodMail) + `,"xmpp":"<message/>"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			_, addr := start(t, Options{Sink: snk})
			if got := post(t, addr, "/v1/messages"+tc.path, tc.fields, tc.body); got.status != 202 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			_, raw := snk.one(t)
			lower := strings.ToLower(raw)
			for _, trace := range []string{"bcc", "peter", "nurse", "x@localhost", "y@localhost"} {
				if strings.Contains(lower, trace) {
					t.Errorf("%q is still in it:\n%s", trace, raw)
				}
			}
			if !strings.Contains(raw, "juliet@localhost") || !strings.Contains(raw, "text\r\n") {
				t.Errorf("more than Bcc is gone:\n%s", raw)
			}
		})
	}
	t.Run("a part in base64 cannot be changed", func(t *testing.T) {
		t.Parallel()
		snk := &sink{}
		_, addr := start(t, Options{Sink: snk})
		// From: a@b, To: juliet@localhost, Bcc: x@localhost
		body := "--b\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
			"RnJvbTogYUBiDQpUbzoganVsaWV0QGxvY2FsaG9zdA0KQmNjOiB4QGxvY2FsaG9zdA0KDQp4DQo=\r\n--b--\r\n"
		if got := post(t, addr, "/v1/messages", multipartField, body); got.status != 422 || snk.stored() != 0 {
			t.Errorf("%d %s, %d stored", got.status, got.body, snk.stored())
		}
	})
}

// What was parsed for its header goes to the sink as it was read; what was changed
// afterwards does not.
func TestParsedGoesOn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fields, body string
		want         bool
	}{
		"a mail":                   {mailField, goodMail, true},
		"a multi-channel message":  {multipartField, mcmtBody(mailAddrs), true},
		"with Bcc":                 {mailField, "Bcc: peter@localhost\r\n" + goodMail, false},
		"a mail in JSON":           {jsonField, `{"email":` + quote(goodMail) + `}`, true},
		"and another part":         {jsonField, `{"email":` + quote(goodMail) + `,"xmpp":"<message/>"}`, false},
		"a message made from JSON": {jsonField, `{"from":"a@b","to":["juliet@localhost"],"text":"x"}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			_, addr := start(t, Options{Sink: snk})
			if got := post(t, addr, "/v1/messages", tc.fields, tc.body); got.status != 202 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			if env, _ := snk.one(t); (env.Parsed != nil) != tc.want {
				t.Errorf("parsed: %v", env.Parsed != nil)
			}
		})
	}
}

// Several recipients of a JSON message do not read each other's addresses.
func TestJSONHidesRecipients(t *testing.T) {
	t.Parallel()
	snk := &sink{}
	_, addr := start(t, Options{Sink: snk})
	post(t, addr, "/v1/messages", jsonField, `{"from":"a@b","to":["juliet@localhost","nurse@localhost"],"text":"x"}`)
	if _, raw := snk.one(t); strings.Contains(raw, "juliet") || strings.Contains(raw, "nurse") {
		t.Errorf("the message names them:\n%s", raw)
	}
}

// A request that is repeated with its key gives the sink the same bytes: it
// could not tell a repetition from a second message otherwise.
func TestIdempotentBytes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ fields, body string }{
		"JSON":      {jsonField, goodJSON},
		"multipart": {multipartField, mcmtBody(mailAddrs)},
		"mail":      {mailField, goodMail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			snk := &sink{}
			_, addr := start(t, Options{Sink: snk})
			for range 2 {
				post(t, addr, "/v1/messages", tc.fields+"Idempotency-Key: order-7\n", tc.body)
			}
			if len(snk.raws) != 2 || snk.raws[0] != snk.raws[1] || snk.envs[0].IdempotencyKey != "order-7" {
				t.Errorf("%q, key %q", snk.raws, snk.envs[0].IdempotencyKey)
			}
		})
	}
}
