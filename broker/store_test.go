package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func batch(n int, route string, body func(i int) []byte) []Message {
	msgs := make([]Message, n)
	for i := range msgs {
		msgs[i] = Message{Stage: Ingest, Route: route, Recipient: fmt.Sprint(i), ID: fmt.Sprintf("%s-%d", route, i), Body: body(i)}
	}
	return msgs
}

func messages(t testing.TB, b *Broker, stream string) uint64 {
	t.Helper()
	info, err := b.streams[stream].Info(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

func TestBatch(t *testing.T) {
	t.Parallel()
	text := func(int) []byte { return []byte("text") }
	for _, tc := range []struct {
		name string
		msgs []Message
		want error
		left uint64
	}{
		{"the most that fit", batch(1000, "r", text), nil, 1000},
		{"one too many: none is stored", batch(1001, "r", text), ErrInvalid, 0},
		{"a bad one among them: none is stored", append(batch(5, "r", text), Message{Stage: "nowhere"}), ErrInvalid, 0},
		{"a name that cannot be a header", []Message{{Stage: Ingest, Header: map[string]string{"a: b": ""}}}, ErrInvalid, 0},
		{"a name that is ours", []Message{{Stage: Ingest, Header: map[string]string{hdrRoute: ""}}}, ErrInvalid, 0},
		{"headers beyond what the server takes", []Message{{Stage: Ingest, Header: map[string]string{"K": strings.Repeat("x", 70000)}}}, ErrInvalid, 0},
		{"Dead is not for callers", []Message{{Stage: Dead}}, ErrInvalid, 0},
		{"nothing", nil, nil, 0},
		{"the same ID twice in one call counts once", append(batch(2, "r", text), batch(2, "r", text)...), nil, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := openTest(t, small(t.TempDir()))
			err := b.Store(testContext(t), tc.msgs...)
			if !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if err != nil && !permanent(err) {
				t.Errorf("%v counts as temporary", err)
			}
			if n := messages(t, b, streamIngest); n != tc.left {
				t.Errorf("%d messages stored, want %d", n, tc.left)
			}
		})
	}
}

// More batches at once than the server collects wait for one another.
func TestManyBatches(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	const callers, size = 120, 5 // the server collects 50
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			if err := b.Store(ctx, batch(size, fmt.Sprintf("r%d", i), func(int) []byte { return nil })...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := messages(t, b, streamIngest); n != callers*size {
		t.Errorf("%d messages stored, want %d", n, callers*size)
	}
}

// A batch whose answer was lost is stored again: what is there counts, what is
// not there is added.
func TestBatchAgain(t *testing.T) {
	t.Parallel()
	b := openTest(t, small(t.TempDir()))
	ctx := testContext(t)
	msgs := batch(10, "r", func(i int) []byte { return []byte(strconv.Itoa(i)) })
	if err := b.Store(ctx, msgs[:4]...); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Store(ctx, msgs...); err != nil {
			t.Fatal(err)
		}
	}
	if n := messages(t, b, streamIngest); n != 10 {
		t.Errorf("%d messages stored, want 10", n)
	}
	if st := b.Stats().Stages[Ingest]; st.Stored != 10 || st.Duplicates != 14 {
		t.Errorf("stats %+v", st)
	}
}

// A batch that does not fit leaves nothing behind, says so at once, and fits
// when there is room again.
func TestFull(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	o.MaxStore = 10 * mib      // 2 MiB for INGEST
	o.StoreTimeout = time.Hour // what is refused does not wait for it
	b := openTest(t, o)
	ctx := testContext(t)
	big := bytes.Repeat([]byte("x"), 100<<10)
	n := 0
	var err error
	for ; n < 100; n++ {
		if err = b.Store(ctx, Message{Stage: Ingest, Route: "r", ID: strconv.Itoa(n), Body: big}); err != nil {
			break
		}
	}
	var temp interface{ Temporary() bool }
	if !errors.Is(err, ErrFull) || !errors.As(err, &temp) || !temp.Temporary() {
		t.Fatalf("error %v after %d messages, want a temporary ErrFull", err, n)
	}
	err = b.Store(ctx, batch(20, "batch", func(i int) []byte { return append([]byte{byte(i)}, big...) })...)
	if !errors.Is(err, ErrFull) {
		t.Fatalf("batch: error %v, want ErrFull", err)
	}
	if got := messages(t, b, streamIngest); got != uint64(n) {
		t.Errorf("%d messages stored, want %d: a refused batch leaves none", got, n)
	}
	c := collect(n)
	stop := consume(t, b, Ingest, c.handle, ConsumeOptions{})
	await(t, "the stored ones", c.all)
	_ = stop()
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "r", Body: big}); err != nil {
		t.Errorf("after room was made: %v", err)
	}
}

