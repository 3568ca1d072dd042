package listener

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// sockopt asks the kernel for an integer option of c.
func sockopt(t *testing.T, c any, level, opt int) int {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var v int
	if err := onFD(raw, func(fd uintptr) (err error) { v, err = unix.GetsockoptInt(int(fd), level, opt); return err }); err != nil {
		t.Fatal(err)
	}
	return v
}

// The kernel keeps the backlog of a listening socket where a connected one has
// its count of selectively acknowledged segments (tcp_get_info).
func TestBacklogIsTheKernels(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ written, want int }{
		"unwritten": {0, DefaultBacklog},
		"one":       {1, 1},
		"many":      {777, 777},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := listen(t, Options{Address: "127.0.0.1:0", Backlog: tc.written})
			raw, err := l.raw.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if err := onFD(raw, func(fd uintptr) error {
				info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
				if err == nil && int(info.Sacked) != tc.want {
					t.Errorf("backlog %d, want %d", info.Sacked, tc.want)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A Unix socket has no TCP_INFO: count the connections it takes. Linux takes one
// more than the backlog (unix_recvq_full), then answers EAGAIN.
func TestUnixBacklog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listen(t, Options{Address: path, Backlog: 3})
	for i := range 6 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if full := errors.Is(err, unix.EAGAIN); full != (i > 3) {
			t.Errorf("connection %d: %v", i+1, err)
		}
	}
}

func TestSocketOptions(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	const size = 40000
	_, plain := pair(t, listen(t, Options{Address: "127.0.0.1:0"}))
	systemRecv := sockopt(t, plain, unix.SOL_SOCKET, unix.SO_RCVBUF)
	systemSend := sockopt(t, plain, unix.SOL_SOCKET, unix.SO_SNDBUF)
	for name, tc := range map[string]struct {
		o                   Options
		nodelay, recv, send int
	}{
		"unwritten: Go turns Nagle off, the system sizes": {Options{}, 1, systemRecv, systemSend},
		"disable_nagle_algorithm = true":                  {Options{DisableNagle: &yes}, 1, systemRecv, systemSend},
		"disable_nagle_algorithm = false, written":        {Options{DisableNagle: &no}, 0, systemRecv, systemSend},
		"tcp_recv_buffer_size, doubled by Linux":          {Options{RecvBuffer: size}, 1, 2 * size, systemSend},
		"tcp_send_buffer_size, doubled by Linux":          {Options{SendBuffer: size}, 1, systemRecv, 2 * size},
		"the chapter's 4096":                              {Options{RecvBuffer: 4096, SendBuffer: 4096}, 1, 2 * 4096, 2 * 4096},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.o.Address = "127.0.0.1:0"
			_, conn := pair(t, listen(t, tc.o))
			if got := sockopt(t, conn, unix.IPPROTO_TCP, unix.TCP_NODELAY); got != tc.nodelay {
				t.Errorf("TCP_NODELAY %d, want %d", got, tc.nodelay)
			}
			if got := sockopt(t, conn, unix.SOL_SOCKET, unix.SO_RCVBUF); got != tc.recv {
				t.Errorf("SO_RCVBUF %d, want %d", got, tc.recv)
			}
			if got := sockopt(t, conn, unix.SOL_SOCKET, unix.SO_SNDBUF); got != tc.send {
				t.Errorf("SO_SNDBUF %d, want %d", got, tc.send)
			}
		})
	}
}

// Before anybody could chmod it, the file has no more rights than file_mode: a
// socket that began with 0777 would let a local user in for a moment.
func TestFileModeHasNoRace(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := listenRestricted(t.Context(), path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got&^0o600 != 0 {
		t.Errorf("mode before chmod is %#o", got)
	}
}

// Denied connections are closed; others pass, and the accept loop survives a
// lack of descriptors.
func TestAcceptSurvivesShortage(t *testing.T) {
	t.Parallel()
	l := listen(t, Options{Address: "127.0.0.1:0"})
	inner := l.ln
	failures := 2
	l.ln = &failing{Listener: inner, left: &failures}
	_, conn := pair(t, l)
	_ = conn.Close()
	if st := l.Stats(); st.Failed != 2 || st.Accepted != 1 {
		t.Errorf("stats %+v", st)
	}
}

// failing answers EMFILE as often as left says.
type failing struct {
	net.Listener
	left *int
}

func (f *failing) Accept() (net.Conn, error) {
	if *f.left > 0 {
		*f.left--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return f.Listener.Accept()
}
