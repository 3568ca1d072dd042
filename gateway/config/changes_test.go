package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// changed loads two texts and says what differs, a line each.
func changed(t *testing.T, dir, before, after string) []string {
	t.Helper()
	load := func(text string) *Config {
		c, err := LoadBytes(filepath.Join(dir, "test.conf"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := load(before)
	var lines []string
	for _, c := range load(after).Changes(old) {
		lines = append(lines, fmt.Sprintf("%d:%d %s: %s: [%s] -> [%s] %s", c.Pos.Line, c.Pos.Column, c.Scope, c.Option, c.Was, c.Is, c.Restart))
	}
	return lines
}

// TestChanges: what differs is named with its scope and place, and says what of it
// needs a restart.
func TestChanges(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const base = `data_dir = data
xmpp {}
xmpp_listener { listen "127.0.0.1:5222" {} }
esmtp_listener { listen "127.0.0.1:2525" { peer "10.0.0.0/8" { always_deny = true } } }
esmtp_listener { listen "127.0.0.1:2526" {} }
filter a { type = markers }
filter b { type = receipts }
domain localhost { xmpp_role = server }
`
	for _, c := range []struct {
		name, old, new string
		want           []string
	}{
		{"nothing", "", "", nil},
		{"only where it stands", "data_dir", "\n\n# a comment\ndata_dir", nil},
		{"a value written otherwise", `xmpp_role = server`, `XMPP_Role = "server"`, nil},
		{"one of the process", "data_dir = data", "data_dir = other", []string{`1:1 global: data_dir: ["` + dir + `/data"] -> ["` + dir + `/other"] all`}},
		{"one that is not set any more", "always_deny = true", "", []string{
			`4:64 esmtp_listener listen 127.0.0.1:2525 peer 10.0.0.0/8: always_deny: [true] -> [] `}},
		{"one that was not set", "filter a {", "filter a { mode = shadow", []string{`6:12 filter a: mode: [] -> [shadow] `}},
		{"in the second of two without a label", `2526" {`, `2526" { listen_backlog = 7`, []string{
			`5:44 esmtp_listener listen 127.0.0.1:2526: listen_backlog: [] -> [7] all`}},
		{"a secret", "xmpp_role", "xmpp_dialback_secret = hunter2 xmpp_role", []string{
			`8:20 domain localhost: xmpp_dialback_secret: [] -> [***] `}},
		{"a socket", `listen "127.0.0.1:5222"`, `listen "127.0.0.1:5223"`, []string{
			`3:17 xmpp_listener listen 127.0.0.1:5223: : [] -> [new] all`, `3:17 xmpp_listener listen 127.0.0.1:5222: : [] -> [gone] all`}},
		{"a listener", "filter a", "http_listener { listen \"127.0.0.1:8025\" {} }\nfilter a", []string{`6:1 http_listener: : [] -> [new] all`}},
		{"a peer", `listen "127.0.0.1:5222" {`, `listen "127.0.0.1:5222" { peer "192.0.2.7" { always_deny = true }`, []string{
			`3:43 xmpp_listener listen 127.0.0.1:5222 peer 192.0.2.7: : [] -> [new] `}},
		{"a domain of ours", "domain localhost", "domain new.example { xmpp_role = server }\ndomain localhost", []string{
			`8:1 domain new.example: : [] -> [new] the names of the self-signed certificate, and users without a domain in account files`}},
		{"a domain of others", "domain localhost", "domain new.example { xmpp_role = client }\ndomain localhost", []string{
			`8:1 domain new.example: : [] -> [new] the names of the self-signed certificate, and users without a domain in account files`}},
		{"the broker", "xmpp {}", "xmpp {}\nnats { max_memory = 64m }", []string{`3:1 nats: : [] -> [new] all`}},
		{"the module", "xmpp {}", "xmpp { debug_level = debug }", []string{`2:8 xmpp: debug_level: [] -> [debug] all`}},
		{"expiry", "xmpp {}", "message_expiration = 7d\nxmpp {}", []string{`2:1 global: message_expiration: [] -> [604800] how long dead messages are kept`}},
		{"expiry for one domain", "xmpp_role", "message_expiration = 7d xmpp_role", []string{`8:20 domain localhost: message_expiration: [] -> [604800] `}},
		{"the order of filters", "filter b { type = receipts }\ndomain", "domain", []string{`7:1 filter b: : [] -> [gone] `}},
		{"filters the other way round", "filter a { type = markers }\nfilter b { type = receipts }", "filter b { type = receipts }\nfilter a { type = markers }", []string{
			`0:0 global: order of filter: [a, b] -> [b, a] `}},
	} {
		if !strings.Contains(base, c.old) {
			t.Fatalf("%s: nothing to replace", c.name)
		}
		if d := cmp.Diff(c.want, changed(t, dir, base, strings.Replace(base, c.old, c.new, 1))); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// TestChangesOfSecrets: two secrets differ though both are shown as ***, and so do
// files under one name.
func TestChangesOfSecrets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if got, want := changed(t, dir, `xmpp {} domain a { xmpp_dialback_secret = one }`, `xmpp {} domain a { xmpp_dialback_secret = two }`),
		[]string{`1:20 domain a: xmpp_dialback_secret: [***] -> [***] `}; !cmp.Equal(got, want) {
		t.Errorf("%q", got)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() *Config {
		c, err := LoadBytes(filepath.Join(dir, "test.conf"), []byte("xmpp {}\noperator anna { token_file = token }\nscriptlet { script one { source = \"one.lua\" } }\n"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	write("token", "0123456789abcdef\n")
	write("one.lua", "local x = 1\n")
	old := load()
	if got := load().Changes(old); got != nil {
		t.Errorf("nothing has changed: %+v", got)
	}
	write("token", "fedcba9876543210\n")
	write("one.lua", "local x = 2\n")
	got := load().Changes(old)
	if len(got) != 2 || got[0].Scope != "operator anna" || got[0].Pos.Line != 2 || got[1].Scope != "scriptlet script one" || strings.Contains(fmt.Sprint(got), "fedcba") {
		t.Errorf("%+v", got)
	}
}
