//go:build unix

package listener

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// setBacklog gives the listening socket fd a queue of n connections. Linux
// cuts n to net.core.somaxconn.
func setBacklog(fd uintptr, n int) error {
	if err := unix.Listen(int(fd), n); err != nil {
		return fmt.Errorf("listen_backlog %d: %w", n, err)
	}
	return nil
}

// setBuffers sets the socket's buffers in bytes; 0 leaves a buffer to the system.
func setBuffers(fd uintptr, recv, send int) error {
	if recv > 0 {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, recv); err != nil {
			return fmt.Errorf("tcp_recv_buffer_size %d: %w", recv, err)
		}
	}
	if send > 0 {
		if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, send); err != nil {
			return fmt.Errorf("tcp_send_buffer_size %d: %w", send, err)
		}
	}
	return nil
}

// waiting reports whether a connection waits in the kernel's queue of c.
func waiting(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var n int
	err = onFD(raw, func(fd uintptr) (err error) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err = unix.Poll(fds, 0)
		return err
	})
	return err == nil && n > 0
}
