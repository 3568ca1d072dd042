package peertest

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Reserve returns an address of 127.0.0.1 whose port a server with SO_REUSEADDR,
// as all have, may listen on as often as it likes until the test ends, and that
// the system gives to nobody else. While nobody listens connections are refused.
//
// The port is bound, which keeps the system from choosing it for others, and not
// listened on, which lets others bind it too (socket(7), SO_REUSEADDR).
func Reserve(t testing.TB) (addr string) {
	t.Helper()
	port, fd, err := bind()
	if err != nil {
		t.Fatalf("reserve a port: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // nothing was written
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func bind() (port, fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd) // the first error is the one to tell
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return 0, 0, os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, 0, os.NewSyscallError("bind", err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockname", err)
	}
	return at.(*unix.SockaddrInet4).Port, fd, nil
}
