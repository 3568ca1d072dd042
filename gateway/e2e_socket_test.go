//go:build linux

package main

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"mcmt2xmpp/gateway/app"
	"mcmt2xmpp/gateway/config"
)

// TestSocketOptions looks at the gateway's own sockets, which for this runs in the
// process of the test (Table 10.1: listen_backlog, disable_nagle_algorithm,
// tcp_recv_buffer_size, tcp_send_buffer_size).
func TestSocketOptions(t *testing.T) {
	t.Parallel()
	const size = 40000
	addrs := inProcess(t, `
disable_nagle_algorithm = false
xmpp_listener {
  listen "127.0.6.1:0" {}
  listen "127.0.6.2:0" { listen_backlog = 77 disable_nagle_algorithm = true }
  listen "127.0.6.3:0" { tcp_recv_buffer_size = 40000 tcp_send_buffer_size = 40000 }
}
xmpp_listener {
  listen_backlog = 78
  disable_nagle_algorithm = true
  tcp_recv_buffer_size = 40000
  tcp_send_buffer_size = 40000
  listen "127.0.6.4:0" {}
  listen "127.0.6.5:0" { listen_backlog = 79 disable_nagle_algorithm = false tcp_recv_buffer_size = 20000 tcp_send_buffer_size = 20000 }
}
`)
	recv, send := systemBuffers(t)
	for host, want := range map[string]struct{ backlog, nodelay, recv, send int }{
		"127.0.6.1": {500, 0, recv, send}, // Nagle by the global scope
		"127.0.6.2": {77, 1, recv, send},
		"127.0.6.3": {500, 0, 2 * size, 2 * size}, // Linux doubles what is set (socket(7))
		"127.0.6.4": {78, 1, 2 * size, 2 * size},
		"127.0.6.5": {79, 0, size, size},
	} {
		addr := addrs[host]
		w := dialWire(t, addr.String(), "")
		w.open() // it is accepted
		local := w.conn.LocalAddr().(*net.TCPAddr).AddrPort()
		listening, accepted := descriptor(t, addr, netip.AddrPort{}), descriptor(t, addr, local)
		info, err := unix.GetsockoptTCPInfo(listening, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		// A listening socket has its backlog there (tcp_get_info).
		if got := int(info.Sacked); got != want.backlog {
			t.Errorf("%s: listen_backlog %d, want %d", host, got, want.backlog)
		}
		for _, o := range []struct {
			name             string
			level, opt, want int
		}{
			{"TCP_NODELAY", unix.IPPROTO_TCP, unix.TCP_NODELAY, want.nodelay},
			{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, want.recv},
			{"SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, want.send},
		} {
			if got, err := unix.GetsockoptInt(accepted, o.level, o.opt); err != nil || got != o.want {
				t.Errorf("%s: %s is %d, want %d (%v)", host, o.name, got, o.want, err)
			}
		}
	}
}

// inProcess runs a gateway within the test and returns where its xmpp_listeners
// listen, by host.
func inProcess(t *testing.T, text string) map[string]netip.AddrPort {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "gateway.conf")
	if err := os.WriteFile(conf, []byte(xmppOnly+text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(conf)
	if err != nil {
		t.Fatal(err)
	}
	a := app.New(app.Options{Config: cfg, Log: zerolog.Nop()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-a.Ready():
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	all := make(map[string]netip.AddrPort)
	for _, l := range a.Addresses() {
		if addr, ok := strings.CutPrefix(l.URL, "xmpp://"); ok {
			ap := netip.MustParseAddrPort(addr)
			all[ap.Addr().String()] = ap
		}
	}
	return all
}

// descriptor finds a socket of this process by its addresses; a zero peer stands
// for the one that listens.
func descriptor(t *testing.T, local, peer netip.AddrPort) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		own, err := unix.Getsockname(fd)
		if err != nil || addrPort(own) != local {
			continue
		}
		far, err := unix.Getpeername(fd)
		if peer.IsValid() && (err != nil || addrPort(far) != peer) || !peer.IsValid() && err == nil {
			continue
		}
		return fd
	}
	t.Fatalf("no socket at %s with the peer %s", local, peer)
	return 0
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	in, ok := sa.(*unix.SockaddrInet4)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
}

// systemBuffers are the sizes of an accepted socket that nobody has set.
func systemBuffers(t *testing.T) (recv, send int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.6.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fd := descriptor(t, l.Addr().(*net.TCPAddr).AddrPort(), client.LocalAddr().(*net.TCPAddr).AddrPort())
	for opt, v := range map[int]*int{unix.SO_RCVBUF: &recv, unix.SO_SNDBUF: &send} {
		if *v, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt); err != nil {
			t.Fatal(err)
		}
	}
	return recv, send
}
