package natstest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

// orphaned makes the test binary a process that runs a cluster until it is killed.
const orphaned = "NATSTEST_ORPHANED"

func TestMain(m *testing.M) {
	Main()
	goleak.VerifyTestMain(m)
}

func connect(t *testing.T, a Access) (*nats.Conn, error) {
	t.Helper()
	opts := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(50 * time.Millisecond), nats.UserInfo(a.User, a.Password), nats.Token(a.Token)}
	if a.CredsFile != "" {
		opts = append(opts, nats.UserCredentials(a.CredsFile))
	}
	if a.TLSCA != "" {
		opts = append(opts, nats.RootCAs(a.TLSCA))
	}
	nc, err := nats.Connect(strings.Join(a.URLs, ","), opts...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

func open(t *testing.T, a Access) jetstream.JetStream {
	t.Helper()
	nc, err := connect(t, a)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish stores a message and retries until it is stored.
func publish(t *testing.T, js jetstream.JetStream, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, time.Second)
		_, err := js.Publish(one, "s.x", nil, jetstream.WithMsgID(id))
		done()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", id, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func stream(t *testing.T, js jetstream.JetStream, replicas int) jetstream.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.*"}, Replicas: replicas})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func count(t *testing.T, s jetstream.Stream) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for {
		one, done := context.WithTimeout(ctx, time.Second)
		info, err := s.Info(one)
		done()
		if err == nil {
			return info.State.Msgs
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// Each way to prove who one is lets in who has it, and nobody else.
func TestAccess(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"nobody, in clear text": {},
		"password":              {Auth: Password},
		"token over TLS":        {Auth: Token, TLS: true},
		"credentials over TLS":  {Auth: Credentials, TLS: true, SyncAlways: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(t, 1, o)
			publishes := func() { js := open(t, c.Access()); stream(t, js, 1); publish(t, js, "1") }
			publishes()
			for what, a := range map[string]Access{
				"without a proof":      {URLs: c.URLs(), TLSCA: c.Access().TLSCA},
				"without an authority": {URLs: c.URLs(), CredsFile: c.Access().CredsFile, User: c.Access().User, Password: c.Access().Password, Token: c.Access().Token},
			} {
				_, err := connect(t, a)
				if want := o.Auth == Nobody && what == "without a proof" || !o.TLS && what == "without an authority"; (err == nil) != want {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// What is stored outlives the death of the leader, and each server has it.
func TestKill(t *testing.T) {
	t.Parallel()
	c := New(t, 3, Options{})
	js := open(t, c.Access())
	s := stream(t, js, 3)
	publish(t, js, "1")
	old := c.Leader("S")
	c.Kill(old)
	if n := len(c.Running()); n != 2 {
		t.Errorf("%d servers run", n)
	}
	publish(t, js, "2")
	if c.Leader("S") == old {
		t.Error("a dead server leads")
	}
	c.Start(old)
	c.WaitReady()
	for i := range 3 { // each of them is needed once
		c.Stop(i)
		if n := count(t, s); n != 2 {
			t.Errorf("without server %d: %d messages, want 2", i, n)
		}
		c.Start(i)
		c.WaitReady()
	}
}

// A partition keeps servers from one another, and lets clients reach both sides.
func TestIsolate(t *testing.T) {
	t.Parallel()
	c := New(t, 3, Options{})
	js := open(t, c.Access())
	stream(t, js, 3)
	publish(t, js, "1")
	alone := c.Leader("S")
	side := c.Access()
	side.URLs = side.URLs[alone : alone+1]
	there := open(t, side)
	c.Isolate(alone)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := there.Publish(ctx, "s.x", nil); err == nil {
		t.Error("a leader by itself has stored a message")
	}
	if err := there.Conn().FlushTimeout(Patience); err != nil {
		t.Errorf("a client does not reach the server: %v", err)
	}
	other := c.Leader("S", alone)
	side.URLs = c.URLs()[other : other+1]
	publish(t, open(t, side), "2")
	c.Heal()
	c.WaitReady()
	publish(t, there, "3")
}

// A server that is paused is silent; its connections stay.
func TestPause(t *testing.T) {
	t.Parallel()
	c := New(t, 1, Options{})
	nc, err := connect(t, c.Access())
	if err != nil {
		t.Fatal(err)
	}
	c.Pause(0)
	if nc.FlushTimeout(200*time.Millisecond) == nil {
		t.Error("a paused server answers")
	}
	c.Continue(0)
	if err := nc.FlushTimeout(Patience); err != nil || nc.Reconnects != 0 {
		t.Errorf("%v, %d reconnections", err, nc.Reconnects)
	}
}

// A server whose folder is replaced by an older one gets what it lacks from the
// others.
func TestRestore(t *testing.T) {
	t.Parallel()
	c := New(t, 3, Options{})
	js := open(t, c.Access())
	s := stream(t, js, 3)
	publish(t, js, "1")
	c.WaitReady()
	c.Stop(0)
	c.Snapshot(0)
	blocks := func() int {
		t.Helper()
		var size int
		err := filepath.WalkDir(filepath.Join(c.dir, "n1", "store"), func(path string, d os.DirEntry, err error) error {
			if info, ierr := d.Info(); err == nil && ierr == nil && strings.HasSuffix(path, ".blk") && strings.Contains(path, "/streams/S/msgs/") {
				size += int(info.Size())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	before := blocks()
	c.Start(0)
	for i := range 100 {
		publish(t, js, fmt.Sprint("after", i))
	}
	c.WaitReady()
	c.Stop(0)
	if blocks() == before {
		t.Error("nothing was written to the folder: the test proves nothing")
	}
	c.Restore(0)
	if blocks() != before {
		t.Error("the folder is not the old one")
	}
	c.Start(0)
	c.WaitReady()
	c.Kill(1)
	if n := count(t, s); n != 101 {
		t.Errorf("%d messages, want 101", n)
	}
}

// When the test is killed, its servers are too, also a paused one.
func TestNoOrphans(t *testing.T) {
	if os.Getenv(orphaned) != "" {
		c := New(t, 2, Options{})
		c.Pause(1)
		for _, n := range c.nodes {
			fmt.Println("pid", n.cmd.Process.Pid)
		}
		fmt.Println("pid end")
		<-t.Context().Done()
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // the killed process cannot remove its own
	cmd := exec.Command(self, "-test.run=^TestNoOrphans$", "-test.v")
	cmd.Env = append(os.Environ(), orphaned+"=1", "TMPDIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		pid, ok := strings.CutPrefix(lines.Text(), "pid ")
		if pid == "end" {
			break
		}
		if ok {
			pids = append(pids, pid)
		}
	}
	_ = cmd.Process.Kill() // as the test wants
	_ = cmd.Wait()         // likewise
	if len(pids) != 2 {
		t.Fatalf("servers %v", pids)
	}
	for _, pid := range pids {
		for begin := time.Now(); alive(pid); <-time.After(10 * time.Millisecond) {
			if time.Since(begin) > Patience {
				t.Fatalf("process %s lives on", pid)
			}
		}
	}
}

// alive reports whether a process is there and not only waits to be reaped.
func alive(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

// A dark relay passes nothing, not even the end of a connection, and passes on
// what was kept back when it is light again.
func TestRelay(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := newRelay(t, func() string { return ln.Addr().String() })
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.setDark(true)
	if _, err := c.Write([]byte("held")); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	buf := make([]byte, 10)
	if err := s.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(buf); n != 0 || !os.IsTimeout(err) {
		t.Errorf("in the dark: %q, %v", buf[:n], err)
	}
	r.setDark(false)
	if err := s.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(buf); string(buf[:n]) != "held" {
		t.Errorf("after: %q, %v", buf[:n], err)
	}
	if _, err := s.Read(buf); err == nil || os.IsTimeout(err) {
		t.Errorf("the end did not come: %v", err)
	}
}
