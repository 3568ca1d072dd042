package mailtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// process is one run of the server.
type process struct {
	cmd  *exec.Cmd
	log  *journal
	done chan struct{} // closed when it has ended and all its output is read
}

// start starts a command as the first process of a namespace of its own, so that all
// that it starts ends with it. It ends with ours.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, log: &journal{news: make(chan struct{})}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The signal at the parent's death comes with that of the thread which has made
		// the child: keep it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, as wanted
		}
		close(p.done)
	}()
	return p, <-started
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(Patience):
		p.kill()
		return errors.New("did not end when it was asked to")
	}
}

// kill ends the process, if it has not ended. There may be none.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// logged waits until so many lines of the log hold the words.
func (p *process) logged(words string, count int) error {
	timeout := time.After(Patience)
	for {
		found, news := p.log.count(words)
		if found >= count {
			return nil
		}
		select {
		case <-news:
		case <-p.done:
			if found, _ := p.log.count(words); found >= count {
				return nil
			}
			return errors.New("it has ended")
		case <-timeout:
			return fmt.Errorf("only %d lines of the log have %q", found, words)
		}
	}
}

// journal is what a process has logged.
type journal struct {
	mu   sync.Mutex
	b    bytes.Buffer
	news chan struct{} // closed when there is more
}

// Write takes more of the log.
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	close(j.news)
	j.news = make(chan struct{})
	return j.b.Write(b)
}

// count returns how many lines hold the words, and what to wait for before looking
// again.
func (j *journal) count(words string) (int, <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), words), j.news
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// reserve returns an address of 127.0.0.1 whose port the server may listen on as often
// as it likes until the test ends, and that the system gives to nobody else: it is
// bound and not listened on, which lets others that want to share it bind it too
// (socket(7), SO_REUSEADDR).
func reserve(t testing.TB) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("socket", err))
	}
	t.Cleanup(func() { _ = unix.Close(fd) }) // nothing was written
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(os.NewSyscallError("setsockopt", err))
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(os.NewSyscallError("bind", err))
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(os.NewSyscallError("getsockname", err))
	}
	return fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port)
}
