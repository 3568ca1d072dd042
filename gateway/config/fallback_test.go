package config

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/mcmt"
)

// load reads a text that has to be right.
func load(t testing.TB, text string) *Config {
	t.Helper()
	c, err := LoadBytes("/test/test.conf", []byte(text))
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, text)
	}
	return c
}

// TestFallback sets max_message_size in ever more scopes and asks what holds for
// 10.1.2.3.
func TestFallback(t *testing.T) {
	t.Parallel()
	tests := []struct{ why, text, peer string }{
		{"nothing is set: the default", `esmtp_listener { listen ":25" {} }`, "10m"},
		{"global holds in all", `max_message_size = 1m esmtp_listener { listen ":25" {} }`, "1m"},
		{"and from any place in the file", `esmtp_listener { listen ":25" {} } max_message_size = 1m`, "1m"},
		{"listener over global", `max_message_size = 1m esmtp_listener { max_message_size = 2m listen ":25" {} }`, "2m"},
		{"listen over listener", `esmtp_listener { max_message_size = 2m listen ":25" { max_message_size = 3m } }`, "3m"},
		{"peer over listen", `esmtp_listener { listen ":25" { max_message_size = 3m peer "10.0.0.0/8" { max_message_size = 4m } } }`, "4m"},
		{"a peer in the listener is inside listen too", `esmtp_listener { peer "10.0.0.0/8" { max_message_size = 4m } listen ":25" { max_message_size = 3m } }`, "4m"},
		{"a peer that sets nothing falls back", `esmtp_listener { max_message_size = 2m listen ":25" { peer "10.0.0.0/8" { } } }`, "2m"},
		{"a peer of others does not count", `esmtp_listener { max_message_size = 2m listen ":25" { peer "192.0.2.0/24" { max_message_size = 4m } } }`, "2m"},
		{"the most specific peer", `esmtp_listener { listen ":25" { peer "10.0.0.0/8" { max_message_size = 4m } peer "10.1.0.0/16" { max_message_size = 5m } } }`, "5m"},
		{"in any order", `esmtp_listener { listen ":25" { peer "10.1.0.0/16" { max_message_size = 5m } peer "10.0.0.0/8" { max_message_size = 4m } } }`, "5m"},
		{"of both levels", `esmtp_listener { peer "10.1.0.0/16" { max_message_size = 5m } listen ":25" { peer "10.0.0.0/8" { max_message_size = 4m } } }`, "5m"},
		{"it alone: the wider one is not around it", `esmtp_listener { max_message_size = 2m listen ":25" { peer "10.0.0.0/8" { max_message_size = 4m } peer "10.1.0.0/16" { } } }`, "2m"},
		{"of the same range, listen's first", `esmtp_listener { peer "10.0.0.0/8" { max_message_size = 5m } listen ":25" { peer "10.0.0.0/8" { max_message_size = 4m } } }`, "4m"},
		{"and the listener's behind it", `esmtp_listener { peer "10.0.0.0/8" { max_message_size = 5m } listen ":25" { max_message_size = 3m peer "10.0.0.0/8" { mcmt_reception = allow } } }`, "5m"},
		{"one address", `esmtp_listener { listen ":25" { peer "10.1.2.3" { max_message_size = 6m } peer "10.1.2.0/24" { max_message_size = 5m } } }`, "6m"},

		{"a pathway is behind the scope that takes it in", `pathway p { max_message_size = 7m } esmtp_listener { pathway = p max_message_size = 2m listen ":25" {} }`, "2m"},
		{"and before the scope around that", `pathway p { max_message_size = 7m } esmtp_listener { max_message_size = 2m listen ":25" { pathway = p } }`, "7m"},
		{"a pathway is before global", `max_message_size = 1m pathway p { max_message_size = 7m } esmtp_listener { pathway = p listen ":25" {} }`, "7m"},
		{"a peer's pathway", `pathway p { max_message_size = 7m } esmtp_listener { listen ":25" { max_message_size = 3m peer "10.0.0.0/8" { pathway = P } } }`, "7m"},
		{"the group behind its pathway", `pathway_group g { max_message_size = 8m pathway p { } } esmtp_listener { pathway = p listen ":25" {} }`, "8m"},
		{"the pathway in the group before the group", `pathway_group g { max_message_size = 8m pathway p { max_message_size = 7m } } esmtp_listener { pathway = p listen ":25" {} }`, "7m"},
		{"the pathway in a group before the one alone", `pathway p { max_message_size = 9m } pathway_group g { pathway p { max_message_size = 7m } } esmtp_listener { pathway = p listen ":25" {} }`, "7m"},
		{"the one alone before the group", `pathway p { max_message_size = 9m } pathway_group g { max_message_size = 8m pathway p { } } esmtp_listener { pathway = p listen ":25" {} }`, "9m"},
		{"the group before global", `max_message_size = 1m pathway_group g { max_message_size = 8m pathway p { } } esmtp_listener { pathway = p listen ":25" {} }`, "8m"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			c := load(t, tt.text)
			want := map[byte]int64{'m': 1 << 20}[tt.peer[len(tt.peer)-1]] * int64(atoi(t, strings.TrimSuffix(tt.peer, "m")))
			if got := c.Listeners[0].For(mustAddr("10.1.2.3")).MaxMessageSize; got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		})
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := (&option{max: 0}).readNumber(s)
	if err != nil {
		t.Fatal(err)
	}
	return n.(int)
}

