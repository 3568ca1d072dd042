package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
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
		"LANG=C.UTF-8", "TERM=screen", "sh", "-c", "exec "+command)
	t.Cleanup(tm.end)
	return tm
}

// end ends the program, if it has not ended by itself. mcabber outlives its terminal.
func (tm *screen) end() {
	out, err := exec.Command(tm.tmux, "-S", tm.socket(), "display-message", "-p", "#{pane_pid}").Output()
	if err != nil {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(out))); err == nil {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = exec.Command(tm.tmux, "-S", tm.socket(), "kill-server").Run()
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
	st := bob.spoken()
	if got := bodyOf(st); got != "hello from a terminal" || st.From.Bare() != jid.MustParse("alice@localhost") {
		t.Errorf("bob gets %s", st)
	}
	if err := bob.c.Send(t.Context(), stanza.NewMessage(st.From, jid.JID{}, "chat", "hello to the terminal")); err != nil {
		t.Fatal(err)
	}
	look()
	tm.shows(g, "hello to the terminal")
}

// spoken is the next message that has a body; chat states are passed over.
func (j *jabber) spoken() *stanza.Stanza {
	j.t.Helper()
	for {
		if st := j.next(); bodyOf(st) != "" {
			return st
		}
	}
}

// download gets what somebody has uploaded and sent the address of.
func download(t *testing.T, url, want string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want || resp.StatusCode != http.StatusOK {
		t.Errorf("%s has %q, %s, %v", url, got, resp.Status, err)
	}
}

// newProfanity is profanity that has logged in with the password "secret".
func newProfanity(t *testing.T, g *gateway, addr, user string) *screen {
	t.Helper()
	profanity := peer(t, "profanity", "profanity")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	tm := newScreen(t, nil, profanity)
	tm.shows(g, "Profanity")
	tm.types(fmt.Sprintf("/connect %s@localhost server %s port %s tls trust", user, host, port))
	tm.shows(g, "Enter password:")
	tm.types("secret")
	tm.shows(g, "logged in successfully")
	return tm
}

// newMcabber is mcabber that logs in with the password "secret".
func newMcabber(t *testing.T, addr, user string) *screen {
	t.Helper()
	mcabber := peer(t, "mcabber", "mcabber")
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return newScreen(t, map[string]string{".mcabber/mcabberrc": fmt.Sprintf(
		"set jid = %s@localhost\nset password = secret\nset server = %s\nset port = %s\nset tls = 1\nset ssl_ignore_checks = 1\nset resource = m\n", user, host, port)}, mcabber)
}

// newContacts has accounts for alice, bob, who is logged in, and carol, whose client
// approves and answers every request. Alice has written to bob from another client, and
// since that is gone he has written to her.
func newContacts(t *testing.T) (g *gateway, bob *jabber, carol *slixmpp) {
	t.Helper()
	g = newGateway(t, "")
	g.start()
	for _, user := range []string{"alice", "bob", "carol"} {
		g.addUser(user+"@localhost", "secret")
	}
	bob = login(t, g.xmpp(), "bob@localhost/b", 0)
	elsewhere := login(t, g.xmpp(), "alice@localhost/elsewhere", 0)
	elsewhere.say("bob@localhost/b", "<body>said elsewhere</body>")
	bob.want("said elsewhere")
	elsewhere.close()
	bob.say("alice@localhost", "<body>it has waited</body>")
	carol = runSlixmpp(t, "slixmpp_roster.py", g.xmpp(), "carol@localhost/c", "secret")
	carol.wait("online")
	return g, bob, carol
}

// subscribed waits until alice and carol are subscribed to each other.
func subscribed(t *testing.T, g *gateway, carol *slixmpp) {
	t.Helper()
	carol.roster("alice@localhost", "both")
	g.eventually("both are subscribed", func() bool { return strings.Contains(rosterOf(t, g, "alice@localhost"), `"subscription":"both"`) })
}

// TestInteropProfanity: profanity logs in, gets what has waited, and chats; it has
// contacts, goes on after its connection was cut, uploads a file and shows its archive. It
// asks for whatever the server announces.
func TestInteropProfanity(t *testing.T) {
	t.Parallel()
	g, bob, carol := newContacts(t)
	file := g.write("file.txt", "a file\n")
	line := newCable(t, g.xmpp())
	tm := newProfanity(t, g, line.addr, "alice")
	g.loggedIn("alice", "SCRAM-SHA-256")
	tm.shows(g, "<< chat message: bob@localhost/b")
	tm.types("/msg bob@localhost hello from a terminal")
	tm.shows(g, "it has waited")
	talk(t, g, tm, bob, func() {})

	tm.types("/roster add carol@localhost Carol")
	tm.types("/sub request carol@localhost")
	tm.types("/win 1") // the console
	tm.shows(g, "authorization request from carol@localhost")
	tm.types("/sub allow carol@localhost")
	subscribed(t, g, carol)
	carol.do(map[string]any{"do": "presence", "show": "dnd"})
	tm.shows(g, "Carol (c) is dnd")
	tm.types("/status set away")
	for e := carol.wait("available"); e.Show != "away"; e = carol.wait("available") {
	}

	tm.types("/reconnect 1")
	tm.shows(g, "Reconnect interval set")
	line.cut()
	tm.shows(g, "Connection re-established")
	g.eventually("the session is resumed", func() bool { return metric(t, g, `xmpp_resumptions_total{outcome="resumed"}`) == 1 })
	tm.types("/msg bob@localhost after the cut")
	if got := bodyOf(bob.spoken()); got != "after the cut" {
		t.Errorf("bob gets %q", got)
	}

	tm.types("/sendfile " + file)
	download(t, bodyOf(bob.spoken()), "a file\n")

	tm.types("/mam on")
	tm.types("/close bob@localhost")
	tm.types("/msg bob@localhost") // opens the conversation anew
	tm.shows(g, "said elsewhere")
	tm.types("/quit")
}

// TestInteropMcabber: the same with mcabber.
func TestInteropMcabber(t *testing.T) {
	t.Parallel()
	g, bob, carol := newContacts(t)
	tm := newMcabber(t, g.xmpp(), "alice")
	g.eventually("the message that waited is delivered", func() bool { return metricsOf(t, g)["mcmt2xmpp_parked_messages"] == 0 })
	tm.types("/say_to bob@localhost hello from a terminal")
	talk(t, g, tm, bob, func() {
		tm.shows(g, "#{?} bob@localhost") // something to read
		tm.types("/roster unread_next")
		tm.types("") // opens the conversation
	})
	tm.shows(g, "it has waited")
	tm.types("/add carol@localhost Carol")
	tm.shows(g, "wants to subscribe")
	tm.types("/event * accept")
	subscribed(t, g, carol)
	tm.types("/status away gone fishing")
	for e := carol.wait("available"); e.Show != "away" || e.Status != "gone fishing"; e = carol.wait("available") {
	}
	tm.types("/quit")
}
