package listener

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// handOver duplicates sockets to descriptors in a row, as a service manager leaves them.
func handOver(t *testing.T, sockets ...interface{ File() (*os.File, error) }) (first uintptr, n int) {
	t.Helper()
	first = 200 // which a test does not reach by itself
	for i, s := range sockets {
		f, err := s.File()
		if err != nil {
			t.Fatal(err)
		}
		if err := unix.Dup2(int(f.Fd()), int(first)+i); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	return first, len(sockets)
}

// TestInherit: sockets that are open already are taken by who wants their address, once;
// those that nobody wants are named.
func TestInherit(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "socket")
	file, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	file.(*net.UnixListener).SetUnlinkOnClose(false)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	first, n := handOver(t, tcp.(*net.TCPListener), file.(*net.UnixListener), other.(*net.TCPListener))
	for _, ln := range []net.Listener{tcp, file, other} {
		_ = ln.Close() // only what is handed over listens
	}
	inherited, err := inherit(first, n)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{tcp.Addr().String(), path} {
		l, err := Listen(t.Context(), Options{Address: address, Inherited: inherited, RecvBuffer: 8192})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial(l.Addr().Network(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		taken, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = taken.Close(), conn.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("a socket file that is not ours is gone: %v", err)
	}
	if rest := inherited.Rest(); len(rest) != 1 || rest[0] != other.Addr().String() {
		t.Errorf("nobody has taken %v", rest)
	}
	inherited.Close()
	if _, err := net.Dial("tcp", other.Addr().String()); err == nil {
		t.Error("a socket that nobody wants still listens")
	}
	// Its address is free again for who opens it by himself.
	l, err := Listen(t.Context(), Options{Address: tcp.Addr().String(), Inherited: inherited})
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

// TestInheritNothing: the environment may be wrong, or for somebody else.
func TestInheritNothing(t *testing.T) {
	if i, err := Inherit(); i != nil || err != nil {
		t.Errorf("without a word: %v, %v", i, err)
	}
	t.Setenv("LISTEN_PID", "1")
	t.Setenv("LISTEN_FDS", "1")
	if i, err := Inherit(); i != nil || err != nil {
		t.Errorf("for another process: %v, %v", i, err)
	}
	if os.Getenv("LISTEN_FDS") != "" {
		t.Error("a child would take them for its own")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Dup2(int(f.Fd()), 200); err != nil {
		t.Fatal(err)
	}
	if _, err := inherit(200, 1); err == nil || !strings.Contains(err.Error(), "inherited descriptor 200") {
		t.Errorf("what is no socket: %v", err)
	}
	var none *Inherited
	none.Close()
	if none.take("tcp", "127.0.0.1:1") != nil || none.Rest() != nil {
		t.Error("nothing has something")
	}
}

// TestSameAddress says which inherited socket a listen scope takes.
func TestSameAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		network, has, wants string
		same                bool
	}{
		{"tcp", "[::]:5222", ":5222", true},
		{"tcp", "0.0.0.0:5222", ":5222", true},
		{"tcp", "[::]:5222", "[::]:5222", true},
		{"tcp", "127.0.0.1:5222", "127.0.0.1:5222", true},
		{"tcp", "[::ffff:127.0.0.1]:5222", "127.0.0.1:5222", true},
		{"tcp", "127.0.0.1:5222", ":5222", false},
		{"tcp", "[::]:5222", ":5223", false},
		{"tcp", "[::]:5222", "127.0.0.1:5222", false},
		{"tcp", "127.0.0.1:5222", "localhost:5222", false},
		{"unix", "/run/a", "/run/a", true},
		{"unix", "/run/a", "/run/b", false},
	} {
		if got := sameAddress(tc.network, tc.has, tc.wants); got != tc.same {
			t.Errorf("%s %s for %s: %v", tc.network, tc.has, tc.wants, got)
		}
	}
}
