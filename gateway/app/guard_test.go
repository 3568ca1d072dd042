package app

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/xmpp/sasl"
)

// TestFailedLoginsOverReload: what was counted outlives a reload, whose bounds hold
// for it from then on.
func TestFailedLoginsOverReload(t *testing.T) {
	t.Parallel()
	bounded := func(options string) string {
		return strings.Replace(basic, `xmpp_listener { listen "127.0.0.1:0" {} }`,
			`xmpp_listener { failed_login_delay = 0 `+options+` listen "127.0.0.1:0" {} }`, 1)
	}
	two := bounded("max_failed_logins_per_address = 2")
	r := start(t, two)
	r.add("alice@localhost", "secret")
	dial := func(password string) sasl.Condition {
		c, err := r.dial("alice@localhost/a", password)
		if err == nil {
			_ = c.Close(t.Context())
			return ""
		}
		var refused *sasl.Failure
		if !errors.As(err, &refused) {
			t.Fatal(err)
		}
		return refused.Condition
	}
	for _, want := range []sasl.Condition{sasl.NotAuthorized, sasl.NotAuthorized, sasl.TemporaryAuthFailure} {
		if got := dial("wrong"); got != want {
			t.Fatalf("a wrong password: %q, want %q", got, want)
		}
	}
	r.reload(two)
	if got := dial("secret"); got != sasl.TemporaryAuthFailure {
		t.Errorf("after a reload: %q", got)
	}
	r.reload(bounded("max_failed_logins_per_address = 3"))
	if got := dial("secret"); got != "" {
		t.Errorf("with a higher bound: %q", got)
	}
	r.reload(bounded(`max_failed_logins_per_address = 2 peer "127.0.0.1" { max_failed_logins_per_address = 0 }`))
	if got := dial("secret"); got != "" {
		t.Errorf("with no bound for the peer: %q", got)
	}
}

// TestFailedLoginsOverProtocols: who guesses over one protocol has guessed over all of
// them, and is told so in the words of each: RFC 4954 §6, RFC 6585 §4, RFC 6120 §6.5.12.
func TestFailedLoginsOverProtocols(t *testing.T) {
	t.Parallel()
	bounds := "failed_login_delay = 0 max_failed_logins_per_address = 3 allow_plain_without_tls = true "
	text := basic
	for _, l := range []string{"xmpp_listener { ", "esmtp_listener { ", "http_listener { "} {
		text = strings.Replace(text, l, l+bounds, 1)
	}
	r := start(t, text)
	r.add("alice@localhost", "secret")
	post := func(password string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+r.Addr(config.HTTP, "")+"/v1/messages",
			strings.NewReader(`{"from":"news@corp.example","to":["alice@localhost"],"text":"hello"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.SetBasicAuth("alice@localhost", password)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Retry-After")
	}
	auth := func(password string) string {
		c, err := textproto.Dial("tcp", r.Addr(config.ESMTP, ""))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, _, err := c.ReadResponse(220); err != nil {
			t.Fatal(err)
		}
		if err := c.PrintfLine("EHLO client.example"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ReadResponse(250); err != nil {
			t.Fatal(err)
		}
		if err := c.PrintfLine("AUTH PLAIN %s", base64.StdEncoding.EncodeToString([]byte("\x00alice@localhost\x00"+password))); err != nil {
			t.Fatal(err)
		}
		line, err := c.ReadLine()
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	if code, _ := post("secret"); code != http.StatusAccepted {
		t.Fatalf("the right password over HTTP: %d", code)
	}
	if code, _ := post("wrong"); code != http.StatusUnauthorized {
		t.Errorf("a wrong password over HTTP: %d", code)
	}
	if line := auth("wrong"); !strings.HasPrefix(line, "535 5.7.8 ") {
		t.Errorf("a wrong password over SMTP: %s", line)
	}
	if line := auth("secret"); !strings.HasPrefix(line, "235 ") {
		t.Errorf("the right password over SMTP: %s", line)
	}
	if code, _ := post("wrong"); code != http.StatusUnauthorized {
		t.Errorf("a second wrong password over HTTP: %d", code)
	}
	if code, after := post("secret"); code != http.StatusTooManyRequests || after == "" || after == "0" {
		t.Errorf("over HTTP after three: %d, Retry-After %q", code, after)
	}
	if line := auth("secret"); !strings.HasPrefix(line, "454 4.7.0 ") {
		t.Errorf("over SMTP after three: %s", line)
	}
	var refused *sasl.Failure
	if _, err := r.dial("alice@localhost/a", "secret"); !errors.As(err, &refused) || refused.Condition != sasl.TemporaryAuthFailure {
		t.Errorf("over XMPP after three: %v", err)
	}
	if s := r.http[0].Stats(); s.Guarded != 1 || s.AuthFailed != 2 {
		t.Errorf("HTTP counted %+v", s)
	}
	if s := r.smtp[0].Stats(); s.LimitGuess != 1 || s.AuthFailed != 1 {
		t.Errorf("SMTP counted %+v", s)
	}
}
