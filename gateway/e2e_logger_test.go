package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"mcmt2xmpp/xmpp/stream"
)

// lineIn waits until the logfile of that name has a line that matches, and returns it.
func (g *gateway) lineIn(name, pattern string) string {
	g.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	var line string
	g.eventually(fmt.Sprintf("a line %s in %s", pattern, name), func() bool {
		line = re.FindString(g.file(name))
		return line != ""
	})
	return line
}

// file is what a file in the folder of the gateway holds, nothing where there is none.
func (g *gateway) file(name string) string {
	g.t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.t.Fatal(err)
	}
	return string(text)
}

// TestXMPPLogger: what passes on streams and what becomes of messages is in the files of
// the loggers (SPEC 12), with message text only where %sr is asked for; they are opened
// anew on SIGHUP, and complete when the gateway has ended.
func TestXMPPLogger(t *testing.T) {
	t.Parallel()
	const text = "Wombat4711"
	g := newGateway(t, `
xmpp_logger "stanzas" { logfile = "stanzas.log" logmode = 0640 heartbeat = 1 }
xmpp_logger "outcomes" {
  logfile = "outcomes.log" heartbeat = 0 log_delivery = false log_reception = false
  log_filtered = true log_failed = true log_deferred = true log_relayed = true log_expired = true
}
xmpp_logger "hidden" { logfile = "whole.log" heartbeat = 0 log_delivery_format = "%t;D;%so" log_reception = false }
xmpp_logger "open" { logfile = "whole.log" heartbeat = 0 log_delivery = false log_reception_format = "%t;R;%sr" }
domain "far.example" { xmpp_role = "client" routes = ( "xmpp-server://127.0.0.1:1" ) retry_interval = 1 max_retry_interval = 1 message_expiration = 1 }
`)
	g.start()
	for _, u := range []string{"alice", "bob", "away"} {
		g.addUser(u+"@localhost", "secret")
	}
	alice, bob := login(t, g.xmpp(), "alice@localhost/a", 0), login(t, g.xmpp(), "bob@localhost/b", 0)

	// Streams.
	const peer = `127\.0\.0\.1:\d+$`
	g.lineIn("stanzas.log", `^\d{10}\+R\+stream\+localhost\+\+\+\+`+peer)
	g.lineIn("stanzas.log", `^\d{10}\+D\+stream\+\+localhost\+[^+]+\+\+`+peer)
	g.lineIn("stanzas.log", `^\d{10}\+R\+presence\+\+alice@localhost/a\+[^+]*\+\+`+peer)
	g.lineIn("stanzas.log", `^\d{10}\+M$`)
	if info, err := os.Stat(filepath.Join(g.dir, "stanzas.log")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("access rights %v, %v", info.Mode(), err)
	}

	// A message from mail, one between users, and what answers.
	if err := inject(t.Context(), g, true, "alice@localhost", text); err != nil {
		t.Fatal(err)
	}
	alice.want(text)
	g.lineIn("stanzas.log", `^\d{10}\+D\+message\+alice@localhost[^+]*\+news\\40corp\.example@mail\.localhost\+[^+]+\+chat\+`+peer)
	bob.say("alice@localhost/a", "<body>"+text+"\n+D+message</body>")
	alice.next()
	g.lineIn("stanzas.log", `^\d{10}\+R\+message\+alice@localhost/a\+bob@localhost/b\+[^+]*\+chat\+`+peer)
	g.lineIn("whole.log", `^\d{10};R;<message .*>`+text+`\\x0a\+D\+message</body>`)
	g.lineIn("whole.log", `^\d{10};D;<message .*from='bob@localhost/b'.*<body>\*\*\*</body>`)

	// What becomes of messages.
	post := func(to, xmpp string) {
		t.Helper()
		a := g.post("/v1/messages", "application/json", fmt.Sprintf(`{"from":"news@corp.example","to":[%q],"text":"%s","xmpp":%q}`, to, text, xmpp))
		if a.status != http.StatusAccepted {
			t.Fatal(a)
		}
	}
	const composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
	post("alice@localhost", "<message>"+composing+"</message>")
	g.lineIn("outcomes.log", `^\d{10}\+F\+message\+alice@localhost\+news@corp\.example\+[^+]*\+\+\+chat-states\+.+$`)
	bob.say(`news\40corp.example@mail.localhost`, composing)
	g.lineIn("outcomes.log", `^\d{10}\+F\+message\+news\\40corp\.example@mail\.localhost\+bob@localhost/b\+[^+]*\+chat\+\+[a-z-]+\+.+$`)
	post("away@localhost", "<message><body>"+text+"</body></message>")
	g.lineIn("outcomes.log", `^\d{10}\+T\+message\+away@localhost\+news@corp\.example\+[^+]+\+\+\+1\+.+$`)
	if a := g.post("/v1/messages?from=news@corp.example&to=bob@localhost", "message/rfc822", "From: news@corp.example\r\n\r\n"); a.status != http.StatusAccepted {
		t.Fatal(a)
	}
	g.lineIn("outcomes.log", `^\d{10}\+P\+message\+bob@localhost\+news@corp\.example\+[^+]*\+\+\+.*no part that can be sent.*$`)
	g.lineIn("outcomes.log", `^\d{10}\+L\+message\+news@corp\.example\+[^+]*\+[^+]*\+\+$`) // the report of it
	post("friend@far.example", "<message><body>"+text+"</body></message>")
	g.lineIn("outcomes.log", `^\d{10}\+E\+message\+friend@far\.example\+news@corp\.example\+[^+]+\+\+\+.+$`)

	// The text is nowhere but where it was asked for.
	for _, name := range []string{"stanzas.log", "outcomes.log"} {
		if strings.Contains(g.file(name), text) {
			t.Errorf("%s holds the text of a message", name)
		}
	}
	for line := range strings.Lines(g.file("whole.log")) {
		if strings.Contains(line, text) && !strings.Contains(line, ";R;<message ") {
			t.Errorf("whole.log holds %s", line)
		}
	}
	if m := metricsOf(t, g); m[`mcmt2xmpp_xmpp_logger_lines_total{logger="stanzas",outcome="written"}`] < 8 ||
		m.value(t, `mcmt2xmpp_xmpp_logger_lines_total{logger="stanzas",outcome="dropped"}`) != 0 || m.value(t, `mcmt2xmpp_xmpp_logger_errors_total`) != 0 {
		t.Errorf("metrics: %v", m)
	}

	// The end: its last words are there.
	alice.close()
	g.stop()
	streamError(t, bob.ended(), stream.SystemShutdown)
	bob.close()
	if lines := g.file("stanzas.log"); !regexp.MustCompile(`(?m)^\d{10}\+D\+error\+\+\+\+\+127\.0\.0\.1:\d+$`).MatchString(lines) {
		t.Errorf("no stream error in\n%s", lines)
	}
}

