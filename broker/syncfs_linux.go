package broker

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openSync returns a function that puts everything written to the file system of
// dir on the disk. The folder is opened now: the kernel reports an error of
// writing back only to descriptors that were open when it happened (syncfs(2),
// Linux 5.8 and later).
func openSync(dir string) (sync func() error, closer func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("broker: store folder: %w", err)
	}
	fd := int(f.Fd())
	return func() error {
		for {
			if err := unix.Syncfs(fd); err != unix.EINTR { //nolint:errorlint // an errno as it is
				return err
			}
		}
	}, f.Close, nil
}
