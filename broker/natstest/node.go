package natstest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Ports of a server.
const (
	clientPort = iota
	routePort
)

// node is one server: a folder, and a process while it runs.
type node struct {
	t         testing.TB
	name, dir string
	front     *relay // where clients connect

	cmd     *exec.Cmd
	stdin   io.WriteCloser
	reports chan report
	done    chan struct{} // closed when the process has ended
	paused  bool

	mu    sync.Mutex
	addrs [2]string // of the process that runs
	log   bytes.Buffer
}

// maxLog is how much of a server's log is kept, the latest.
const maxLog = 64 << 10

func newNode(t testing.TB, name, dir string) *node {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return &node{t: t, name: name, dir: dir}
}

// at is the address of a port, "" while the server does not run.
func (n *node) at(port int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addrs[port]
}

func (n *node) running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// start starts the process and waits until it listens.
func (n *node) start(config string) error {
	if n.running() {
		return errors.New("it runs already")
	}
	conf := filepath.Join(n.dir, "server.conf")
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		return err
	}
	if err := n.spawn(conf); err != nil {
		return err
	}
	r, err := n.next()
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.addrs = [2]string{clientPort: r.Client, routePort: r.Route}
	return nil
}

func (n *node) spawn(conf string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asServer+"="+conf)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = n
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if n.stdin, err = cmd.StdinPipe(); err != nil {
		return err
	}
	done, reports := make(chan struct{}), make(chan report, 1)
	if err := startTied(cmd, done); err != nil {
		close(done)
		return err
	}
	n.cmd, n.done, n.reports, n.paused = cmd, done, reports, false
	go func() {
		defer close(done)
		for lines := bufio.NewReader(stdout); ; {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				break
			}
			var r report
			if json.Unmarshal(line, &r) == nil { // else not for us
				select {
				case reports <- r:
				default: // nobody has waited for the one before
				}
			}
		}
		_ = cmd.Wait() // killed, as wanted
		n.mu.Lock()
		defer n.mu.Unlock()
		n.addrs = [2]string{}
	}()
	return nil
}

// startTied starts a process that dies with this one. done is closed when it has
// ended.
func startTied(cmd *exec.Cmd, done <-chan struct{}) error {
	started := make(chan error, 1)
	go func() {
		// The signal at the parent's death comes with that of the thread which has
		// made the child: keep it.
		runtime.LockOSThread()
		started <- cmd.Start()
		<-done
	}()
	return <-started
}

// next waits for the next report.
func (n *node) next() (report, error) {
	select {
	case r := <-n.reports:
		return r, nil
	case <-n.done:
		return report{}, errors.New("the process has ended")
	case <-time.After(Patience):
		return report{}, errors.New("no answer")
	}
}

// ask asks a running server how it is.
func (n *node) ask() (report, error) {
	if !n.running() || n.paused {
		return report{}, errors.New("does not run")
	}
	if _, err := io.WriteString(n.stdin, "\n"); err != nil {
		return report{}, err
	}
	return n.next()
}

func (n *node) kill() {
	if n.running() {
		_ = n.cmd.Process.Kill() // it may end this moment
		<-n.done
	}
}

func (n *node) stop() error {
	if !n.running() {
		return errors.New("does not run")
	}
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-n.done:
		return nil
	case <-time.After(Patience):
		n.kill()
		return fmt.Errorf("did not end on %v", syscall.SIGTERM)
	}
}

// pause returns when no thread of the process runs any more.
func (n *node) pause() {
	n.signal(syscall.SIGSTOP)
	n.paused = true
	if err := unix.Waitid(unix.P_PID, n.cmd.Process.Pid, nil, unix.WSTOPPED, nil); err != nil {
		n.t.Fatalf("server %s: %v", n.name, err)
	}
}

func (n *node) resume() {
	n.signal(syscall.SIGCONT)
	n.paused = false
}

func (n *node) signal(s syscall.Signal) {
	if !n.running() {
		n.t.Fatalf("server %s does not run", n.name)
	}
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatalf("server %s: %v", n.name, err)
	}
}

// end is kill for the end of the test.
func (n *node) end() {
	if n.cmd != nil {
		n.kill()
		_ = n.stdin.Close() // the reader is gone
	}
}

// Write takes the log.
func (n *node) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log.Write(p)
	if over := n.log.Len() - maxLog; over > maxLog {
		n.log.Next(over)
	}
	return len(p), nil
}

func (n *node) tail() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.log.String()
}
