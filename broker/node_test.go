package broker

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Where the test binary finds the server when it plays a node of its own: one
// that is killed or stopped by signals.
const (
	childURL   = "BROKER_TEST_URL"
	childName  = "BROKER_TEST_NODE_DIR"
	childLease = "BROKER_TEST_TTL"
)

const nodeSlices = 4

// childNode moves messages from Ingest to Deliver and says which slices it has.
// A message with the header "Hold" it keeps until its standard input says go on,
// whatever happens meanwhile, and then it moves it under an ID of its own.
func childNode(url string) {
	ctx := context.Background()
	times := brisk
	if ttl, err := time.ParseDuration(os.Getenv(childLease)); err == nil {
		times.ttl = ttl
	}
	b, err := Open(ctx, Options{
		URLs: []string{url}, MaxStore: 512 * mib, Slices: nodeSlices, NodeDir: os.Getenv(childName), lease: times,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("node", b.members.name())
	go func() {
		_ = b.Preside(ctx, "test", func(ctx, _ context.Context) {
			fmt.Println("presides")
			<-ctx.Done()
			fmt.Println("resigns")
		})
	}()
	in := bufio.NewReader(os.Stdin)
	h := HandlerFunc(func(ctx context.Context, ds []*Delivery) []Disposition {
		if ds[0].Header["Hold"] == "" {
			return mover(Deliver)(ctx, ds)
		}
		fmt.Println("held", ds[0].ID)
		if _, err := in.ReadString('\n'); err != nil {
			return nil
		}
		d := ds[0]
		return []Disposition{Move(Message{Stage: Deliver, Route: d.Route, ID: d.ID + "/held", BodyOf: d})}
	})
	err = b.Consume(ctx, Ingest, h, ConsumeOptions{Batch: 1, Own: func(ctx, _ context.Context, s Slice, ready func()) error {
		fmt.Println("own", s)
		ready()
		<-ctx.Done()
		fmt.Println("lost", s)
		return nil
	}})
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// process is a childNode.
type process struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.Writer
	name string

	mu    sync.Mutex
	lines []string
	ended chan struct{}
}

func startProcess(t testing.TB, s *natsServer, nodeDir, ttl string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), childURL+"="+s.url(), childName+"="+nodeDir, childLease+"="+ttl)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for sc := bufio.NewScanner(out); sc.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, sc.Text())
			p.mu.Unlock()
		}
	}()
	t.Cleanup(p.kill)
	p.name = strings.TrimPrefix(p.await("node "), "node ")
	return p
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.cmd.Wait() // killed, as wanted
}

// await waits for a line that begins so.
func (p *process) await(prefix string) (line string) {
	p.t.Helper()
	eventually(p.t, "process says "+prefix, func() bool {
		for _, l := range p.said() {
			if strings.HasPrefix(l, prefix) {
				line = l
				return true
			}
		}
		return false
	})
	return line
}

func (p *process) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// owns counts the slices that it has by its own words.
func (p *process) owns() (n int) {
	for _, l := range p.said() {
		switch {
		case strings.HasPrefix(l, "own "):
			n++
		case strings.HasPrefix(l, "lost "):
			n--
		}
	}
	return n
}

// wanted counts the slices that are to be a node's.
func wanted(name string, names ...string) (n int) {
	for _, owner := range wantedOwners(Ingest, nodeSlices, names) {
		if owner == name {
			n++
		}
	}
	return n
}

// arrived hands over what was moved, and checks that it is all there, each
// once and in order. again is how often a move was made twice.
func arrived(t testing.TB, b *Broker, stored map[string]int) (again int) {
	t.Helper()
	h := newOnce()
	consume(t, b, Deliver, h.handle, ConsumeOptions{})
	eventually(t, "all messages", func() bool { n, _ := h.count(); return n >= sum(stored) })
	h.inOrder(t)
	if n, twice := h.count(); n != sum(stored) || twice > 0 {
		t.Errorf("%d messages moved and %d twice, %d were stored", n, twice, sum(stored))
	}
	return int(b.Stats().Stages[Deliver].Duplicates)
}

