package app

import (
	"errors"
	"strings"
	"testing"

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