// TestXMPPLoggerRotation: what logrotate does, with a configuration that is good, bad, or
// asks for a file that cannot be. No line is lost, none is in two files.
func TestXMPPLoggerRotation(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `xmpp_logger { logfile = "a.log" heartbeat = 0 log_reception = false log_delivery_format = "%st %ai" }`)
	g.start()
	g.addUser("alice@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	n := 0
	var sent []string
	receive := func() {
		t.Helper()
		n++
		if err := inject(t.Context(), g, false, "alice@localhost", fmt.Sprint("number ", n)); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, "message "+alice.want(fmt.Sprint("number ", n)).ID)
	}
	rotate := func(name string) {
		t.Helper()
		if err := os.Rename(filepath.Join(g.dir, "a.log"), filepath.Join(g.dir, name)); err != nil {
			t.Fatal(err)
		}
		receive() // goes to the file that was moved
	}
	good := g.config()
	receive()
	rotate("a.log.1")
	g.logged(g.reload(good), "configuration reloaded")
	receive()
	g.lineIn("a.log", "^"+sent[2]+"$")
	rotate("a.log.2")
	from := g.reload(good + "\nno_such_option = 1")
	g.logged(from, "the old one stays")
	g.lineIn("a.log.2", "^"+sent[3]+"$")
	receive()
	g.lineIn("a.log", "^"+sent[4]+"$")

	from = g.reload(strings.Replace(good, `"a.log"`, `"no/such/folder/a.log"`, 1))
	g.logged(from, "the old one stays", "gateway.conf:", "no/such/folder/a.log: no such file or directory", `"level":"error"`)
	receive()
	g.lineIn("a.log", "^"+sent[5]+"$")
	from = g.reload(strings.Replace(good, `"a.log"`, `"b.log"`, 1))
	g.logged(from, "configuration reloaded")
	receive()
	g.lineIn("b.log", "^"+sent[6]+"$")
	alice.close()
	g.stop()
	for name, want := range map[string][]string{"a.log.1": sent[:2], "a.log.2": sent[2:4], "a.log": sent[4:6], "b.log": sent[6:]} {
		var got []string
		for line := range strings.Lines(g.file(name)) {
			if strings.HasPrefix(line, "message ") {
				got = append(got, strings.TrimSpace(line))
			}
		}
		if strings.Join(got, ",") != strings.Join(want, ",") {
			t.Errorf("%s holds\n%q, want\n%q", name, got, want)
		}
	}
}

