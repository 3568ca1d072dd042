package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

// TestCertificatesShared: peers with the same TLS options share one tls.Config,
// and with it the session tickets; a reload makes another one.
func TestCertificatesShared(t *testing.T) {
	t.Parallel()
	cfg := load(t, t.TempDir(), `data_dir = data
xmpp {}
xmpp_listener {
  listen "127.0.0.1:0" { peer "10.0.0.0/8" { idle_time = 5 } peer "10.1.0.0/16" { tls_verify_mode = require } }
}
xmpp_listener { listen "127.0.0.1:0" { tls_certificate = none } }
http_listener { listen "127.0.0.1:0" { use_ssl = true } }
domain localhost { xmpp_role = server }
`)
	c := newCertificates(cfg, zerolog.Nop())
	of := func(l int, i int) any {
		t.Helper()
		conf, err := c.server(cfg.Listeners[l].Options()[i])
		if err != nil {
			t.Fatal(err)
		}
		if conf == nil {
			return nil
		}
		return conf
	}
	base, strict, idle := of(0, 0), of(0, 2), of(0, 4)
	switch {
	case base == nil || idle != base:
		t.Error("peers that differ in idle_time alone have a configuration each")
	case of(2, 0) != base:
		t.Error("listeners with the same certificate have a configuration each")
	case strict == base:
		t.Error("a peer with another tls_verify_mode shares the configuration")
	case of(1, 0) != nil:
		t.Error("tls_certificate = none has one")
	}
	c.reload()
	if of(0, 0) == base {
		t.Error("a reload did not make another configuration")
	}
}

// TestAuthoritiesGoBad: a file that cannot be read at a reload costs no peer its
// TLS, and above all not the demand for a certificate.
func TestAuthoritiesGoBad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := newCertificates(load(t, dir, basic), zerolog.Nop())
	if _, err := first.server(first.cfg.Listeners[0].Options()[0]); err != nil {
		t.Fatal(err) // makes a certificate, which serves as an authority
	}
	ca := filepath.Join(dir, "ca.pem")
	text, err := os.ReadFile(selfSignedFile(first.cfg))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := load(t, dir, strings.Replace(basic, "xmpp_listener {", `xmpp_listener { tls_client_ca = "`+ca+`" tls_verify_mode = require`, 1))
	log := new(logBuffer)
	c := newCertificates(cfg, zerolog.New(log))
	peer := cfg.Listeners[0].Options()[0]
	before, err := c.server(peer)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	c.reload()
	after, err := c.server(peer)
	if err != nil || after != before || !strings.Contains(log.String(), "what was read before stays") {
		t.Errorf("after the file was removed: %v; log %s", err, log)
	}
	if _, err := newCertificates(cfg, zerolog.Nop()).server(peer); err == nil {
		t.Error("a start without the file succeeds")
	}
}

func TestFindAdmin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, text, url, socket, token string }{
		{"none", "", "", "", ""},
		{"switched off", `control_listener { enable = false listen "127.0.0.1:8026" {} }`, "", "", ""},
		{"loopback", `control_listener { listen "127.0.0.1:8026" {} }`, "http://127.0.0.1:8026", "", ""},
		{"every address", `control_listener { listen "*:8026" {} }`, "http://127.0.0.1:8026", "", ""},
		{"every IPv6 address", `control_listener { listen "[::]:8026" {} }`, "http://127.0.0.1:8026", "", ""},
		{"IPv6", `control_listener { listen "[::1]:8026" {} }`, "http://[::1]:8026", "", ""},
		{"outside, with a token", `control_listener { bearer_token = ( x y ) listen "192.0.2.1:8026" {} }`, "http://192.0.2.1:8026", "", "x"},
		{"TLS", `control_listener { listen "127.0.0.1:8026" { use_ssl = true } }`, "https://127.0.0.1:8026", "", ""},
		{"a port that is not known", `control_listener { listen "127.0.0.1:0" {} listen "127.0.0.1:8027" {} }`, "http://127.0.0.1:8027", "", ""},
		{"Unix socket", `control_listener { listen "/run/admin.sock" {} }`, "http://localhost", "/run/admin.sock", ""},
	} {
		got, ok := FindAdmin(load(t, t.TempDir(), c.text))
		if ok != (c.url != "") || got.URL != c.url || got.Socket != c.socket || got.Token != c.token {
			t.Errorf("%s: %+v, want %s %s %s", c.name, got, c.url, c.socket, c.token)
		}
	}
}
