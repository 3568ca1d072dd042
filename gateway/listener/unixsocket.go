package listener

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// answerTimeout bounds the question whether somebody answers on a socket file.
const answerTimeout = 2 * time.Second

// listenUnix opens a Unix socket whose file never grants more than o.FileMode:
// the mode goes on before anybody can connect (see restrictMode), and the chmod
// afterwards only adds what the umask took away.
func listenUnix(ctx context.Context, path string, o Options) (*Listener, error) {
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	ln, err := listenRestricted(ctx, path, o.FileMode)
	if err != nil {
		return nil, err
	}
	ul := ln.(*net.UnixListener)
	// The net package would unlink whatever bears the name by then, even the
	// socket of a successor.
	ul.SetUnlinkOnClose(false)
	mine, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, o.FileMode)
	}
	if err == nil {
		err = limitBacklog(ul, o.Backlog)
	}
	if err != nil {
		_ = ul.Close()
		_ = os.Remove(path)
		return nil, err
	}
	l := newListener(ul, ul, o)
	l.removed = func() {
		if now, err := os.Lstat(path); err == nil && os.SameFile(mine, now) {
			_ = os.Remove(path)
		}
	}
	return l, nil
}

// removeStale removes the socket file that a killed process left. It refuses
// anything that is not a socket, and a socket somebody listens on. Only a
// refused connection proves that nobody does: a full backlog (EAGAIN), a lack of
// permission or silence come from a living owner.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("another process listens on it: %w", syscall.EADDRINUSE)
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	default:
		return fmt.Errorf("socket file is there and cannot be tried: %w", err)
	}
}
