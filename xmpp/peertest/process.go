package peertest

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one run of a server. It dies with the test's own process.
type process struct {
	cmd  *exec.Cmd
	log  *journal
	done chan struct{} // closed when it has ended and all its output is read
}

// start starts a command whose output is a log.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, log: &journal{news: make(chan struct{})}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.log, p.log
	// Helpers hold the output until they have ended, too. They do so by themselves
	// when the server has.
	cmd.WaitDelay = Patience
	// A group of its own, for them.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error, 1)
	go func() {
		// The signal at the parent's death comes with that of the thread which has
		// made the child: keep it.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, as wanted
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
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
		return fmt.Errorf("did not end on %v", syscall.SIGTERM)
	}
}

// kill ends the process and its helpers, if they have not ended.
func (p *process) kill() {
	select {
	case <-p.done:
		return // the number may be another's by now
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may end this moment
	<-p.done
}

// logged waits until a line of the log holds all the words.
func (p *process) logged(words ...string) error {
	timeout := time.After(Patience)
	for {
		found, news := p.log.find(words)
		if found {
			return nil
		}
		select {
		case <-news:
		case <-p.done:
			if found, _ := p.log.find(words); found {
				return nil
			}
			return errors.New("it has ended")
		case <-timeout:
			return fmt.Errorf("it does not log %q", words)
		}
	}
}

// maxLog is how much of a log is kept, the latest.
const maxLog = 1 << 20

// journal is what a process has logged.
type journal struct {
	mu   sync.Mutex
	text []byte
	news chan struct{} // closed when there is more
}

// Write takes more of the log.
func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.text = append(j.text, b...)
	if len(j.text) > 2*maxLog {
		j.text = append([]byte(nil), j.text[len(j.text)-maxLog:]...)
	}
	close(j.news)
	j.news = make(chan struct{})
	return len(b), nil
}

// find tells whether there is a line that holds all the words, and else what to
// wait for before looking again.
func (j *journal) find(words []string) (found bool, news <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(string(j.text)) {
		if holds(line, words) {
			return true, nil
		}
	}
	return false, j.news
}

func holds(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// tail is the end of the log.
func (j *journal) tail() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.text[max(0, len(j.text)-64<<10):])
}