// A move into a full stage waits and is taken when there is room; the handler
// is not asked again.
func TestMoveIntoFull(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	o.MaxStore = 10 * mib // 1.5 MiB for DELIVER
	b := openTest(t, o)
	ctx := testContext(t)
	big := bytes.Repeat([]byte("x"), 200<<10)
	n := 0
	for ; b.Store(ctx, Message{Stage: Deliver, Route: "old", ID: fmt.Sprintf("old-%d", n), Body: big}) == nil; n++ {
	}
	if err := b.Store(ctx, Message{Stage: Ingest, Route: "new", ID: "new-0", Body: big}); err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{}, 10)
	stopIn := consume(t, b, Ingest, func(ctx context.Context, ds []*Delivery) []Disposition {
		asked <- struct{}{}
		return mover(Deliver)(ctx, ds)
	}, ConsumeOptions{})
	<-asked
	c := collect(n + 1)
	stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
	await(t, "all messages", c.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 0 {
		t.Error("the handler was asked again")
	}
}

// Below the reserve nothing is accepted, but what is there moves on, and
// acceptance begins again with the space.
func TestDiskReserve(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(gib)
	o := small(t.TempDir())
	o.DiskReserve = 100 * mib
	o.diskFree = func(string) (int64, error) { return free.Load(), nil }
	b := openTest(t, o)
	ctx := testContext(t)
	fill(t, b, Ingest, 1, 1)
	l, err := b.Log(ctx, LogOptions{Name: "BOOK", Prefix: "book"})
	if err != nil {
		t.Fatal(err)
	}
	enter := func() error {
		_, _, err := l.Append(ctx, Entry{Names: []string{"x"}})
		return err
	}

	free.Store(99 * mib)
	for err == nil && pause(ctx, 10*time.Millisecond) {
		err = b.Store(ctx, Message{Stage: Mail, Route: "r"})
	}
	if !errors.Is(err, ErrFull) || b.Healthy() == nil {
		t.Fatalf("error %v, want ErrFull; health %v", err, b.Healthy())
	}
	if err := enter(); !errors.Is(err, ErrFull) {
		t.Errorf("a log takes of the reserve: %v", err)
	}
	if done, err := b.SetAside(mib); err != nil {
		t.Errorf("a file of a message has no room: %v", err)
	} else {
		done()
	}
	if _, err := b.SetAside(80 * mib); !errors.Is(err, ErrFull) {
		t.Errorf("a file takes all of the reserve: %v", err)
	}
	stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	c := collect(1)
	stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
	await(t, "message", c.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Fatal(err)
	}

	free.Store(gib)
	for err != nil && pause(ctx, 10*time.Millisecond) {
		err = b.Store(ctx, Message{Stage: Mail, Route: "r"})
	}
	if err := errors.Join(err, b.Healthy(), enter()); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

// outsideServer is a server that listens, as an external one does.
func outsideServer(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir,
		Username: "u", Password: "p", MaxPayload: int32(maxPayload),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("server does not start")
	}
	return s
}

func stopServer(s *server.Server) { s.Shutdown(); s.WaitForShutdown() }

