package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mcmt2xmpp/gateway/admin"
)

// openTerminal returns the two ends of a pseudo-terminal.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return person, program
}

// TestInterruptedQuestion: Ctrl-C at the question is an answer. The program must
// not wait for a line after it.
func TestInterruptedQuestion(t *testing.T) {
	t.Parallel()
	q := &fakeQueue{messages: []fakeMessage{{QueueMessage: admin.QueueMessage{ID: "q1", JID: "alice@localhost", State: admin.Dead}}}}
	url, stop, err := serveAdmin(admin.Options{Queue: q})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	person, terminal := openTerminal(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "queue", "drop", "q1", "--admin", url)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdin = terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	question, err := bufio.NewReader(stderr).ReadString(']')
	if err != nil || !strings.HasPrefix(question, "1 message, dead.") {
		t.Errorf("asked %q, %v", question, err)
	}
	if _, err := person.Write([]byte{3}); err != nil {
		t.Error(err)
	}
	err = cmd.Wait()
	if !watchdog.Stop() {
		t.Error("the program waits for a line after Ctrl-C")
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("it ended with %v", err)
	}
	if len(q.messages) != 1 {
		t.Error("the message was dropped")
	}
}
