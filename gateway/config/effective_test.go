package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const effectiveText = `
relay_hosts = "10.0.0.0/8"
xmpp {}
domain "a.example" { xmpp_role = server xmpp_dialback_secret = "myS3cr3T" }
domain "#xmpp#a.example" { retry_interval = 5 }
pathway "p" { idle_time = 77 }
xmpp_listener "main" {
  authplainparameters = [ uri = "nats://accounts" ]
  listen "*:5222" {
    pathway = p
    max_failed_logins = 3
    peer "10.0.0.0/8" { max_failed_logins = 4 }
    peer "10.1.0.0/16" { max_failed_logins = 5 }
  }
}
nats { urls = "nats://user:hunter2@nats.example" }
`

func TestEffective(t *testing.T) {
	t.Parallel()
	c := load(t, effectiveText)
	// Each row ends in value, place and scope that sets it, or the note on a default.
	tests := []struct{ why, scope, option, want string }{
		{"a default", "listen *:5222", "listen_backlog", "500"},
		{"its own", "listen *:5222", "max_failed_logins", "3 at 11:5 in xmpp_listener main listen *:5222"},
		{"of the pathway, and which", "listen *:5222", "idle_time", "77 at 6:15 in pathway p"},
		{"of the listener", "xmpp_listener main listen *:5222", "authplainparameters", `"nats://accounts" at 8:3 in xmpp_listener main`},
		{"of a peer", "peer 10.0.0.0/8", "max_failed_logins", "4 at 12:25 in xmpp_listener main listen *:5222 peer 10.0.0.0/8"},
		{"of the peer that an address falls into", "listen *:5222 peer 10.1.2.3", "max_failed_logins", "5 at 13:26 in xmpp_listener main listen *:5222 peer 10.1.0.0/16"},
		{"a peer falls back", "peer 10.1.0.0/16", "idle_time", "77 at 6:15 in pathway p"},
		{"global", "global", "relay_hosts", `( "10.0.0.0/8" ) at 2:1 in global`},
		{"in any case", "GLOBAL", "log_level", "info"},
		{"a domain's protocol gets what the domain has", "domain #xmpp#a.example", "xmpp_role", "server at 4:22 in domain a.example"},
		{"a secret", "domain a.example", "xmpp_dialback_secret", "*** at 4:41 in domain a.example"},
		{"a password in a URI", "nats", "urls", `( "nats://user:xxxxx@nats.example" ) at 16:8 in nats`},
		{"a default that has no value", "listen *:5222", "stream", " by port: 5269 server, 5347 component, 5280 and 5281 websocket, else client"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			all, err := c.Effective(tt.scope)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(all, func(e EffectiveOption) bool { return e.Option == tt.option })
			if i < 0 {
				t.Fatalf("%s is not listed for %s", tt.option, tt.scope)
			}
			e := all[i]
			got := e.Value
			if e.Note != "" {
				got += " " + e.Note
			}
			if e.From.Line > 0 {
				got += fmt.Sprintf(" at %d:%d in %s", e.From.Line, e.From.Column, e.Within)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// Without a scope everything is listed, and nothing of it is a secret.
func TestEffectiveAll(t *testing.T) {
	t.Parallel()
	all, err := load(t, effectiveText).Effective("")
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v", all)
	for _, secret := range []string{"myS3cr3T", "hunter2"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is shown", secret)
		}
	}
	scopes := make(map[string]bool)
	for _, e := range all {
		scopes[e.Scope] = true
	}
	if len(scopes) != 10 {
		t.Errorf("%d scopes: %v", len(scopes), scopes)
	}
}

func TestEffectiveUnknownScope(t *testing.T) {
	t.Parallel()
	_, err := load(t, effectiveText).Effective("domain a.exmple")
	if err == nil || !strings.Contains(err.Error(), "did you mean domain a.example?") {
		t.Errorf("got %v", err)
	}
}

// What check --effective says is what the listeners do: both come from the same
// look-up, and the numbers here are compared to hold it so.
func TestEffectiveIsResult(t *testing.T) {
	t.Parallel()
	c := load(t, effectiveText)
	l := c.Listeners[0]
	for addr, want := range map[string]string{"10.1.2.3": "5", "10.2.0.0": "4", "192.0.2.1": "3"} {
		if got := l.For(mustAddr(addr)).MaxFailedLogins; fmt.Sprint(got) != want {
			t.Errorf("%s: %d, want %s", addr, got, want)
		}
		scope := "listen *:5222"
		if want != "3" {
			scope += " peer " + addr
		}
		all, err := c.Effective(scope)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if e.Option == "max_failed_logins" && e.Value != want {
				t.Errorf("%s: effective %s, want %s", addr, e.Value, want)
			}
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	s := Secret("myS3cr3T")
	js, err := json.Marshal(map[string]any{"s": s, "list": []Secret{s}, "key": struct{ S Secret }{s}})
	if err != nil {
		t.Fatal(err)
	}
	d := Domain{DialbackSecret: s}
	for _, text := range []string{s.String(), string(js), fmt.Sprintf("%v %s %q %#v %x", s, s, s, s, s), fmt.Sprintf("%+v %#v", d, d)} {
		if strings.Contains(text, "myS3cr3T") || strings.Contains(text, fmt.Sprintf("%x", "myS3cr3T")) {
			t.Errorf("shown in %s", text)
		}
	}
	if s.Reveal() != "myS3cr3T" || Secret("").String() != "" {
		t.Error("the secret itself is lost")
	}
}
