package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"mcmt2xmpp/broker/natstest"
)

func TestMain(m *testing.M) {
	natstest.Main()
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	if url := os.Getenv(childURL); url != "" {
		childNode(url)
		return
	}
	goleak.VerifyTestMain(m,
		// The server (2.15.2) sometimes leaves the file store of a refused batch
		// open when it stops, and with it its clock.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"))
}

// clusterOptions are for a broker on a cluster.
func clusterOptions(c *natstest.Cluster, log zerolog.Logger) Options {
	a := c.Access()
	return Options{
		URLs: a.URLs, CredsFile: a.CredsFile, User: a.User, Password: a.Password, Token: a.Token, TLSCA: a.TLSCA,
		Replicas: 3, MaxStore: gib, Log: log,
	}
}

// patience bounds every wait of these tests.
const patience = 3 * time.Minute

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func small(dir string) Options {
	return Options{Dir: dir, MaxStore: 512 * mib, DiskReserve: 1, Log: zerolog.Nop()}
}

func openTest(t testing.TB, o Options) *Broker {
	t.Helper()
	b, err := Open(testContext(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTest(t, b) })
	return b
}

func closeTest(t testing.TB, b *Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}

// consume runs Consume until stop, which returns what Consume returned.
func consume(t testing.TB, b *Broker, s Stage, h HandlerFunc, o ConsumeOptions) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Consume(ctx, s, h, o) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() { cancel(); err = <-done })
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func await(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// collector is a handler that acknowledges and remembers.
type collector struct {
	mu   sync.Mutex
	got  map[string][]string // route to IDs
	n    int
	want int
	all  chan struct{}
}

func collect(want int) *collector {
	return &collector{got: make(map[string][]string), want: want, all: make(chan struct{})}
}

func (c *collector) take(d *Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got[d.Route] = append(c.got[d.Route], d.ID)
	if c.n++; c.n == c.want {
		close(c.all)
	}
}

func (c *collector) handle(_ context.Context, ds []*Delivery) []Disposition {
	out := make([]Disposition, len(ds))
	for i, d := range ds {
		c.take(d)
		out[i] = Ack()
	}
	return out
}

func (c *collector) inOrder(t testing.TB) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for r, ids := range c.got {
		for i, id := range ids {
			if want := fmt.Sprintf("%s-%d", r, i); id != want {
				t.Fatalf("route %s: position %d is %s, want %s", r, i, id, want)
			}
		}
	}
}

// fill stores perRoute messages on each of routes, interleaved.
func fill(t testing.TB, b *Broker, s Stage, routes, perRoute int) {
	t.Helper()
	ctx := testContext(t)
	var wg sync.WaitGroup
	for r := range routes {
		wg.Go(func() {
			for i := range perRoute {
				m := Message{Stage: s, Route: routeName(r), Recipient: "x@" + routeName(r), ID: fmt.Sprintf("%s-%d", routeName(r), i), Body: []byte("hello")}
				if err := b.Store(ctx, m); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func routeName(i int) string { return fmt.Sprintf("user%d@example.com", i) }

func TestStoreAndConsume(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	in := Message{
		Stage: Ingest, Route: "a.b@c*d> e\r\nä", Recipient: "", ID: "id\x00 1",
		Header: map[string]string{"From": " a\r\nb% ", "Empty": "", "x-lower": "ü"},
		Body:   []byte("body\r\n\x00"),
	}
	if err := b.Store(testContext(t), in); err != nil {
		t.Fatal(err)
	}
	got := make(chan *Delivery, 1)
	stop := consume(t, b, Ingest, func(_ context.Context, ds []*Delivery) []Disposition {
		got <- ds[0]
		return []Disposition{Ack()}
	}, ConsumeOptions{})
	d := <-got
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if d.Route != in.Route || d.Recipient != in.Recipient || d.ID != in.ID || string(d.Body) != string(in.Body) {
		t.Errorf("got %+v", d)
	}
	for k, v := range in.Header {
		if d.Header[k] != v {
			t.Errorf("header %s is %q, want %q", k, d.Header[k], v)
		}
	}
	if d.Attempt != 1 || d.Redelivered || d.Stored.IsZero() {
		t.Errorf("attempt %d, redelivered %v, stored %v", d.Attempt, d.Redelivered, d.Stored)
	}
	if n := b.Stats().Stages[Ingest]; n.Messages != 0 || n.Acked != 1 || n.Stored != 1 {
		t.Errorf("stats %+v: the acknowledgement must be at the server when Consume returns", n)
	}
}

func TestFolderInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openTest(t, small(dir))
	if b, err := Open(testContext(t), small(dir)); err == nil {
		closeTest(t, b)
		t.Fatal("a second broker opened the same data folder")
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	if err := b.Healthy(); err != nil {
		t.Fatal(err)
	}
	closeTest(t, b)
	if err := b.Store(testContext(t), Message{Stage: Ingest}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v, want ErrUnavailable", err)
	}
	if b.Healthy() == nil {
		t.Error("a closed broker is healthy")
	}
}