// An external server that goes away is ErrUnavailable at once; when it is back
// everything goes on without a restart, in order.
func TestServerAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := outsideServer(t, dir, -1)
	defer func() { stopServer(s) }()
	port := s.Addr().(*net.TCPAddr).Port
	// Nothing here waits for the timeout.
	b := openTest(t, Options{URLs: []string{s.ClientURL()}, User: "u", Password: "p", MaxStore: 512 * mib, StoreTimeout: time.Hour})
	ctx := testContext(t)
	c := collect(200)
	stopIn := consume(t, b, Ingest, mover(Deliver), ConsumeOptions{})
	stopOut := consume(t, b, Deliver, c.handle, ConsumeOptions{})
	fill(t, b, Ingest, 5, 20)

	stopServer(s)
	err := b.Store(ctx, Message{Stage: Ingest, Route: "r"})
	if !errors.Is(err, ErrUnavailable) || permanent(err) {
		t.Fatalf("error %v, want a temporary ErrUnavailable", err)
	}
	if b.Healthy() == nil {
		t.Error("healthy without a server")
	}

	s = outsideServer(t, dir, port)
	var wg sync.WaitGroup
	for r := range 5 {
		wg.Go(func() {
			for i := 20; i < 40; i++ {
				m := Message{Stage: Ingest, Route: routeName(r), ID: fmt.Sprintf("%s-%d", routeName(r), i)}
				for b.Store(ctx, m) != nil && pause(ctx, 10*time.Millisecond) {
				}
			}
		})
	}
	wg.Wait()
	await(t, "all messages", c.all)
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		t.Fatal(err)
	}
	c.inOrder(t)
	if err := b.Healthy(); err != nil {
		t.Error(err)
	}
}

// A request that was sent when the connection broke does not wait for its timeout.
func TestRequestCutOff(t *testing.T) {
	t.Parallel()
	s := outsideServer(t, t.TempDir(), -1)
	b := openTest(t, Options{URLs: []string{s.ClientURL()}, User: "u", Password: "p", MaxStore: 512 * mib})
	sent := make(chan struct{})
	if _, err := b.work.nc.Subscribe("silence", func(*nats.Msg) { close(sent) }); err != nil {
		t.Fatal(err)
	}
	if err := b.work.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := b.pub.request(context.Background(), &nats.Msg{Subject: "silence"}, time.Hour)
		done <- err
	}()
	await(t, "request", sent)
	stopServer(s)
	select {
	case err := <-done:
		if !errors.Is(err, errDisconnected) {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience):
		t.Error("still waits")
	}
}

// A Consume ends, and the broker closes, also while the server is away.
func TestEndWhileAway(t *testing.T) {
	t.Parallel()
	s := outsideServer(t, t.TempDir(), -1)
	b := openTest(t, Options{URLs: []string{s.ClientURL()}, User: "u", Password: "p", MaxStore: 512 * mib})
	fill(t, b, Ingest, 1, 1)
	got := make(chan struct{})
	stop := consume(t, b, Ingest, func(context.Context, []*Delivery) []Disposition {
		close(got)
		return []Disposition{Ack()}
	}, ConsumeOptions{})
	await(t, "message", got)
	stopServer(s)
	if err := stop(); err != nil {
		t.Error(err)
	}
	closeTest(t, b)
}

// Sizes may be made smaller than before.
func TestShrink(t *testing.T) {
	t.Parallel()
	o := small(t.TempDir())
	b := openTest(t, o)
	fill(t, b, Ingest, 1, 10)
	closeTest(t, b)
	o.MaxStore = 10 * mib
	b = openTest(t, o)
	if n := messages(t, b, streamIngest); n != 10 {
		t.Errorf("%d messages are left of 10", n)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		o    Options
	}{
		{"no place to store", Options{}},
		{"two places", Options{Dir: "x", URLs: []string{"nats://x"}}},
		{"replicas need a cluster", Options{Dir: "x", Replicas: 3}},
		{"a certificate without its key", Options{URLs: []string{"nats://x"}, TLSCert: "c.pem"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, err := Open(testContext(t), tc.o); err == nil {
				t.Fatal("accepted")
			}
		})
	}
}

func TestLayout(t *testing.T) {
	t.Parallel()
	o, err := Options{Dir: "x", MaxStore: 8 * gib}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, c := range layout(o) {
		sum += c.MaxBytes
		if c.Storage != jetstream.FileStorage || c.MaxBytes <= 0 {
			t.Errorf("%s: %+v", c.Name, c)
		}
	}
	if sum > o.MaxStore {
		t.Errorf("streams may take %d bytes of %d", sum, o.MaxStore)
	}
}
