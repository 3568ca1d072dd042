package listener

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// listenRestricted listens on path. Linux gives the file that bind(2) makes the
// mode of the socket's own inode less the umask (unix_bind_bsd), so that an
// fchmod before bind leaves no moment in which the file grants more than mode.
// The other way, a umask around bind, would belong to the whole process and
// reach files that other goroutines make meanwhile.
func listenRestricted(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd uintptr) error {
			if err := unix.Fchmod(int(fd), uint32(mode.Perm())); err != nil {
				return fmt.Errorf("file_mode %#o: %w", uint32(mode), err)
			}
			return nil
		})
	}}
	return lc.Listen(ctx, "unix", path)
}
