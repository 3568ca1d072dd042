package xmpplog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// options are those of a logger of deliveries by their ids.
func options(t testing.TB, path string) Options {
	t.Helper()
	return Options{Name: "a", Where: "x.conf:1:1", File: path, Mode: 0o644, Formats: map[Kind]*Format{Delivery: format(t, Delivery, "%ai")}}
}

func format(t testing.TB, k Kind, text string) *Format {
	t.Helper()
	f, err := ParseFormat(k, text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// use has a Log write for loggers.
func use(t testing.TB, l *Log, all ...Options) {
	t.Helper()
	c, err := l.Prepare(all)
	if err != nil {
		t.Fatal(err)
	}
	c.Use()
}

func closeLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFile: lines are in the file at the latest a second after they were taken, and all
// of them when the Log is closed; a file that is there is gone on with.
func TestFile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte("before\ncut short"), 0o600); err != nil {
			t.Fatal(err)
		}
		l := New()
		use(t, l, options(t, path))
		l.Record(Record{Kind: Delivery, ID: "1"})
		l.Record(Record{Kind: Reception, ID: "not asked for"})
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := read(t, path), "before\ncut short\n1\n"; got != want {
			t.Errorf("after a second: %q, want %q", got, want)
		}
		l.Record(Record{Kind: Delivery, ID: "2"})
		closeLog(t, l)
		if got, want := read(t, path), "before\ncut short\n1\n2\n"; got != want {
			t.Errorf("at the end: %q, want %q", got, want)
		}
		l.Record(Record{Kind: Delivery, ID: "too late"})
		if got := l.Stats().Loggers["a"]; got != (Lines{Written: 2}) {
			t.Errorf("counts: %+v", got)
		}
	})
}

// TestMode: a file gets its access rights whatever the umask says, new or not.
func TestMode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{old, filepath.Join(dir, "new")} {
		f, err := open(path, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil || info.Mode().Perm() != 0o666 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
		_ = f.Close()
	}
}

// TestRotation: a file that was moved gets what was taken before the change, the new one
// what comes after; nothing is lost or in both.
func TestRotation(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l := New()
	use(t, l, options(t, path))
	l.Record(Record{Kind: Delivery, ID: "1"})
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Record(Record{Kind: Delivery, ID: "2"})
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	waitForFile(t, l, path+".1", "1\n2\n")
	l.Record(Record{Kind: Delivery, ID: "3"})
	closeLog(t, l)
	if got := read(t, path); got != "3\n" {
		t.Errorf("the new file holds %q", got)
	}
}

// waitForFile waits until the goroutine has changed files: the moved one is complete then.
func waitForFile(t *testing.T, l *Log, path, want string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for read(t, path) != want {
		if time.Now().After(deadline) {
			t.Fatalf("%s holds %q, want %q", path, read(t, path), want)
		}
		<-time.After(time.Millisecond)
	}
}

// TestRotationUnderLoad: of lines that many write while files change again and again,
// each is in exactly one of the files, whole, and those of one writer are in order.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	l := New()
	use(t, l, options(t, path))
	const writers, each = 4, 5000
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range each {
				l.Record(Record{Kind: Delivery, ID: fmt.Sprintf("%d %d", w, i)})
			}
		})
	}
	const rotations = 20
	for i := range rotations {
		if err := os.Rename(path, fmt.Sprintf("%s.%02d", path, i)); err != nil {
			t.Fatal(err)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	writing.Wait()
	closeLog(t, l)
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) != rotations+1 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	total := 0
	var next [writers]int
	for _, f := range append(files[1:], files[0]) {
		for line := range strings.Lines(read(t, f)) {
			var w, i int
			if _, err := fmt.Sscanf(line, "%d %d\n", &w, &i); err != nil || w >= writers || i != next[w] {
				t.Fatalf("%s: %q, want number %v", f, line, next)
			}
			next[w]++
			total++
		}
	}
	if total != writers*each || l.Stats().Loggers["a"].Written != uint64(total) {
		t.Errorf("%d lines, want %d; counts %+v", total, writers*each, l.Stats())
	}
}

// TestOpenFails: what cannot be opened is said with its place, and all stays as it was.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "log")
	l := New()
	use(t, l, options(t, path))
	missing, folder := options(t, filepath.Join(dir, "missing", "log")), options(t, dir)
	missing.Name, folder.Name, folder.Where = "b", "c", "x.conf:2:1"
	_, err := l.Prepare([]Options{options(t, path), missing, folder})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"x.conf:1:1: xmpp_logger b: open " + missing.File + ": no such file or directory", "x.conf:2:1: xmpp_logger c: open " + dir + ": is a directory"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v does not tell its cause", err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Prepare([]Options{options(t, fifo)}); !errors.Is(err, syscall.ENXIO) {
		t.Errorf("a pipe that nobody reads: %v", err)
	}
	l.Record(Record{Kind: Delivery, ID: "1"})
	closeLog(t, l)
	if got := read(t, path); got != "1\n" {
		t.Errorf("the old file holds %q", got)
	}
}