// A node that is killed is replaced, and the order of no route suffers.
func TestKilledNode(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	b := s.node(s.options(nodeSlices))
	consume(t, b, Ingest, mover(Deliver), ConsumeOptions{Batch: 1})
	stop := feed(t, b, Ingest, 12)
	for range 2 {
		p := startProcess(t, s, "", "")
		eventually(t, "the process with its slices", func() bool {
			return p.owns() > 0 && p.owns() == wanted(p.name, p.name, b.members.name()) || wanted(p.name, p.name, b.members.name()) == 0
		})
		moved := b.Stats().Stages[Ingest].Stored
		eventually(t, "messages meanwhile", func() bool { return b.Stats().Stages[Ingest].Stored > moved+50 })
		began := time.Now()
		p.kill()
		eventually(t, "all slices taken over", func() bool { return b.Stats().Stages[Ingest].Owned == nodeSlices })
		t.Logf("taken over after %v", time.Since(began))
	}
	stored := stop()
	t.Logf("%d messages, %d moved twice by their ID", sum(stored), arrived(t, b, stored))
}

// A node that is stopped for longer than its lease loses its slices; when it
// goes on, what it had begun comes to nothing.
func TestStoppedNode(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := startProcess(t, s, "", "")
	eventually(t, "all slices at the process", func() bool { return p.owns() == nodeSlices })
	b := s.node(s.options(nodeSlices))
	ctx := testContext(t)
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "held", Recipient: "x", ID: "held-0", Header: map[string]string{"Hold": "1"}}); err != nil {
		t.Fatal(err)
	}
	p.await("held held-0")
	stop := feed(t, b, Ingest, 12)
	p.signal(syscall.SIGSTOP)
	consume(t, b, Ingest, func(ctx context.Context, ds []*Delivery) []Disposition {
		if ds[0].ID == "held-0" && !ds[0].Redelivered {
			t.Error("a message that the other has handed over looks new")
		}
		return mover(Deliver)(ctx, ds)
	}, ConsumeOptions{Batch: 1})
	eventually(t, "all slices taken over", func() bool { return b.Stats().Stages[Ingest].Owned == nodeSlices })
	// What it holds is given to the new owner.
	c := s.node(s.options(nodeSlices))
	eventually(t, "the message that it holds", func() bool {
		d, err := c.Last(ctx, Deliver, "held")
		return err == nil && d != nil && d.ID == "held-0"
	})
	if _, err := io.WriteString(p.in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGCONT)
	eventually(t, "the process without the slices that it had", func() bool {
		lost := 0
		for _, l := range p.said() {
			if strings.HasPrefix(l, "lost ") {
				lost++
			}
		}
		return lost >= nodeSlices
	})
	// It is a member again, and gets what is its own.
	eventually(t, "slices as wanted", func() bool {
		return p.owns() == wanted(p.name, p.name, b.members.name()) &&
			b.Stats().Stages[Ingest].Owned == wanted(b.members.name(), p.name, b.members.name())
	})
	if d, err := c.Last(ctx, Deliver, "held"); err != nil || d == nil || d.ID != "held-0" {
		t.Errorf("last of the route is %+v, %v: moved by who had lost it", d, err)
	}
	stored := stop()
	stored["held"] = 1
	t.Logf("%d messages, %d moved twice by their ID", sum(stored), arrived(t, b, stored))
}

// A node that is killed and started again with its folder takes over from its
// former self, without waiting for the lease of that to run out.
func TestRestartedNode(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	o := s.options(nodeSlices)
	o.lease = patient
	b := s.node(o)
	consume(t, b, Ingest, mover(Deliver), ConsumeOptions{Batch: 1})
	dir := t.TempDir()
	first := startProcess(t, s, dir, "1h")
	mine := wanted(first.name, first.name, b.members.name())
	eventually(t, "the process with its slices", func() bool { return first.owns() == mine })
	stop := feed(t, b, Ingest, 12)
	first.kill()
	second := startProcess(t, s, dir, "1h")
	if second.name != first.name {
		t.Fatalf("name %s after %s", second.name, first.name)
	}
	eventually(t, "the slices of its former self", func() bool { return second.owns() == mine })
	stored := stop()
	if n := arrived(t, b, stored); n > 0 {
		t.Logf("%d moved twice by their ID", n)
	}
	if st := b.Stats().Stages[Ingest]; st.Losses > 0 || st.Owned != nodeSlices-mine {
		t.Errorf("stats of the other %+v", st)
	}
}
