package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stream"
)

// xmppOnly is the configuration around xmpp_listener scopes.
const xmppOnly = `data_dir = "data"
log_format = "json"
xmpp {}
control_listener { listen "127.0.0.1:0" {} }
domain "localhost" { xmpp_role = "server" }
`

// TestListenForms: each form of a listen label takes clients (Table 10.1: listen,
// enable, file_mode).
func TestListenForms(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6 here: ", err)
	} else {
		_ = l.Close()
	}
	// The path of a Unix socket is short (sun_path); the test's folder may not be.
	sockets, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(sockets) })
	path, unixPath, tight := filepath.Join(sockets, "a"), filepath.Join(sockets, "b"), filepath.Join(sockets, "c")
	g := newGatewayOf(t, xmppOnly+`
xmpp_listener {
  listen "*:0" {}
  listen ":0" {}
  listen "[::]:0" {}
  listen "[::1]:0" {}
  listen "127.0.0.1:0" {}
  listen "localhost:0" {}
  listen "`+path+`" {}
  listen "unix:`+unixPath+`" {}
  listen "127.0.3.1:0" { enable = false }
}
xmpp_listener { file_mode = 0600 listen "`+tight+`" {} }
xmpp_listener { enable = false listen "127.0.3.2:0" {} listen "127.0.3.3:0" { enable = true } }
`)
	g.start()
	g.addUser("alice@localhost", "secret")

	var addrs []string
	for _, l := range g.listening() {
		if l.listener == "xmpp_listener" {
			addrs = append(addrs, l.address)
		}
	}
	if len(addrs) != 10 {
		t.Errorf("%d listeners are open, want 10: %v", len(addrs), addrs)
	}
	reach := func(network, addr string) {
		t.Helper()
		conn, err := net.Dial(network, addr)
		if err != nil {
			t.Error(err)
			return
		}
		j, err := loginOver(t, conn, stream.ClientOptions{JID: jid.MustParse("alice@localhost")}, 0)
		if err != nil {
			t.Errorf("%s: %v", addr, err)
			return
		}
		j.close()
	}
	for i, addr := range addrs {
		if strings.HasPrefix(addr, "/") {
			reach("unix", addr)
			continue
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(host, "127.0.3."):
			if host != "127.0.3.3" {
				t.Errorf("%s is disabled and listens", addr)
			}
			reach("tcp", addr)
		case net.ParseIP(host).IsUnspecified(): // both families
			reach("tcp4", "127.0.0.1:"+port)
			reach("tcp6", "[::1]:"+port)
			if i > 2 {
				t.Errorf("%s is open to everybody", addr)
			}
		default:
			reach("tcp", addr)
		}
	}
	for _, c := range []struct {
		path string
		want fs.FileMode
	}{{path, 0o660}, {unixPath, 0o660}, {tight, 0o600}} {
		if info, err := os.Stat(c.path); err != nil || info.Mode().Perm() != c.want {
			t.Errorf("%s: mode %v, want %v (%v)", c.path, info.Mode().Perm(), c.want, err)
		}
	}

	// A killed process leaves its files, the next one takes them over, and a
	// stopped one removes them.
	g.kill()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("after a kill: %v", err)
	}
	g.start()
	reach("unix", path)
	g.stop()
	for _, p := range []string{path, unixPath, tight} {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after a stop %s is still there: %v", p, err)
		}
	}
}

// TestConcurrency: of the connections to a listener, and to all that share a
// threadpool, so many negotiate at once; the next waits until one is done
// (Table 10.1: concurrency, pool_name).
func TestConcurrency(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, xmppOnly+`
threadpool "shared" { concurrency = 2 }
xmpp_listener { listen "127.0.0.1:0" {} }
xmpp_listener { concurrency = 2 listen "127.0.3.1:0" {} }
xmpp_listener { concurrency = 5 listen "127.0.3.2:0" { concurrency = 2 } }
xmpp_listener { pool_name = "shared" listen "127.0.3.3:0" {} }
xmpp_listener { listen "127.0.3.4:0" { pool_name = "shared" } }
threadpool "wide" { concurrency = 50 }
xmpp_listener { pool_name = "wide" listen "127.0.3.5:0" { concurrency = 2 } }
`)
	g.start()
	g.addUser("alice@localhost", "secret")
	for _, c := range []struct{ name, first, second, third string }{
		{"listener", "127.0.3.1", "127.0.3.1", "127.0.3.1"},
		{"listen", "127.0.3.2", "127.0.3.2", "127.0.3.2"},
		{"pool of two listeners", "127.0.3.3", "127.0.3.4", "127.0.3.3"},
		{"listen within a wide pool", "127.0.3.5", "127.0.3.5", "127.0.3.5"},
	} {
		t.Run(c.name, func(t *testing.T) { // one after the other: the pool is shared
			a, b := dialWire(t, g.on(c.first), ""), dialWire(t, g.on(c.second), "")
			a.open()
			b.open()
			waits := dialWire(t, g.on(c.third), "")
			waits.send(openLocalhost)
			waits.silent(200 * time.Millisecond)
			// Others are not held up by a pool that is full.
			login(t, g.xmpp(), "alice@localhost", 0).close()
			// A finished login makes room, although its connection stays.
			a.startTLS(nil)
			a.plain("alice", "secret")
			a.bind("a")
			waits.features()
			again := dialWire(t, g.on(c.first), "")
			again.send(openLocalhost)
			again.silent(200 * time.Millisecond)
			_ = b.conn.Close() // and so does one that gave up
			again.features()
			_ = waits.conn.Close()
			_ = again.conn.Close()
			_ = a.conn.Close()
			g.eventually("all slots free", func() bool {
				for name, v := range metricsOf(t, g) {
					if strings.HasPrefix(name, "mcmt2xmpp_negotiation_slots_used") && v != 0 {
						return false
					}
				}
				return true
			})
		})
	}
}

