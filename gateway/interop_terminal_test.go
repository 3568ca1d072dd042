package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
)

// screen is a tmux of its own with one program in it.
type screen struct {
	t    *testing.T
	tmux string
	home string
}

// newScreen runs a command line with a home of its own, in which files are put first.
func newScreen(t *testing.T, files map[string]string, command string) *screen {
	t.Helper()
	tm := &screen{t: t, tmux: peer(t, "tmux", "tmux"), home: t.TempDir()}
	for name, text := range files {
		path := filepath.Join(tm.home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tm.run("new-session", "-d", "-x", "200", "-y", "50", "env", "HOME="+tm.home, "XDG_CONFIG_HOME="+tm.home+"/config", "XDG_DATA_HOME="+tm.home+"/data",
		"LANG=C.UTF-8", "TERM=screen", "sh", "-c", command)
	t.Cleanup(func() { _ = exec.Command(tm.tmux, "-S", tm.socket(), "kill-server").Run() }) // it may have ended by itself
	return tm
}

func (tm *screen) socket() string { return filepath.Join(tm.home, "tmux") }

func (tm *screen) run(args ...string) string {
	tm.t.Helper()
	out, err := exec.Command(tm.tmux, append([]string{"-S", tm.socket()}, args...)...).CombinedOutput()
	if err != nil {
		tm.t.Fatalf("tmux %s: %v: %s", args[0], err, out)
	}
	return string(out)
}

// types types a line.
func (tm *screen) types(line string) {
	tm.t.Helper()
	tm.run("send-keys", "-l", line)
	tm.run("send-keys", "Enter")
}

// shows waits until the screen has a text.
func (tm *screen) shows(g *gateway, text string) {
	tm.t.Helper()
	seen := ""
	defer func() {
		if tm.t.Failed() {
			tm.t.Logf("screen:\n%s", seen)
		}
	}()
	g.eventually("the screen shows "+text, func() bool {
		seen = tm.run("capture-pane", "-p")
		return strings.Contains(seen, text)
	})
}

// talk has the client that shows in tm, which has just written to bob, and bob write to
// each other; look makes it show what bob has written.
func talk(t *testing.T, g *gateway, tm *screen, bob *jabber, look func()) {
	t.Helper()
	st := bob.next()
	for st.Child("body") == nil { // chat states
		st = bob.next()
	}
	if got := st.Child("body").Text(); got != "hello from a terminal" || st.From.Bare() != jid.MustParse("alice@localhost") {
		t.Errorf("bob gets %s", st)
	}
	if err := bob.c.Send(t.Context(), stanza.NewMessage(st.From, jid.JID{}, "chat", "hello to the terminal")); err != nil {
		t.Fatal(err)
	}
	look()
	tm.shows(g, "hello to the terminal")
}

// TestInteropProfanity: profanity logs in, gets what has waited, and chats. It asks for
// whatever the server announces.
func TestInteropProfanity(t *testing.T) {
	t.Parallel()
	profanity := peer(t, "profanity", "profanity")
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	if err := inject(t.Context(), g, true, "alice@localhost", "it has waited"); err != nil {
		t.Fatal(err)
	}
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	_, port, err := net.SplitHostPort(g.xmpp())
	if err != nil {
		t.Fatal(err)
	}
	tm := newScreen(t, nil, profanity)
	tm.shows(g, "Profanity")
	tm.types(fmt.Sprintf("/connect alice@localhost server 127.0.0.1 port %s tls trust", port))
	tm.shows(g, "Enter password:")
	tm.types("secret")
	tm.shows(g, "logged in successfully")
	tm.types("/msg bob@localhost hello from a terminal")
	talk(t, g, tm, bob, func() {})
	g.eventually("the message that waited is delivered", func() bool { return metricsOf(t, g)["mcmt2xmpp_parked_messages"] == 0 })
	tm.types("/quit")
}

// TestInteropMcabber: the same with mcabber.
func TestInteropMcabber(t *testing.T) {
	t.Parallel()
	mcabber := peer(t, "mcabber", "mcabber")
	g := newGateway(t, "")
	g.start()
	g.addUser("alice@localhost", "secret")
	g.addUser("bob@localhost", "secret")
	bob := login(t, g.xmpp(), "bob@localhost/b", 0)
	_, port, err := net.SplitHostPort(g.xmpp())
	if err != nil {
		t.Fatal(err)
	}
	tm := newScreen(t, map[string]string{".mcabber/mcabberrc": fmt.Sprintf(
		"set jid = alice@localhost\nset password = secret\nset server = 127.0.0.1\nset port = %s\nset tls = 1\nset ssl_ignore_checks = 1\nset resource = m\n", port)}, mcabber)
	g.eventually("alice has logged in", func() bool { return metricsOf(t, g)["mcmt2xmpp_xmpp_sessions"] == 2 })
	tm.types("/say_to bob@localhost hello from a terminal")
	talk(t, g, tm, bob, func() {
		tm.shows(g, "#{?} bob@localhost") // something to read
		tm.types("/roster unread_next")
		tm.types("") // opens the conversation
	})
	tm.types("/quit")
}
