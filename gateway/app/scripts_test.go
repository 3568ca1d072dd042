package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mcmt2xmpp/gateway/config"
)

// script writes a script and returns the scope that runs it.
func writeScript(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name+".lua")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "scriptlet policy { script " + name + " { source = \"" + path + "\" } }\n"
}

func TestScriptProblemsHaveTheirLine(t *testing.T) {
	t.Parallel()
	cfg := load(t, t.TempDir(), basic+writeScript(t, "broken", "local m = {}\nfunction m:x( return 1 end\n"))
	_, err := CheckScripts(cfg)
	if err == nil {
		t.Fatal("no error")
	}
	if want := "broken.lua:2:20: syntax error near \"return\"\n    function m:x( return 1 end\n                       ^"; !strings.Contains(err.Error(), want) {
		t.Errorf("want %q in\n%s", want, err)
	}
	cfg = load(t, t.TempDir(), basic+writeScript(t, "odd", "local m = {}\nfunction m:validate_data() end\nmsys.registerModule('m', m)\n"))
	found, err := CheckScripts(cfg)
	if err != nil || len(found) != 2 {
		t.Fatalf("%v %v", found, err)
	}
	if got := found[1].String(); !strings.HasSuffix(got, "odd.lua:2: warning: validate_data is no hook of this gateway: it is never called\n    function m:validate_data() end") {
		t.Error(got)
	}
}

// TestScriptsAreReloaded: the new scripts hold for the next message, and one that is
// wrong is refused with its line while the old one stays.
func TestScriptsAreReloaded(t *testing.T) {
	t.Parallel()
	hook := func(name, result string) string {
		return writeScript(t, name, "local m = {}\nfunction m:client_message_recv(sess, stanza) return "+result+" end\nxmpp.registerModule('m', m)\n")
	}
	r := start(t, basic+hook("first", "msys.xmpp.DONE"))
	if s := r.state.Load().policy.Stats(); len(s) != 1 || s[0].Script != "first" {
		t.Fatalf("%+v", s)
	}
	r.reload(basic + writeScript(t, "second", "local x = = 1\n"))
	if s := r.state.Load().policy.Stats(); len(s) != 1 || s[0].Script != "first" {
		t.Errorf("%+v", s)
	}
	if log := r.log.String(); !strings.Contains(log, "second.lua:1:") || !strings.Contains(log, "configuration refused, the old one stays") {
		t.Errorf("the log lacks the mistake:\n%s", log)
	}
	r.reload(basic + hook("third", "msys.xmpp.CONT"))
	if s := r.state.Load().policy.Stats(); len(s) != 1 || s[0].Script != "third" {
		t.Errorf("%+v", s)
	}
	r.reload(basic)
	if r.state.Load().policy != nil {
		t.Error("scripts are left")
	}
}

// The example's scripts compile.
func TestScriptExample(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load("../../deploy/examples/policy.conf")
	if err != nil {
		t.Fatal(err)
	}
	if found, err := CheckScripts(cfg); err != nil || len(found) != 0 || len(cfg.Scripts) != 1 {
		t.Errorf("%v %v", found, err)
	}
}
