package config

import (
	"testing"
	"time"
)

func TestRelay(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		why, text           string
		gateway, tls, check string
	}{
		{"without a scope mail goes to MX hosts", ``, "", "ifavailable", "no"},
		{"an empty scope says no more", `relay {}`, "", "ifavailable", "no"},
		{"what holds for all holds for mail", `tls = required tls_verify = ca`, "", "required", "ca"},
		{"unless mail has it otherwise", `tls = required tls_verify = ca relay { tls = no }`, "", "no", "no"},
		{"a password goes to who has proven who he is", `relay { gateway = "h.example:587" user = u password = p }`, "h.example:587", "required", "host"},
		{"if that is not written otherwise", `relay { gateway = "h.example:587" user = u password = p tls = required tls_verify = no }`, "h.example:587", "required", "no"},
		{"nobody listens on loopback", `relay { gateway = "127.0.0.1:587" user = u password = p }`, "127.0.0.1:587", "ifavailable", "no"},
		{"nor where that has a name", `relay { gateway = "localhost:587" user = u password = p tls = no }`, "localhost:587", "no", "no"},
	} {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			c, err := LoadBytes("t.conf", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if r := c.Relay; r.Gateway != tt.gateway || r.TLS != tt.tls || r.Verify != tt.check {
				t.Errorf("gateway %q, tls %s, tls_verify %s", r.Gateway, r.TLS, r.Verify)
			}
		})
	}
}

// The defaults of SPEC 3.5 differ from those of XMPP.
func TestRelayDefaults(t *testing.T) {
	t.Parallel()
	c, err := LoadBytes("t.conf", []byte(`retry_interval = 5 max_retry_interval = 6 idle_timeout = 7 message_expiration = 8 outbound_throttle_messages = "60/3"`))
	if err != nil {
		t.Fatal(err)
	}
	r := c.Relay
	if r.RetryInterval != 20*time.Minute || r.MaxRetryInterval != 12*time.Hour || r.IdleTimeout != time.Minute {
		t.Errorf("pauses of streams hold for mail: %v, %v, %v", r.RetryInterval, r.MaxRetryInterval, r.IdleTimeout)
	}
	if r.Expiration != 8*time.Second || r.Throttle != (Rate{60, 3 * time.Second}) || r.MaxConnections != 20 {
		t.Errorf("what holds for all does not: %v, %v, %d", r.Expiration, r.Throttle, r.MaxConnections)
	}
}