// TestSeveral: loggers may share a file; one may go and another come.
func TestSeveral(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shared, own := filepath.Join(dir, "shared"), filepath.Join(dir, "own")
	first, second, third := options(t, shared), options(t, shared), options(t, own)
	second.Name, second.Formats = "b", map[Kind]*Format{Delivery: format(t, Delivery, "b %ai"), Failed: format(t, Failed, "P %xr")}
	third.Name = "c"
	l := New()
	use(t, l, first, second)
	l.Record(Record{Kind: Delivery, ID: "1"})
	l.Record(Record{Kind: Failed, Reason: "gone"})
	use(t, l, second, third)
	l.Record(Record{Kind: Delivery, ID: "2"})
	use(t, l, third)
	l.Record(Record{Kind: Delivery, ID: "3"})
	if !l.Observing() {
		t.Error("does not observe deliveries")
	}
	use(t, l)
	l.Record(Record{Kind: Delivery, ID: "4"})
	if l.Observing() {
		t.Error("observes for nobody")
	}
	closeLog(t, l)
	if got, want := read(t, shared), "1\nb 1\nP gone\nb 2\n"; got != want {
		t.Errorf("the shared file holds %q, want %q", got, want)
	}
	if got, want := read(t, own), "2\n3\n"; got != want {
		t.Errorf("the other file holds %q, want %q", got, want)
	}
}

// TestHeartbeat: heartbeats come at their times, and a change does not put them off.
func TestHeartbeat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		o := options(t, path)
		o.Heartbeat, o.Formats[Heartbeat] = time.Minute, format(t, Heartbeat, "%t+M")
		l := New()
		use(t, l, o)
		start := time.Now()
		want := ""
		for i := 1; i <= 3; i++ {
			want += fmt.Sprintf("%d+M\n", start.Add(time.Duration(i)*time.Minute).Unix())
		}
		time.Sleep(50 * time.Second)
		for range 8 {
			use(t, l, o)
			time.Sleep(15 * time.Second)
		}
		time.Sleep(time.Until(start.Add(3*time.Minute + time.Second)))
		closeLog(t, l)
		if got := read(t, path); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestSlowDisk: where the disk takes nothing, nobody who has a line to write waits, what
// there is no room for is dropped, counted and said, and the end does not wait for ever.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe() // nobody reads
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out syncBuffer
	f := newFile("pipe", w, zerolog.New(&out))
	go f.run()
	line := bytes.Repeat([]byte("x"), 1<<10)
	line[len(line)-1] = '\n'
	taken := 0
	for range 2 * room >> 10 {
		if f.put(line) {
			taken++
		}
	}
	// What is in the pipe counts as waiting until the write returns.
	if taken != room>>10 {
		t.Errorf("%d lines were taken, want %d", taken, room>>10)
	}
	f.say()
	f.say()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"lines":4096`) || !strings.Contains(got, `"logfile":"pipe"`) {
		t.Errorf("the log says %s", got)
	}
	l := New()
	l.files["pipe"] = f
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "pipe") {
		t.Errorf("closed with %v", err)
	}
	_ = w.Close()
	<-f.done
}

// TestDiskFull: a write that fails is tried again; the lines wait meanwhile, and go where
// there is room after a change.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "log")
	var out syncBuffer
	f := newFile(path, full, zerolog.New(&out))
	f.put([]byte("1\n"))
	f.write()
	f.write()
	f.put([]byte("2\n"))
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "no space left on device") {
		t.Errorf("the log says %s", got)
	}
	if n := f.errors.Load(); n != 2 {
		t.Errorf("%d errors, want 2", n)
	}
	next, err := open(path, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	f.change(next)
	f.close()
	if got := read(t, path); got != "1\n2\n" {
		t.Errorf("the file holds %q", got)
	}
}

// TestLostAtEnd: what cannot be written at the end is said.
func TestLostAtEnd(t *testing.T) {
	t.Parallel()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	var out syncBuffer
	f := newFile("full", full, zerolog.New(&out))
	f.put([]byte("1\n"))
	f.write()
	f.put([]byte("2\n"))
	go f.run()
	f.end()
	<-f.done
	if got := out.String(); !strings.Contains(got, `"lines":2,`) {
		t.Errorf("the log says %s", got)
	}
}

// filling is a disk that has room for so many bytes.
type filling struct {
	*os.File
	room int
}

func (d *filling) Write(b []byte) (int, error) {
	n := min(d.room, len(b))
	d.room -= n
	if n, err := d.File.Write(b[:n]); err != nil {
		return n, err
	}
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestUntorn: a line that a full disk has cut is completed when there is room, or is
// whole in the next file and not in this one.
func TestUntorn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	create := func(name string, room int) *filling {
		f, err := open(filepath.Join(dir, name), 0o644)
		if err != nil {
			t.Fatal(err)
		}
		return &filling{f, room}
	}
	first := create("first", len("whole\nto"))
	f := newFile("first", first, zerolog.Nop())
	f.put([]byte("whole\ntorn\n"))
	f.put([]byte("last\n"))
	f.write()
	first.room = len("rn\nla")
	f.write()
	if got := read(t, filepath.Join(dir, "first")); got != "whole\ntorn\nla" {
		t.Errorf("with some room: %q", got)
	}
	f.change(create("second", 3))
	f.change(create("third", 100))
	f.close()
	for name, want := range map[string]string{"first": "whole\ntorn\n", "second": "", "third": "last\n"} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
}

// syncBuffer is a buffer for the log.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
