package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestWarnings are configurations that load, each with all that is to be said
// about it.
func TestWarnings(t *testing.T) {
	t.Parallel()
	files := newTestFiles(t)
	tests := []struct {
		why, text string
		want      []string
	}{
		{"routes and a gateway", `domain a.example { gateway = "b.example:1" routes = ( "xmpp-server://c.example:2" ) }`,
			[]string{"1:20: warning: gateway has no effect: routes, at t.conf:1:"}},
		{"a scope, once for all that is in it", "binding x { }",
			[]string{"1:1: warning: scope binding is not yet in effect in this version"}},
		{"message text in a log", `xmpp_logger x { log_delivery_format = "%t %sr" }`,
			[]string{"1:17: note: log_delivery_format writes the text of messages to /var/log/ecelerity/xmpplog.ec"}},
		{"an option that means nothing here", `xmpp_logger x { namespace = "xmpp_logger,sieve,custom_logger" }`,
			[]string{"1:17: warning: namespace has no effect: a logger sees all streams"}},
		{"a format of lines that are not there", `xmpp_logger x { log_failed_format = "%xr" }`,
			[]string{"1:17: warning: log_failed_format has no effect: log_failed is false"}},
		{"in one of its scopes only: outgoing certificates", `domain a.example { tls_certificate = "` + files.both + `" }`,
			[]string{"1:20: warning: tls_certificate is not yet in effect"}},
		{"the module is switched off", "domain a.example { xmpp_role = server }\nxmpp { enabled = false }\nxmpp_listener { authplainparameters = [ uri = \"nats://accounts\" ] listen :1 {} }",
			[]string{"3:1: warning: not listening: the xmpp module is switched off at t.conf:2:8"}},
		{"nobody can log in", "xmpp {}\nxmpp_listener { authplainparameters = [ uri = \"nats://accounts\" ] listen :1 {} }",
			[]string{"2:1: warning: no domain has xmpp_role = server"}},
		{"no accounts are named", "domain a.example { xmpp_role = server } xmpp {}\nxmpp_listener { listen :1 {} listen :2 { peer 10.0.0.1 {} } }",
			[]string{"2:1: note: accounts are those of the built-in store"}},
		{"components that nobody may be", "domain a.example { xmpp_role = server } xmpp {}\nxmpp_listener { listen :5347 {} listen :2 { stream = component enable = false } }",
			[]string{"2:17: warning: no component can join: no domain has a component_secret"}},
		{"a component that can join nowhere", "domain a.example { component_secret = x }",
			[]string{"1:1: warning: no component can join as a.example"}},
		{"a bound and a pool", "domain a.example { xmpp_role = server } xmpp {} threadpool p { concurrency = 5 }\nxmpp_listener { concurrency = 4 pool_name = p listen :5222 { } authplainparameters = [ uri = \"nats://accounts\" ] }",
			[]string{"2:17: warning: concurrency has no effect: that of threadpool"}},
		{"no socket", "esmtp_listener { }", []string{"1:1: warning: esmtp_listener listens nowhere"}},
		{"the certificate is old", `esmtp_listener { listen :1 { tls_certificate = "` + files.expired + `" } }`,
			[]string{"1:48: warning: the certificate expired on "}},
		{"ciphers of TLS 1.3", `tls_ciphers = "ECDHE+AESGCM:TLS_AES_128_GCM_SHA256"`,
			[]string{"1:15: note: tls_ciphers: the suites of TLS 1.3 are fixed"}},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			c, err := LoadBytes("t.conf", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Warnings) != len(tt.want) {
				t.Errorf("got %d, want %d:\n%s", len(c.Warnings), len(tt.want), Diagnostics(c.Warnings))
				return
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(c.Warnings[i].String(), "t.conf:"+want) {
					t.Errorf("got  %s\nwant %s", c.Warnings[i], want)
				}
			}
		})
	}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	tests := []struct {
		why, a, b string
		want      bool
	}{
		{"the same", "127.0.0.1:25", "127.0.0.1:25", true},
		{"two ways to write all addresses", "*:25", ":25", true},
		{"all and one", "*:25", "192.0.2.1:25", true},
		{"both families at once", "[::]:25", "0.0.0.0:25", true},
		{"two spellings of an address", "[2001:db8::1]:25", "[2001:DB8:0::1]:25", true},
		{"two spellings of a name", "localhost:25", "LOCALHOST:25", true},
		{"two addresses", "192.0.2.1:25", "192.0.2.2:25", false},
		{"two ports", "*:25", "*:26", false},
		{"the system chooses", "*:0", "*:0", false},
		{"two spellings of a path", "/run/x.sock", "unix:/run//x.sock", true},
		{"two paths", "/run/x.sock", "/run/y.sock", false},
		{"a path and a port", "/run/x.sock", "*:25", false},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			t.Parallel()
			a, err := parseAddress(tt.a)
			if err != nil {
				t.Fatal(err)
			}
			b, err := parseAddress(tt.b)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.overlaps(b); got != tt.want || b.overlaps(a) != got {
				t.Errorf("%s and %s: %v", tt.a, tt.b, got)
			}
		})
	}
}

func TestRecipientMap(t *testing.T) {
	t.Parallel()
	c := load(t, `
recipient_map "phones" { match = "\+(\d+)@sms\.example" jid = "${1}x@phones.example" }
recipient_map "names" { match = "(?i)(?P<user>.*)@SMS\.example" jid = "$user@names.example" }
`)
	for addr, want := range map[string]string{
		"+491234@sms.example":        "491234x@phones.example",
		"alice@sms.example":          "alice@names.example",
		"+491234@sms.example.com":    "",
		"x@y, +491234@sms.example.x": "",
	} {
		got := ""
		for _, m := range c.RecipientMaps {
			if to, ok := m.Map(addr); ok {
				got = to
				break
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", addr, got, want)
		}
	}
}

// Lines of diagnostics are cut where they are long, and the caret stays with its
// character.
func TestExcerpt(t *testing.T) {
	t.Parallel()
	long := "log_format = json " + strings.Repeat(" ", 200) + "frobnicate = 1" + strings.Repeat(" ", 200)
	for why, text := range map[string]string{
		"long":            long,
		"tabs":            "\t\tfrobnicate = 1",
		"wide characters": `hostname = "ключ.example" frobnicate = 1`,
		"a masked secret": `domain a.example { xmpp_dialback_secret = "a long secret" frobnicate = 1 }`,
		"carriage return": "log_level = info\r\nfrobnicate = 1\r\n",
	} {
		_, err := LoadBytes("t.conf", []byte(text))
		found, ok := err.(Diagnostics)
		if !ok || len(found) != 1 {
			t.Errorf("%s: got %v", why, err)
			continue
		}
		lines := strings.Split(found[0].String(), "\n")
		caret := []rune(lines[2])
		under := string([]rune(lines[1])[len(caret)-1:])
		if !strings.HasPrefix(under, "frobnicate") || fmt.Sprint(lines[2][len(lines[2])-1:]) != "^" {
			t.Errorf("%s: the caret is under %q:\n%s", why, under, found[0])
		}
	}
}