// TestAcceptQueue: beside the connection that negotiates and the one that waits
// for it, accept_queue_backlog more are accepted; the rest stays with the kernel.
// And a row of waiting connections is interrupted after events_per_iter.
func TestAcceptQueue(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, xmppOnly+`
xmpp_listener { concurrency = 1
  listen "127.0.3.1:0" {}
  listen "127.0.3.2:0" { accept_queue_backlog = 3 }
  listen "127.0.3.3:0" { events_per_iter = 2 }
}
xmpp_listener { concurrency = 1 accept_queue_backlog = 2 listen "127.0.3.4:0" {} }
`)
	g.start()
	accepted := func(host string) float64 {
		return metricsOf(t, g).value(t, fmt.Sprintf(`mcmt2xmpp_listener_connections_total{listener="xmpp_listener %s",outcome="accepted"}`, g.on(host)))
	}
	for host, want := range map[string]float64{"127.0.3.1": 2, "127.0.3.2": 5, "127.0.3.3": 2, "127.0.3.4": 4} {
		first := dialWire(t, g.on(host), "")
		first.open()
		var all []*wire
		for range 8 {
			w := dialWire(t, g.on(host), "")
			w.send(openLocalhost)
			all = append(all, w)
		}
		g.eventually(fmt.Sprintf("%v accepted on %s", want, host), func() bool { return accepted(host) == want })
		all[0].silent(100 * time.Millisecond) // time to accept too many
		if got := accepted(host); got != want {
			t.Errorf("%s: %v connections are accepted, want %v", host, got, want)
		}
		_ = first.conn.Close()
		for _, w := range all { // nobody is forgotten, and the order is kept
			w.features()
			_ = w.conn.Close()
		}
	}
	yields := func(host string) float64 {
		return metricsOf(t, g).value(t, fmt.Sprintf(`mcmt2xmpp_listener_yields_total{listener="xmpp_listener %s"}`, g.on(host)))
	}
	if got := yields("127.0.3.3"); got == 0 {
		t.Error("events_per_iter = 2 never interrupted a row of 9")
	}
	if got := yields("127.0.3.1"); got != 0 {
		t.Errorf("a row was interrupted %v times without events_per_iter", got)
	}
}

// TestPeers: an access list by peer scopes, the most specific first (Table 10.1:
// peer; always_deny).
func TestPeers(t *testing.T) {
	t.Parallel()
	g := newGatewayOf(t, xmppOnly+`
xmpp_listener {
  peer "127.0.4.0/24" { always_deny = true }
  peer "127.0.4.7" { always_deny = false }
  listen "127.0.0.1:0" {
    peer "127.0.5.0/24" { always_deny = true }
  }
  listen "127.0.3.1:0" { always_deny = true peer "127.0.4.8/32" { always_deny = false } }
}
`)
	g.start()
	for _, c := range []struct {
		source, listen string
		in             bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.4.1", "127.0.0.1", false},
		{"127.0.4.7", "127.0.0.1", true},
		{"127.0.5.1", "127.0.0.1", false},
		{"127.0.5.1", "127.0.3.1", false},
		{"127.0.4.8", "127.0.3.1", true},
		{"127.0.0.1", "127.0.3.1", false},
	} {
		name := c.source + " to " + c.listen
		w := dialWire(t, g.on(c.listen), c.source)
		if c.in {
			w.open()
			continue
		}
		if b, err := io.ReadAll(w.conn); len(b) > 0 || err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: want the connection closed without a word, got %q, %v", name, b, err)
		}
	}
}
