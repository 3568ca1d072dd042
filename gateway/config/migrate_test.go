package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// golden compares what came out with a file, or writes it.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what came out:\n%s", path, got)
	}
}

// Each old file of testdata/migrate becomes the new one beside it, with the findings
// beside that.
func TestMigrate(t *testing.T) {
	t.Parallel()
	old, err := filepath.Glob("testdata/migrate/*.old")
	if err != nil || len(old) < 2 {
		t.Fatalf("found %v: %v", old, err)
	}
	for _, path := range old {
		m, err := Migrate(path, nil)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		var found strings.Builder
		for _, f := range m.Found {
			found.WriteString(f.String() + "\n")
		}
		golden(t, strings.TrimSuffix(path, ".old")+".new", string(m.Text))
		golden(t, strings.TrimSuffix(path, ".old")+".found", found.String())
		if strings.Contains(found.String(), "myS3cr3T") {
			t.Error("a finding shows a secret")
		}
		checkMigrated(t, path, m)
	}
}

// checkMigrated holds what is true of every migration: check accepts the new file, and to
// migrate it again leaves nothing out.
func checkMigrated(t *testing.T, name string, m *Migration) {
	t.Helper()
	if _, err := LoadBytes(name, m.Text); err != nil {
		t.Fatalf("the new file does not load: %v\n%s", err, m.Text)
	}
	again, err := MigrateBytes(name, m.Text, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range again.Found {
		if f.Kind == LeftOut {
			t.Errorf("of the new file something is left out: %s\n%s", f, m.Text)
		}
	}
}

// What is in the new file holds the values of the old one.
func TestMigrateKeepsValues(t *testing.T) {
	t.Parallel()
	text := "xmpp {}\nXMPP_Listener { Listen \"*:5222\" { Idle_Time = 7 TCP_Recv_Buffer_Size = 8192 } }\n" +
		"Domain a.example { XMPP_Role = server XMPP_Dialback_Secret = 'it\"s ${HOME} \\d' }\n"
	m, err := MigrateBytes("old.conf", []byte(text), nil)
	if err != nil || len(m.Found) > 0 {
		t.Fatal(err, m.Found)
	}
	c, err := LoadBytes("new.conf", m.Text)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Domain("a.example").DialbackSecret.Reveal(); got != `it"s ${HOME} \d` {
		t.Errorf("the secret has become %s", got)
	}
	if l := c.Listeners[0]; l.For(mustAddr("192.0.2.1")).IdleTime.Seconds() != 7 || l.TCPRecvBuffer != 8192 {
		t.Errorf("the listener has become %+v", l)
	}
	if m.Kept != 8 {
		t.Errorf("%d kept, want 8", m.Kept)
	}
}

// What this version takes and does nothing with is said, and counts as lost.
func TestMigrateNoEffect(t *testing.T) {
	t.Parallel()
	m, err := MigrateBytes("old.conf", []byte("xmpp_logger log { logfile = x.log }\nbinding_group g { binding b { tls_key = x } }\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, name := range []string{"xmpp_logger", "binding_group"} {
		if scopeByName(name).planned {
			want++
		}
	}
	if m.Lost() != want || want == 0 {
		t.Errorf("%d lost, want %d: %v", m.Lost(), want, m.Found)
	}
}

// A script that does not run is left out with what is wrong with it; what looks wrong
// with one that runs is passed on.
func TestMigrateScripts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"good.lua", "bad.lua"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x = 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := "scriptlet s {\n script good { source = good.lua }\n script bad { source = bad.lua }\n}\n"
	m, err := MigrateBytes(filepath.Join(dir, "old.conf"), []byte(text), func(c *Config) (Diagnostics, error) {
		var all Diagnostics
		for _, s := range c.Scripts {
			all = append(all, s.InScript(SeverityWarning, 1, 0, "looks odd"))
			if s.Name == "bad" {
				return nil, Diagnostics{s.InScript(SeverityError, 1, 1, "does not run")}
			}
		}
		return all, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(m.Text, []byte("bad.lua")) || !bytes.Contains(m.Text, []byte("good.lua")) {
		t.Errorf("the new file:\n%s", m.Text)
	}
	var said []string
	for _, f := range m.Found {
		said = append(said, filepath.Base(f.Pos.String())+" "+f.Kind.String()+" "+f.Reason)
	}
	want := "good.lua:1 look at looks odd|old.conf:3:2 left out does not run"
	for _, w := range strings.Split(want, "|") {
		if !strings.Contains(strings.Join(said, "|"), w) {
			t.Errorf("%q is not in %q", w, said)
		}
	}
}

// Files that are no configurations are refused, in a time that does not grow with the
// square of their length.
func TestMigrateHostile(t *testing.T) {
	t.Parallel()
	for why, piece := range map[string]string{
		"not understood": "= x\n", "unknown scopes": "a {\n}\n", "unknown options": "esmtp_listener { peer \"\" { } }\n", "closing": "}\n",
	} {
		start := time.Now()
		_, err := MigrateBytes("/nonexistent/hostile.conf", []byte(strings.Repeat(piece, 16<<10/len(piece))), nil)
		t.Logf("%s: took %v", why, time.Since(start))
		if !errors.Is(err, errTooMuch) {
			t.Errorf("%s: %.200v", why, err)
		}
	}
	for why, text := range map[string]string{
		"a control character": "a = \"\x00\"\n", "scopes in scopes": strings.Repeat("a {\n", 1<<10), "lists in lists": strings.Repeat("relay_hosts = ( ( (\n", 1<<8),
	} {
		m, err := MigrateBytes("/nonexistent/hostile.conf", []byte(text), nil)
		if err != nil || m.Lost() != 1 || m.Found[0].What != "file" {
			t.Errorf("%s: %v, %v", why, m, err)
		}
	}
}

// FuzzMigrate holds that whatever an old file holds, the new one loads, nothing panics,
// and what is said is bounded.
func FuzzMigrate(f *testing.F) {
	for _, pattern := range []string{"testdata/migrate/*.old", "testdata/bad/*.conf", examples + "*.conf"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(strings.ToLower(text), "include") {
			t.Skip() // files are outside of what is tested here
		}
		m, err := MigrateBytes("/nonexistent/fuzz.conf", []byte(text), nil)
		switch {
		case errors.Is(err, errTooMuch):
			return
		case err != nil:
			t.Fatal(err)
		}
		if len(m.Found) > maxErrors || len(m.Text) > 64*len(text)+1024 {
			t.Fatalf("%d findings, %d bytes", len(m.Found), len(m.Text))
		}
		checkMigrated(t, "/nonexistent/fuzz.conf", m)
	})
}
