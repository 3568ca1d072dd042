package natstest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// onDisk names the test that the test binary is to run with a disk of its own.
const onDisk = "NATSTEST_ON_DISK"

// OnDisk runs a test in a process of its own, with a file system of size bytes in
// a folder that only that process and its children see: it is gone with them. The
// test must be one of the top level. Where the system does not let us mount
// anything it is skipped, but in CI that is a failure.
func OnDisk(t *testing.T, size int64, test func(t *testing.T, dir string)) {
	t.Helper()
	if testing.Short() {
		t.Skip("fills a disk")
	}
	if os.Getenv(onDisk) == t.Name() {
		test(t, mount(t, size))
		return
	}
	out, err := rerun(t.Name())
	var exit *exec.ExitError
	switch {
	case err == nil:
		t.Logf("%s", out)
	case errors.As(err, &exit):
		t.Errorf("%v\n%s", err, out)
	default:
		why := fmt.Sprintf("no file system of our own: %v", err)
		if os.Getenv("CI") != "" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
}

// rerun runs one test of this binary in a mount namespace of its own.
func rerun(name string) ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-test.run=^"+name+"$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), onDisk+"="+name)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Cloneflags: unix.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		// Who is nobody outside may mount in a user namespace, where that is allowed.
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	done := make(chan struct{})
	defer close(done)
	if err := startTied(cmd, done); err != nil {
		return nil, err
	}
	err = cmd.Wait()
	return out.Bytes(), err
}

// mount makes the file system.
func mount(t *testing.T, size int64) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("natstest", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }) // goes with the process
	return dir
}

// Fill writes a file until nothing more fits on its disk.
func Fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