// TestXMPPLoggerCannotStart: a logfile that cannot be opened is an error at once.
func TestXMPPLoggerCannotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := filepath.Join(dir, "gateway.conf")
	if err := os.WriteFile(conf, []byte("data_dir = data\nxmpp_logger \"x\" { logfile = \"no/such/folder/x.log\" }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stderr, code := program(t, "", "serve", "-c", conf)
	if want := "gateway.conf:2:1: xmpp_logger x: open " + dir + "/no/such/folder/x.log: no such file or directory"; code == 0 || !strings.Contains(stderr, want) {
		t.Errorf("status %d: %s\nwant %s", code, stderr, want)
	}
}

// TestXMPPLoggerOfAllStreams: streams between servers, of components and of links are
// logged like those of clients, on both sides, with the namespace left out that the stream
// has anyway.
func TestXMPPLoggerOfAllStreams(t *testing.T) {
	t.Parallel()
	start := func(domain, component string) *gateway {
		g := newGatewayOf(t, fmt.Sprintf(`data_dir = "data"
log_format = "json"
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "nats://accounts" ]
  Listen "127.0.0.1:0" { stream = "client" }
  Listen "127.0.5.7:0" { stream = "server" }
  Listen "127.0.5.8:0" { stream = "component" }
}
control_listener { Listen "127.0.0.1:0" {} }
domain "%s" { xmpp_role = "server" }
%s
xmpp_logger { logfile = "all.log" heartbeat = 0 log_delivery_format = "D %%H %%sr" log_reception_format = "R %%H %%sr" }
`, domain, component))
		g.start()
		g.addUser("user@"+domain, "secret")
		return g
	}
	hub, far := start("hub.example", `domain "leaf.example" { component_secret = "s3cret" }`), start("far.example", "")
	leaf := start("leaf.example", fmt.Sprintf(`link "hub" { type = "component" jid = "leaf.example" gateway = %q password = "s3cret" tls = no domains = "hub.example" }`, hub.on("127.0.5.8")))
	route := func(g *gateway, domain string, to *gateway) {
		g.logged(g.reload(g.config()+fmt.Sprintf(`domain "%s" { xmpp_role = "client" routes = ( "xmpp-server://%s" ) }`, domain, to.on("127.0.5.7"))), "configuration reloaded")
	}
	route(hub, "far.example", far)
	route(far, "hub.example", hub)
	users := make(map[*gateway]*contact)
	for g, domain := range map[*gateway]string{hub: "hub.example", far: "far.example", leaf: "leaf.example"} {
		users[g] = meet(t, g.xmpp(), "user@"+domain+"/r")
	}
	hub.eventually("the component", func() bool { return metric(t, hub, "component_sessions") == 1 })

	const remote, message = ` 127\.0\.5\.[78]:\d+`, ` <message [^>]*to='user@%s[^>]*>.*<body>%s</body>`
	users[hub].says(users[far], "hub-to-far")
	hub.lineIn("all.log", fmt.Sprintf("^D"+remote+message, "far.example", "hub-to-far"))
	far.lineIn("all.log", fmt.Sprintf(`^R 127\.0\.0\.1:\d+`+message, "far.example", "hub-to-far"))
	users[leaf].says(users[hub], "leaf-to-hub")
	leaf.lineIn("all.log", fmt.Sprintf("^D"+remote+message, "hub.example", "leaf-to-hub"))
	hub.lineIn("all.log", fmt.Sprintf(`^R 127\.0\.0\.1:\d+`+message, "hub.example", "leaf-to-hub"))
	for _, g := range []*gateway{hub, far, leaf} {
		for line := range strings.Lines(g.file("all.log")) {
			if strings.Contains(line, "s3cret") || strings.Contains(line, "xmlns='jabber:server'") || strings.Contains(line, "<auth") || strings.Contains(line, "db:result") {
				t.Errorf("a line that should not be: %s", line)
			}
		}
	}
}

// TestXMPPLoggerDiskFull: a logfile that takes nothing, and one that takes nothing any
// more, hold up no message and not the end; both are said and counted.
func TestXMPPLoggerDiskFull(t *testing.T) {
	t.Parallel()
	g := newGateway(t, `
xmpp_logger "full" { logfile = "/dev/full" heartbeat = 0 }
xmpp_logger "stuck" { logfile = "pipe" heartbeat = 0 log_reception = false log_delivery_format = "%sr" }
`)
	pipe := filepath.Join(g.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0) // who never reads
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	g.start()
	g.addUser("alice@localhost", "secret")
	alice := login(t, g.xmpp(), "alice@localhost/a", 0)
	long := strings.Repeat("x", 64<<10) // fills the pipe
	for range 80 {                      // and then what may wait for it
		if err := inject(t.Context(), g, false, "alice@localhost", long); err != nil {
			t.Fatal(err)
		}
		alice.want(long)
	}
	g.logged(0, "the xmpp_logger cannot write", "no space left on device", `"logger":"full"`)
	m := metricsOf(t, g)
	if m["mcmt2xmpp_xmpp_logger_errors_total"] == 0 || m[`mcmt2xmpp_xmpp_logger_lines_total{logger="stuck",outcome="dropped"}`] == 0 ||
		m[`mcmt2xmpp_xmpp_logger_lines_total{logger="full",outcome="dropped"}`] != 0 {
		t.Errorf("metrics: %v", m)
	}
	alice.close()
	g.stop()
	g.logged(0, "lines of the xmpp_logger dropped", `"logger":"full"`)
	g.logged(0, "pipe takes no more: its last lines are lost", `"level":"error"`)
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("status %d", code)
	}
}
