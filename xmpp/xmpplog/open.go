package xmpplog

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// disk is what a logfile is written to: an *os.File.
type disk interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
}

// open opens a logfile for appending and gives it its access rights, whatever the umask
// says. A file whose last line was cut short, by the death of who wrote it, gets an end
// to it. It does not wait for somebody to read what is no file.
func open(path string, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, mode)
	if err != nil {
		return nil, err
	}
	if err := ready(f, path, mode); err != nil {
		_ = f.Close() // the first error is the one to tell
		return nil, err
	}
	return f, nil
}

func ready(f *os.File, path string, mode fs.FileMode) error {
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return nil // a terminal, a pipe: its rights are not ours to give
	case info.Mode().Perm() != mode.Perm():
		if err := f.Chmod(mode.Perm()); err != nil {
			return err
		}
	}
	if cut(path, info.Size()) {
		if _, err := f.WriteString("\n"); err != nil {
			return err
		}
	}
	return nil
}

// cut says whether a file ends within a line. One that cannot be read is taken not to.
func cut(path string, size int64) bool {
	if size == 0 {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return err == nil && last[0] != '\n'
}

// takeBack removes the last n bytes of a file.
func takeBack(d disk, n int) error {
	info, err := d.Stat()
	switch {
	case err != nil:
		return err
	case !info.Mode().IsRegular() || info.Size() < int64(n):
		return fmt.Errorf("%s cannot be shortened", info.Name())
	}
	return d.Truncate(info.Size() - int64(n))
}
