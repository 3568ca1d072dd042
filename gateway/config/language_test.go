package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLanguage reads hostname or recipient maps written in all the ways that the
// language has.
func TestLanguage(t *testing.T) {
	t.Setenv("MCMT2XMPP_TEST_HOST", "env.example")
	t.Setenv("MCMT2XMPP_TEST_EMPTY", "")
	tests := []struct{ why, text, want string }{
		{"names are compared without case", `HostName = "a.example"`, "a.example"},
		{"no quotes needed", `hostname = a.example`, "a.example"},
		{"single quotes", `hostname = 'a.example'`, "a.example"},
		{"white space is free", "hostname\n\t=\r\n\"a.example\"", "a.example"},
		{"a comment ends the line", "hostname = a.example # = b.example\n# hostname = c.example", "a.example"},
		{"a comment right behind a word", "hostname = a.example# really", "a.example"},
		{"several settings in a line", `log_level = debug hostname = a.example log_format = json`, "a.example"},
		{"environment", `hostname = "${MCMT2XMPP_TEST_HOST}"`, "env.example"},
		{"environment within a string", `hostname = "gw.${MCMT2XMPP_TEST_HOST}${MCMT2XMPP_TEST_EMPTY}"`, "gw.env.example"},
		{"byte order mark", "\ufeffhostname = a.example", "a.example"},
		{"a scope in between", "xmpp {} hostname = a.example domain a.example { xmpp_role = server }", "a.example"},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			if got := load(t, tt.text).Hostname; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestStrings(t *testing.T) {
	t.Setenv("MCMT2XMPP_TEST_NS", `urn:x"\${HOME}`)
	tests := []struct{ why, written, want string }{
		{"# is no comment in quotes", `"urn:x#y"`, "urn:x#y"},
		{"nor is anything else", `"{ } [ ] ( ) = , ' /"`, "{ } [ ] ( ) = , ' /"},
		{"quote", `"a \"b\" c"`, `a "b" c`},
		{"backslash", `"a\\b"`, `a\b`},
		{"other backslashes stay", `"\+\d\n"`, `\+\d\n`},
		{"the dollar of a template stays", `"$1 ${1} $name"`, `$1 ${1} $name`},
		{"a plain ${", `"$${HOME}"`, `${HOME}`},
		{"what comes from the environment is not read again", `"${MCMT2XMPP_TEST_NS}"`, `urn:x"\${HOME}`},
		{"single quotes are plain", `'a\\b ${HOME} "x"'`, `a\\b ${HOME} "x"`},
		{"commas in a bare word", `a,b`, `a,b`},
		{"other marks in a bare word", `urn:x.y-z_1+2@3!`, `urn:x.y-z_1+2@3!`},
		{"UTF-8", `"ключ"`, `ключ`},
	}
	for _, tt := range tests {
		t.Run(tt.why, func(t *testing.T) {
			c := load(t, "filter f { type = element namespace = "+tt.written+" }")
			if got := c.Filters[0].Namespace; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestListsAndScopes(t *testing.T) {
	t.Parallel()
	for why, text := range map[string]string{
		"white space between": `mcmt_preference = ( email "xmpp" smpp )`,
		"commas between":      `mcmt_preference = (email,"xmpp",smpp)`,
		"over lines":          "mcmt_preference = (\n email # first\n xmpp,\n smpp\n)",
	} {
		c := load(t, text)
		if got := strings.Join(c.MCMT.Preference, " "); got != "email xmpp smpp" {
			t.Errorf("%s: got %s", why, got)
		}
	}
	if got := load(t, "mcmt_preference = email").MCMT.Preference; len(got) != 1 || got[0] != "email" {
		t.Errorf("a list of one needs no parentheses: %v", got)
	}
	if got := load(t, "mcmt_xmpp_types = ()").MCMT.XMPPTypes; len(got) != 0 {
		t.Errorf("an empty list is empty: %v", got)
	}
	for why, text := range map[string]string{
		"label unquoted":   `domain a.example { xmpp_role = server }`,
		"label quoted":     `Domain "a.example" { XMPP_ROLE = "Server" }`,
		"in one word":      `domain"a.example"{xmpp_role="server"}`,
		"listener by name": `esmtp_listener "one" {} esmtp_listener "two" {} domain a.example { xmpp_role = server }`,
	} {
		if c := load(t, text); len(c.ServedDomains()) != 1 {
			t.Errorf("%s: %v", why, c.ServedDomains())
		}
	}
}

func TestInclude(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	main := write("main.conf", `
include "sub/one.conf"
Include "sub/*.snippet"
include "none/*.conf"
esmtp_listener { include "sub/listens" }
data_dir = "data"`)
	write("sub/one.conf", `include "two.conf"`)
	write("sub/two.conf", `hostname = two.example`)
	write("sub/a.snippet", `domain a.example { xmpp_role = server }`)
	write("sub/b.snippet", `domain b.example { xmpp_role = server }`)
	write("sub/listens", `listen "unix:run/x.sock" {} listen ":25" {}`)
	c, err := Load(main)
	if err != nil {
		t.Fatal(err)
	}
	if c.Hostname != "two.example" || strings.Join(c.ServedDomains(), " ") != "a.example b.example" || len(c.Listeners) != 2 {
		t.Errorf("%+v", c)
	}
	if c.DataDir != filepath.Join(dir, "data") {
		t.Errorf("data_dir %s is not from the file's folder", c.DataDir)
	}
	if want := filepath.Join(dir, "sub/run/x.sock"); c.Listeners[0].Address != want {
		t.Errorf("socket %s, want %s", c.Listeners[0].Address, want)
	}
	if len(c.Files) != 6 || c.Files[0] != main {
		t.Errorf("files: %v", c.Files)
	}

	// Files that include each other without end are refused, and so are many.
	write("deep.conf", "include \"deep/0.conf\"")
	for i := range 20 {
		write(filepath.Join("deep", string(rune('0'+i))+".conf"), "include \""+string(rune('0'+i+1))+".conf\"")
	}
	refused(t, filepath.Join(dir, "deep.conf"), "deeper than 16")
	write("many.conf", strings.Repeat("include \"many.part\"\n", 300))
	write("many.part", "# nothing")
	refused(t, filepath.Join(dir, "many.conf"), "more than 256 files")
}

// refused expects an error whose text has want in it.
func refused(t *testing.T, path, want string) {
	t.Helper()
	_, err := Load(path)
	var found Diagnostics
	if !errors.As(err, &found) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want %q", filepath.Base(path), err, want)
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	_, err := Load("/nonexistent/a.conf")
	if err == nil || err.Error() != "/nonexistent/a.conf: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

// The values of each type, in all their spellings.
func TestValues(t *testing.T) {
	t.Parallel()
	for why, same := range map[string][]string{
		"sizes":     {"max_message_size = 1048576", "max_message_size = 1024k", `max_message_size = "1M"`},
		"durations": {"message_expiration = 86400", "message_expiration = 1d", `message_expiration = "24h"`, "message_expiration = 1440m", "message_expiration = 86400s"},
		"booleans":  {"esmtp_listener { listen :25 { enable = false } }", `esmtp_listener { listen :25 { enable = "No" } }`, "esmtp_listener { listen :25 { enable = OFF } }"},
		"modes":     {"control_listener { file_mode = 0600 listen :1 {} }", `control_listener { file_mode = "600" listen :1 {} }`},
		"words":     {"log_level = DEBUG", `log_level = "debug"`},
	} {
		want := dump(load(t, same[0]))
		for _, text := range same[1:] {
			if dump(load(t, text)) != want {
				t.Errorf("%s: %s is not %s", why, text, same[0])
			}
		}
	}
}
