package listener

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// listen opens a listener that the end of the test closes.
func listen(t *testing.T, o Options) *Listener {
	t.Helper()
	l, err := Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(l.Addr().Network(), l.Addr().String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// pair connects and returns both ends.
func pair(t *testing.T, l *Listener) (client, server net.Conn) {
	t.Helper()
	client = dial(t, l)
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

func TestAddressForms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ipv6 := func() bool {
		l, err := net.Listen("tcp6", "[::1]:0")
		if err == nil {
			_ = l.Close()
		}
		return err == nil
	}()
	for name, tc := range map[string]struct {
		address, dial string // dial: where a client finds it, PORT for the port
		needs6        bool
	}{
		"every address, the chapter's form": {"*:0", "127.0.0.1:PORT", false},
		"every address, no host":            {":0", "127.0.0.1:PORT", false},
		"every address serves IPv6 too":     {"*:0", "[::1]:PORT", true},
		"every address by IPv6":             {"[::]:0", "[::1]:PORT", true},
		"an IPv4 address":                   {"127.0.0.1:0", "127.0.0.1:PORT", false},
		"an IPv6 address":                   {"[::1]:0", "[::1]:PORT", true},
		"a host name":                       {"localhost:0", "localhost:PORT", false},
		"a path":                            {filepath.Join(dir, "a"), filepath.Join(dir, "a"), false},
		"a path with its scheme":            {"unix:" + filepath.Join(dir, "b"), filepath.Join(dir, "b"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if tc.needs6 && !ipv6 {
				t.Skip("no IPv6 here")
			}
			l := listen(t, Options{Address: tc.address})
			network, target := "unix", tc.dial
			if tcp, ok := l.Addr().(*net.TCPAddr); ok {
				_, port, _ := net.SplitHostPort(tcp.String())
				network, target = "tcp", strings.Replace(tc.dial, "PORT", port, 1)
			}
			c, err := net.DialTimeout(network, target, patience)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
		})
	}
}

func TestListenRefuses(t *testing.T) {
	t.Parallel()
	taken := listen(t, Options{Address: "127.0.0.1:0"}).Addr().String()
	for name, o := range map[string]Options{
		"no port":               {Address: "127.0.0.1"},
		"an empty port":         {Address: "127.0.0.1:"},
		"a bare port":           {Address: "5222"},
		"nothing":               {},
		"an empty path":         {Address: "unix:"},
		"an abstract name":      {Address: "unix:@gateway"},
		"IPv6 without brackets": {Address: "::1:5222"},
		"a negative backlog":    {Address: "127.0.0.1:0", Backlog: -1},
		"a negative buffer":     {Address: "127.0.0.1:0", RecvBuffer: -1},
		"setuid on a socket":    {Address: filepath.Join(t.TempDir(), "s"), FileMode: fs.ModeSetuid | 0o660},
		"a port that is taken":  {Address: taken},
		"a missing folder":      {Address: filepath.Join(t.TempDir(), "none", "s")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if l, err := Listen(t.Context(), o); err == nil {
				_ = l.Close()
				t.Error("opened")
			}
		})
	}
	if _, err := Listen(t.Context(), Options{Address: taken}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the cause is lost: %v", err)
	}
}

// enable = false opens nothing: nobody answers on the port afterwards.
func TestDisabled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	if _, err := Listen(t.Context(), Options{Address: path, Disabled: true}); !errors.Is(err, ErrDisabled) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket file is there: %v", err)
	}
}

func TestFileMode(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ written, want fs.FileMode }{
		"unwritten":               {0, 0o660},
		"narrower than the umask": {0o600, 0o600},
		"wider than the umask":    {0o777, 0o777},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "s")
			l := listen(t, Options{Address: path, FileMode: tc.written})
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode() != fs.ModeSocket|tc.want {
				t.Errorf("mode %v, want %v", info.Mode(), fs.ModeSocket|tc.want)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the file outlives the listener: %v", err)
			}
		})
	}
}

func TestStaleSocketFile(t *testing.T) {
	t.Parallel()
	t.Run("what a killed process left is replaced", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "s")
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		_ = dead.Close()
		pair(t, listen(t, Options{Address: path}))
	})
	t.Run("a living owner keeps its socket", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "s")
		owner := listen(t, Options{Address: path})
		if _, err := Listen(t.Context(), Options{Address: path}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("got %v", err)
		}
		dial(t, owner)
	})
	t.Run("another kind of file is nobody's to remove", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(t.Context(), Options{Address: path}); err == nil {
			t.Error("opened")
		}
		if b, _ := os.ReadFile(path); string(b) != "precious" {
			t.Errorf("the file holds %q", b)
		}
	})
	t.Run("Close leaves a successor's file", func(t *testing.T) {
		t.Parallel()
		path := filepath.Join(t.TempDir(), "s")
		old := listen(t, Options{Address: path})
		if err := os.Rename(path, path+".old"); err != nil {
			t.Fatal(err)
		}
		next := listen(t, Options{Address: path})
		_ = old.Close()
		pair(t, next)
	})
}

// eventually yields until ok or the patience is over.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it did not come to pass")
		}
		<-time.After(time.Millisecond)
	}
}
