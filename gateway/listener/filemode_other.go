//go:build !linux

package listener

import (
	"context"
	"io/fs"
	"net"
)

// listenRestricted listens on path. Between bind and the caller's chmod the
// umask decides alone: put the socket into a directory that only its users may
// enter.
func listenRestricted(ctx context.Context, path string, _ fs.FileMode) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "unix", path)
}
