package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mcmt2xmpp/broker/natstest"
)

// asProgram makes the test binary the program itself: a child process that can
// be killed.
const asProgram = "MCMT2XMPP_TEST_RUN_PROGRAM"

func TestMain(m *testing.M) {
	natstest.Main()
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// patience is how long a test waits for something that must happen. Only a
// failure waits so long.
const patience = 3 * time.Minute

// gateway is a child process running `serve`.
type gateway struct {
	t         testing.TB
	dir, conf string
	role      string     // of the process; empty: all
	env       []string   // of the process, beside ours
	sockets   []*os.File // that it inherits
	cmd       *exec.Cmd
	done      chan struct{} // closed when the process has ended

	mu    sync.Mutex
	addrs []listening // in the order of opening
	log   bytes.Buffer
	ready chan struct{}
}

// listening is a line of the log that says where a listener is.
type listening struct{ listener, address string }

// newGateway writes a configuration with port 0 everywhere into a folder of the
// test; extra is appended to it.
func newGateway(t testing.TB, extra string) *gateway {
	t.Helper()
	return newGatewayOf(t, `data_dir = "data"
log_format = "json"
xmpp {}
xmpp_listener {
  AuthPlainParameters = [ uri = "nats://accounts" ]
  Listen "127.0.0.1:0" { stream = "client" }
}
esmtp_listener { mcmt_reception = "allow" Listen "127.0.0.1:0" {} }
http_listener { Listen "127.0.0.1:0" {} }
control_listener { Listen "127.0.0.1:0" {} }
domain "localhost" { xmpp_role = "server" }
`+extra)
}

// newGatewayOf writes a configuration into a folder of the test. Where it does not say
// where mail goes, nowhere.
func newGatewayOf(t testing.TB, text string) *gateway {
	t.Helper()
	if !strings.Contains(text, "relay {") {
		text += fmt.Sprintf("\nrelay { gateway = %q }\n", sink(t))
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "gateway.conf")
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, dir: dir, conf: conf}
	t.Cleanup(func() {
		g.kill()
		// The child has the race detector where the test has it, and lives on after
		// a panic of one connection.
		for line := range strings.Lines(g.logFrom(0)) {
			if strings.Contains(line, "DATA RACE") || strings.Contains(line, `"panic"`) {
				t.Errorf("a bug in the gateway: %s", line)
			}
		}
		if g.logSize() >= maxLog {
			t.Errorf("the log is longer than the %d bytes that are kept", maxLog)
		}
		if t.Failed() {
			t.Logf("log of the gateway:\n%s", g.tail())
		}
	})
	return g
}

// start starts the process and waits until it is ready.
func (g *gateway) start() {
	g.t.Helper()
	self, err := os.Executable()
	if err != nil {
		g.t.Fatal(err)
	}
	args := []string{self, "serve", "-c", g.conf, "--role", cmp.Or(g.role, "all")}
	cmd := exec.Command(args[0], args[1:]...)
	if len(g.sockets) > 0 { // whose owner is named by its process id
		cmd = exec.Command("/bin/sh", append([]string{"-c", fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d exec "$0" "$@"`, len(g.sockets))}, args...)...)
		cmd.ExtraFiles = g.sockets
	}
	cmd.Env = slices.Concat(os.Environ(), g.env, []string{asProgram + "=1"})
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	done := make(chan struct{})
	g.mu.Lock()
	g.addrs = nil
	g.ready = make(chan struct{})
	g.cmd, g.done = cmd, done
	g.mu.Unlock()
	started := make(chan error, 1)
	go func() {
		// Pdeathsig belongs to the thread that forked: keep it.
		runtime.LockOSThread()
		started <- cmd.Start()
		<-done
	}()
	if err := <-started; err != nil {
		close(done)
		g.t.Fatal(err)
	}
	go func() {
		g.read(stderr)
		_ = cmd.Wait()
		close(done)
	}()
	select {
	case <-g.ready:
	case <-g.done:
		g.t.Fatalf("the gateway ended at its start:\n%s", g.tail())
	case <-time.After(patience):
		g.t.Fatalf("the gateway did not get ready:\n%s", g.tail())
	}
}

// maxLog is the length of the log that is kept. A test that makes more of it fails,
// because it could look for a line that is not kept.
const maxLog = 32 << 20

// read takes addresses and readiness from the log.
func (g *gateway) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct{ Message, Listener, Address string }
		_ = json.Unmarshal(lines.Bytes(), &line) // a panic is not JSON
		g.mu.Lock()
		if g.log.Len() < maxLog {
			g.log.Write(lines.Bytes())
			g.log.WriteByte('\n')
		}
		switch line.Message {
		case "listening":
			g.addrs = append(g.addrs, listening{line.Listener, line.Address})
		case "ready":
			close(g.ready)
		}
		g.mu.Unlock()
	}
}

// addr is the first address of a kind of listener, empty for none.
func (g *gateway) addr(listener string) string {
	for _, l := range g.listening() {
		if l.listener == listener {
			return l.address
		}
	}
	return ""
}

// on is the address of the listener that listens on a host.
func (g *gateway) on(host string) string {
	g.t.Helper()
	for _, l := range g.listening() {
		if h, _, err := net.SplitHostPort(l.address); err == nil && h == host {
			return l.address
		}
	}
	g.t.Fatalf("nothing listens on %s", host)
	return ""
}

func (g *gateway) listening() []listening {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.addrs)
}

func (g *gateway) smtp() string  { return g.addr("esmtp_listener") }
func (g *gateway) http() string  { return "http://" + g.addr("http_listener") }
func (g *gateway) xmpp() string  { return g.addr("xmpp_listener") }
func (g *gateway) admin() string { return "http://" + g.addr("control_listener") }

// logged waits until the log, from its byte at from on, has a line that holds all
// the words, and returns the line.
func (g *gateway) logged(from int, words ...string) string {
	g.t.Helper()
	var found string
	g.eventually("a line of the log with "+strings.Join(words, " and "), func() bool {
		for line := range strings.Lines(g.logFrom(from)) {
			from += len(line)
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				found = line
				return true
			}
		}
		return false
	})
	return found
}

// logFrom is the log from its byte at from on.
func (g *gateway) logFrom(from int) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.String()[from:]
}

// logSize is where the log ends now.
func (g *gateway) logSize() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.log.Len()
}

// eventually waits for something in the child that gives no sign of its own.
func (g *gateway) eventually(what string, holds func() bool) {
	g.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			g.t.Fatalf("waited for %s", what)
		}
	}
}

// reload writes a new configuration and sends SIGHUP; it returns where the log
// ended before.
func (g *gateway) reload(text string) (from int) {
	g.t.Helper()
	if err := os.WriteFile(g.conf, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	from = g.logSize()
	if err := g.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		g.t.Fatal(err)
	}
	return from
}

// config is the text of the configuration.
func (g *gateway) config() string {
	g.t.Helper()
	text, err := os.ReadFile(g.conf)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

// write puts a file into the folder of the gateway and returns its path.
func (g *gateway) write(name, text string) string {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return path
}

// tail is the end of the log.
func (g *gateway) tail() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.log.String()
	if len(s) > 20_000 {
		s = "…" + s[len(s)-20_000:]
	}
	return s
}

// kill ends the process at once, as the system would.
func (g *gateway) kill() { g.end(syscall.SIGKILL) }

// stop asks the process to end and waits for it.
func (g *gateway) stop() { g.end(syscall.SIGTERM) }

func (g *gateway) end(sig syscall.Signal) {
	g.mu.Lock()
	cmd, done := g.cmd, g.done
	g.mu.Unlock()
	if cmd == nil || cmd.Process == nil {
		return
	}
	select {
	case <-done:
		return
	default:
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-done:
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		g.t.Errorf("the gateway did not end on %v", sig)
	}
}

// addUser makes an account over the admin HTTP.
func (g *gateway) addUser(jid, password string) {
	g.t.Helper()
	body := fmt.Sprintf(`{"jid":%q,"password":%q}`, jid, password)
	resp, err := http.Post(g.admin()+"/v1/users", "application/json", strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		g.t.Fatalf("add user: %s", resp.Status)
	}
}

// program runs a command of ours in a child process and returns what it printed.
func program(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Dir = t.TempDir()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit code says it
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// peer returns the path of a program from Debian's package of that name. Where
// it is absent the test says what to install; in CI that is a failure.
func peer(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err == nil {
		return path
	}
	why := fmt.Sprintf("%s is not here: apt-get install %s", program, pkg)
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
	return ""
}

// replace changes the configuration before the start.
func (g *gateway) replace(old, new string) {
	g.t.Helper()
	text, err := os.ReadFile(g.conf)
	if err != nil {
		g.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		g.t.Fatalf("the configuration does not hold %q", old)
	}
	if err := os.WriteFile(g.conf, []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

func md5hex(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}
