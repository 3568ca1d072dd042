package broker

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// childDir is set in the environment of the test binary when it plays the
// process that is killed.
const childDir = "BROKER_TEST_CHILD"

// childRecords is set when it also delivers and records.
const childRecords = "BROKER_TEST_RECORDS"

// finisher records the end of each message.
func finisher(_ context.Context, ds []*Delivery) []Disposition {
	out := make([]Disposition, len(ds))
	for i, d := range ds {
		out[i] = Ack().Recorded(d.ID, d.Recipient, []byte("delivered"))
	}
	return out
}

const (
	childRoutes = 8
	kills       = 10
)

// child stores messages and moves them on, and says which ones were accepted,
// until it is killed.
func child(dir string) {
	ctx := context.Background()
	b, err := Open(ctx, Options{Dir: dir, MaxStore: 512 * mib, DiskReserve: -1, Log: zerolog.Nop()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go func() { _ = b.Consume(ctx, Ingest, mover(Deliver), ConsumeOptions{}) }()
	if os.Getenv(childRecords) != "" {
		go func() { _ = b.Consume(ctx, Deliver, HandlerFunc(finisher), ConsumeOptions{}) }()
	}
	var out sync.Mutex
	for r := range childRoutes {
		go func() {
			for i := 0; ; i++ {
				route := fmt.Sprintf("%s/%d", os.Getenv("BROKER_TEST_RUN"), r)
				id := fmt.Sprintf("%s-%d", route, i)
				m := Message{Stage: Ingest, Route: route, ID: id, Body: []byte(id)}
				if i%50 == 49 {
					m.Body = append([]byte(id+" "), make([]byte, maxInline)...)
				}
				if err := b.Store(ctx, m); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Println(id)
				out.Unlock()
			}
		}()
	}
	select {}
}

// What was accepted is delivered, in order, whenever the process is killed.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	accepted := make(map[string]int) // route to how many
	for run := range kills {
		for _, id := range killChild(t, dir, run) {
			route := id[:strings.LastIndexByte(id, '-')]
			accepted[route]++
		}
	}
	total := 0
	for _, n := range accepted {
		total += n
	}
	t.Logf("%d messages accepted over %d kills", total, kills)

	b := openTest(t, small(dir))
	stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	got := make(map[string]int)
	var mu sync.Mutex
	dups := 0
	all := make(chan struct{})
	closed := false
	stopOut := consume(t, b, Deliver, func(_ context.Context, ds []*Delivery) []Disposition {
		mu.Lock()
		defer mu.Unlock()
		out := make([]Disposition, len(ds))
		for i, d := range ds {
			out[i] = Ack()
			want := fmt.Sprintf("%s-%d", d.Route, got[d.Route])
			switch {
			case d.ID == want:
				got[d.Route]++
			case d.Redelivered:
				dups++
			default:
				t.Errorf("got %s, want %s", d.ID, want)
			}
			if text, _, _ := strings.Cut(string(d.Body), " "); text != d.ID {
				t.Errorf("%s has the body %.40q", d.ID, d.Body)
			}
		}
		missing := false
		for r, n := range accepted {
			missing = missing || got[r] < n
		}
		if !missing && !closed {
			closed = true
			close(all)
		}
		return out
	}, ConsumeOptions{})
	select {
	case <-all:
	case <-time.After(patience):
		mu.Lock()
		for r, n := range accepted {
			if got[r] < n {
				t.Errorf("route %s: %d of %d delivered", r, got[r], n)
			}
		}
		mu.Unlock()
	}
	t.Logf("%d duplicates", dups)
	_, _ = stopIn(), stopOut()
}

// The end of what was accepted is in the journal, whenever the process is killed.
func TestKillRecords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var accepted []string
	for run := range kills / 2 {
		accepted = append(accepted, killChild(t, dir, run, childRecords+"=1")...)
	}
	b := openTest(t, small(dir))
	before := b.Stats().Journal.Entries
	consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	consume(t, b, Deliver, finisher, ConsumeOptions{})
	await(t, "an empty stage", emptied(t, b, streamIngest))
	await(t, "an empty stage", emptied(t, b, streamDeliver))
	rs, err := b.Records(testContext(t), "", "", time.Time{}, 2*len(accepted))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages accepted, %d entries before the last start, %d records in the end", len(accepted), before, len(rs))
	recorded := make(map[string]bool, len(rs))
	for _, r := range rs {
		recorded[r.ID] = true
	}
	for _, id := range accepted {
		if !recorded[id] {
			t.Errorf("%s is not in the journal", id)
		}
	}
}

// killChild runs the child for a random time and returns what it said was accepted.
func killChild(t *testing.T, dir string, run int, env ...string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(append(os.Environ(), childDir+"="+dir, fmt.Sprintf("BROKER_TEST_RUN=%d", run)), env...)
	cmd.Stderr = os.Stderr
	// If the test dies the child must not live on.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	limit := 20 + rand.IntN(1500)
	killed := false
	for sc := bufio.NewScanner(out); sc.Scan(); {
		ids = append(ids, sc.Text())
		if len(ids) >= limit && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed, as wanted
	if !killed {
		t.Fatalf("child ended by itself after %d messages", len(ids))
	}
	return ids
}
