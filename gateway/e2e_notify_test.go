package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// manager is a service manager that is told how the gateway is doing.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw") // the path of a Unix socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &manager{t: t, path: filepath.Join(dir, "notify")}
	m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

// want checks the next datagram but for those of the watchdog, which it counts.
func (m *manager) want(pattern string) (beats int) {
	m.t.Helper()
	b := make([]byte, 4096)
	_ = m.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := m.conn.Read(b)
		switch got := string(b[:n]); {
		case err != nil:
			m.t.Fatalf("waited for %s: %v", pattern, err)
		case got == "WATCHDOG=1" && pattern != got:
			beats++
		case !regexp.MustCompile("^" + pattern + "$").MatchString(got):
			m.t.Fatalf("got %q, want %s", got, pattern)
		default:
			return beats
		}
	}
}

// TestNotify: the service manager hears when the gateway is ready, reloads, refuses to and
// ends, and in between that it lives.
func TestNotify(t *testing.T) {
	t.Parallel()
	m := newManager(t)
	g := newGateway(t, "")
	g.env = []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=200000"}
	g.start()
	if n := m.want("READY=1\nSTATUS=ready"); n != 0 {
		t.Error("a watchdog before it is ready")
	}
	for range 3 {
		m.want("WATCHDOG=1")
	}
	good := g.config()
	for _, text := range []string{good, good + "\nno_such_option = 1", good} {
		g.reload(text)
		m.want("RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*\nSTATUS=reloading")
		m.want("READY=1\nSTATUS=ready")
	}
	g.stop()
	m.want("STOPPING=1\nSTATUS=stopping")
	if code := g.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// TestNotifyNobody: a service manager that is not there, or that wants no watchdog of this
// process, is no reason not to serve.
func TestNotifyNobody(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	g.env = []string{"NOTIFY_SOCKET=/no/such/socket"}
	g.start()
	g.logged(0, "the service manager is told nothing", "/no/such/socket", `"level":"warn"`)
	g.stop()
	m := newManager(t)
	g.env = []string{"NOTIFY_SOCKET=" + m.path, "WATCHDOG_USEC=2000", "WATCHDOG_PID=1"}
	g.start()
	g.addUser("alice@localhost", "secret")
	g.stop()
	if beats := m.want("READY=1\n.*") + m.want("STOPPING=1\n.*"); beats != 0 {
		t.Errorf("%d beats of a watchdog that is not ours", beats)
	}
	if code := g.cmd.ProcessState.ExitCode(); code != 0 || strings.Contains(g.logFrom(0), "panic") {
		t.Errorf("status %d", code)
	}
}

// TestInheritedSockets: sockets of the service manager are served, with connections that
// have waited in them; one that no listener has is named.
func TestInheritedSockets(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "")
	var addrs []string
	for range 2 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f, err := ln.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		addrs, g.sockets = append(addrs, ln.Addr().String()), append(g.sockets, f)
		_ = ln.Close()
	}
	g.replace(`esmtp_listener { mcmt_reception = "allow" Listen "127.0.0.1:0" {} }`, `esmtp_listener { mcmt_reception = "allow" Listen "`+addrs[0]+`" {} }`)
	early, err := net.Dial("tcp", addrs[0])
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	g.start()
	if g.smtp() != addrs[0] {
		t.Errorf("listens on %s, want %s", g.smtp(), addrs[0])
	}
	_ = early.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 4)
	if _, err := io.ReadFull(early, b); err != nil || string(b) != "220 " {
		t.Errorf("greeted with %q, %v", b, err)
	}
	g.logged(0, "no listener takes this inherited socket", addrs[1])
	g.addUser("alice@localhost", "secret")
	if err := inject(t.Context(), g, true, "alice@localhost", "by an inherited socket"); err != nil {
		t.Error(err)
	}
}