// For sees the peer's address as the listener does.
func TestForAddress(t *testing.T) {
	t.Parallel()
	c := load(t, `
relay_hosts = ( "10.1.0.0/16" "2001:db8::/32" )
esmtp_listener {
  listen ":25" {
    peer "10.0.0.0/8" { mcmt_reception = allow }
    peer "127.0.0.1" { mcmt_reception = reject }
    peer "fe80::/10" { max_recipients_per_batch = 9 }
    peer "0.0.0.0/0" { always_deny = true }
  }
}`)
	l := c.Listeners[0]
	tests := []struct {
		why, addr string
		want      PeerOptions
	}{
		{"in peer and relay_hosts", "10.1.0.1", PeerOptions{MCMTReception: mcmt.Allow, Trusted: true}},
		{"relay_hosts cuts through the peer's range", "10.2.0.1", PeerOptions{MCMTReception: mcmt.Allow}},
		{"IPv4 within IPv6", "::ffff:10.1.0.1", PeerOptions{MCMTReception: mcmt.Allow, Trusted: true}},
		{"every IPv4 address", "192.0.2.1", PeerOptions{AlwaysDeny: true}},
		{"is not every address", "2001:db8::1", PeerOptions{Trusted: true}},
		{"a zone does not matter", "fe80::1%eth0", PeerOptions{MaxRecipients: 9}},
		{"a Unix socket has no address", "", PeerOptions{MCMTReception: mcmt.Reject}},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			addr, _ := netip.ParseAddr(tt.addr)
			got := l.For(addr)
			if got.MCMTReception != tt.want.MCMTReception || got.Trusted != tt.want.Trusted ||
				got.AlwaysDeny != tt.want.AlwaysDeny || tt.want.MaxRecipients != 0 && got.MaxRecipients != tt.want.MaxRecipients {
				t.Errorf("got %+v", *got)
			}
			if again := l.For(addr); again != got {
				t.Error("the options are made anew each time")
			}
		})
	}
}

func TestDomainFallback(t *testing.T) {
	t.Parallel()
	c := load(t, `
retry_interval = 5
domain "a.example" { xmpp_role = "server" max_retry_interval = 70 }
domain "#xmpp#A.example" { retry_interval = 6 }
domain "#xmpp#b.example" { xmpp_role = "client" }
domain "#smtp#c.example" { max_retry_interval = 80 }
domain "bücher.example" { xmpp_role = "server" }
`)
	a := c.Domain("A.Example")
	if a == nil || a.Role != RoleServer || a.RetryInterval != 6*time.Second || a.MaxRetryInterval != 70*time.Second {
		t.Errorf("a.example: %+v", a)
	}
	b := c.Domain("b.example")
	if b == nil || b.Role != RoleClient || b.RetryInterval != 5*time.Second || b.MaxRetryInterval != 1800*time.Second {
		t.Errorf("b.example: %+v", b)
	}
	if d := c.Domain("c.example"); d != nil {
		t.Errorf("c.example speaks SMTP only: %+v", d)
	}
	if c.Domain("bücher.example") == nil || c.Domain("xn--bcher-kva.example") == nil {
		t.Error("bücher.example is not found in both its forms")
	}
	if got := strings.Join(c.ServedDomains(), " "); got != "a.example bücher.example" {
		t.Errorf("served: %s", got)
	}
	if c.MailGatewayDomain != "mail.a.example" {
		t.Errorf("mail gateway: %s", c.MailGatewayDomain)
	}
	if len(c.Domains) != 3 {
		t.Errorf("%d domains", len(c.Domains))
	}
}

// file_mode, pools and certificates come out as the parts need them.
func TestListen(t *testing.T) {
	t.Parallel()
	files := newTestFiles(t)
	c := load(t, `
xmpp { enabled = no }
domain "a.example" { xmpp_role = "server" }
threadpool Logins { concurrency = 7 }
disable_nagle_algorithm = off
tls_key = "`+files.key+`"
tls_certificate = "`+files.cert+`"
xmpp_listener {
  file_mode = 0600
  pool_name = logins
  AuthDigestMD5Parameters = [ uri = "file://`+files.passwd+`" ]
  listen "unix:/run/x.sock" { disable_nagle_algorithm = true }
  listen "[::1]:5347" { tls_certificate = none }
}
http_listener { listen "localhost:0" {} }
`)
	sock, comp, http := c.Listeners[0], c.Listeners[1], c.Listeners[2]
	if sock.Address != "/run/x.sock" || sock.FileMode != 0o600 || sock.Pool != "logins" || c.ThreadPools["logins"] != 7 || sock.Stream != StreamClient {
		t.Errorf("%+v", sock)
	}
	if !*sock.DisableNagle || *comp.DisableNagle || *http.DisableNagle {
		t.Error("disable_nagle_algorithm")
	}
	if sock.Enable || comp.Enable || !http.Enable {
		t.Error("xmpp listeners are enabled without the module")
	}
	if o := sock.For(netip.Addr{}); o.TLSCertificate != files.cert || o.TLSKey != files.key || o.AuthPlain != "" || o.AuthDigestMD5 == "" {
		t.Errorf("%+v", o)
	}
	if o := comp.For(netip.Addr{}); !o.NoTLS || o.TLSCertificate != "" || o.TLSKey != "" {
		t.Errorf("%+v", o)
	}
	if comp.Stream != StreamComponent {
		t.Errorf("stream on 5347: %s", comp.Stream)
	}
	if http.For(netip.Addr{}).MCMTReception != mcmt.Allow {
		t.Error("the HTTP listener is always MCMT-enabled")
	}
}

func BenchmarkFor(b *testing.B) {
	c := load(b, `esmtp_listener { listen ":25" { peer "10.0.0.0/8" {} peer "192.0.2.0/24" {} peer "2001:db8::/32" {} } }`)
	l, addr := c.Listeners[0], mustAddr("198.51.100.1")
	b.ReportAllocs()
	for b.Loop() {
		_ = l.For(addr)
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Default(); err != nil {
			b.Fatal(err)
		}
	}
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }
