package broker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

const benchBody = 1024

// BenchmarkStore is what 64 callers get, each waiting for its answer; beside it
// the same without our code.
func BenchmarkStore(b *testing.B) {
	body := make([]byte, benchBody)
	run := func(name string, store func(br *Broker, i uint64) error) {
		b.Run(name, func(b *testing.B) {
			br := openTest(b, Options{Dir: b.TempDir(), MaxStore: 8 * gib})
			var n atomic.Uint64
			b.ReportAllocs()
			b.SetParallelism(32)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := store(br, n.Add(1)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
	ctx := context.Background()
	run("raw", func(br *Broker, i uint64) error {
		_, err := br.pub.js.PublishMsg(ctx, &nats.Msg{
			Subject: "in.1.r.r", Data: body,
			Header: nats.Header{jetstream.MsgIDHeader: {strconv.FormatUint(i, 10)}},
		})
		return err
	})
	run("ours", func(br *Broker, i uint64) error {
		return br.Store(ctx, Message{
			Stage: Ingest, Route: routeName(int(i % 1000)), Recipient: "bob@example.com",
			ID: strconv.FormatUint(i, 10), Body: body,
		})
	})
}

// BenchmarkDurability is what callers get that each wait for their answer: with
// the server's word, with one sync for all that wait, and with the server's own
// sync of every message.
func BenchmarkDurability(b *testing.B) {
	store := func(d Durability) func(b *testing.B) func(i uint64) error {
		return func(b *testing.B) func(i uint64) error {
			br := openTest(b, Options{Dir: b.TempDir(), MaxStore: 8 * gib, Durability: d})
			return func(i uint64) error {
				return br.Store(context.Background(), Message{
					Stage: Ingest, Route: routeName(int(i % 1000)), Recipient: "bob@example.com",
					ID: strconv.FormatUint(i, 10), Body: make([]byte, benchBody),
				})
			}
		}
	}
	for _, callers := range []int{1, 64} {
		for _, bc := range []struct {
			name string
			open func(b *testing.B) func(i uint64) error
		}{{"process", store(DurabilityProcess)}, {"power", store(DurabilityPower)}, {"always", syncAlways}} {
			b.Run(fmt.Sprintf("%s/%d", bc.name, callers), func(b *testing.B) {
				do := bc.open(b)
				b.ReportAllocs()
				b.ResetTimer()
				var n atomic.Uint64
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for i := n.Add(1); i <= uint64(b.N); i = n.Add(1) {
							if err := do(i); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// syncAlways publishes to a server that syncs each message before it answers.
func syncAlways(b *testing.B) func(i uint64) error {
	b.Helper()
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: b.TempDir(), SyncAlways: true})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() { stopServer(s) })
	if !s.ReadyForConnections(patience) {
		b.Fatal("server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	if _, err := js.CreateStream(ctx, layout(Options{MaxStore: 8 * gib, Replicas: 1})[0]); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, benchBody)
	return func(i uint64) error {
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: subjectOf(Ingest, routeName(int(i%1000)), "bob"), Data: body,
			Header: nats.Header{jetstream.MsgIDHeader: {strconv.FormatUint(i, 10)}}})
		return err
	}
}

// BenchmarkBatch stores to many recipients at once.
func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{2, 10, 100, 1000} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprint(size, "/", callers), func(b *testing.B) {
				br := openTest(b, Options{Dir: b.TempDir(), MaxStore: 8 * gib})
				var n atomic.Int64
				b.ReportAllocs()
				b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
				store := func() {
					msgs := batch(size, fmt.Sprintf("r%d", n.Add(1)), func(int) []byte { return []byte("text") })
					if err := br.Store(context.Background(), msgs...); err != nil {
						b.Error(err)
					}
				}
				if callers == 1 {
					for b.Loop() {
						store()
					}
				} else {
					b.RunParallel(func(p *testing.PB) {
						for p.Next() {
							store()
						}
					})
				}
				b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// put stores messages for the routes of stages, all in one go.
func put(t testing.TB, b *Broker, n int, body []byte, to func(i int) (Stage, string)) {
	t.Helper()
	for i := range n {
		m := Message{ID: strconv.Itoa(i), Recipient: "bob@example.com"}
		m.Stage, m.Route = to(i)
		wire, err := m.encode()
		if err != nil {
			t.Fatal(err)
		}
		wire.Data = body
		if _, err := b.pub.js.PublishMsgAsync(wire, jetstream.WithStallWait(patience)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-b.pub.js.PublishAsyncComplete():
	case <-time.After(patience):
		t.Fatal("not stored in time")
	}
}

// BenchmarkMove copies messages from one stage to the next: the ceiling is a
// copy with nothing around it and an asynchronous window over everything, which
// would not keep the order when a publish is refused.
func BenchmarkMove(b *testing.B) {
	for _, bc := range []struct {
		name string
		move func(b *testing.B, br *Broker)
	}{{"raw", rawMove}, {"ours", ourMove}} {
		b.Run(bc.name, func(b *testing.B) {
			br := openTest(b, Options{Dir: b.TempDir(), MaxStore: 8 * gib})
			prefill(b, br, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			bc.move(b, br)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

func prefill(b *testing.B, br *Broker, n int) {
	b.Helper()
	put(b, br, n, make([]byte, benchBody), func(i int) (Stage, string) { return Ingest, routeName(i % 1000) })
}

func ourMove(b *testing.B, br *Broker) {
	b.Helper()
	var n atomic.Int64
	done := make(chan struct{})
	h := mover(Deliver)
	stop := consume(b, br, Ingest, func(ctx context.Context, ds []*Delivery) []Disposition {
		if n.Add(int64(len(ds))) == int64(b.N) {
			close(done)
		}
		return h(ctx, ds)
	}, ConsumeOptions{})
	await(b, "all handed over", done)
	if err := stop(); err != nil {
		b.Fatal(err)
	}
}

func rawMove(b *testing.B, br *Broker) {
	b.Helper()
	cons, err := br.work.js.CreateConsumer(context.Background(), streamIngest, jetstream.ConsumerConfig{
		Durable: "raw", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8192,
	})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	acks := make(chan func(), 4000)
	go func() {
		for range b.N {
			(<-acks)()
		}
		close(done)
	}()
	cc, err := cons.Consume(func(m jetstream.Msg) {
		f, err := br.pub.js.PublishMsgAsync(&nats.Msg{Subject: "dlv" + m.Subject()[2:], Header: m.Headers(), Data: m.Data()}, jetstream.WithStallWait(patience))
		if err != nil {
			b.Error(err)
			return
		}
		acks <- func() {
			<-f.Ok()
			_ = m.Ack()
		}
	}, jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		b.Fatal(err)
	}
	await(b, "all copied", done)
	cc.Stop()
	<-cc.Closed()
}

// BenchmarkJournal is the whole way of a message through the store: moved from
// one stage to the next, and let go there, with and without a record of its end.
// Beside it the bare copy from one stream to another.
func BenchmarkJournal(b *testing.B) {
	for _, bc := range []struct {
		name string
		run  func(b *testing.B, br *Broker)
	}{
		{"copy", rawPipeline},
		{"ack", func(b *testing.B, br *Broker) { pipeline(b, br, nil) }},
		{"record", func(b *testing.B, br *Broker) { pipeline(b, br, make([]byte, 300)) }},
	} {
		b.Run(bc.name, func(b *testing.B) {
			br := openTest(b, Options{Dir: b.TempDir(), MaxStore: 8 * gib})
			prefill(b, br, b.N)
			b.ReportAllocs()
			b.ResetTimer()
			start := cpuTime(b)
			bc.run(b, br)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}

// rawPipeline is rawMove with a consumer behind it.
func rawPipeline(b *testing.B, br *Broker) {
	b.Helper()
	cons, err := br.work.js.CreateConsumer(context.Background(), streamDeliver, jetstream.ConsumerConfig{
		Durable: "raw", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8192,
	})
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	left := b.N
	cc, err := cons.Consume(func(m jetstream.Msg) {
		_ = m.Ack()
		if left--; left == 0 {
			close(done)
		}
	}, jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		b.Fatal(err)
	}
	rawMove(b, br)
	await(b, "all let go", done)
	cc.Stop()
	<-cc.Closed()
}

// cpuTime is the processor time of this process, the server in it included: on a
// machine that others work on too it compares where the clock does not.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// pipeline moves what Ingest holds to Deliver and lets it go there, with record
// as the record of its end, until the stages are empty.
func pipeline(b *testing.B, br *Broker, record []byte) {
	b.Helper()
	stopIn := consume(b, br, Ingest, mover(Deliver), ConsumeOptions{})
	stopOut := consume(b, br, Deliver, func(_ context.Context, ds []*Delivery) []Disposition {
		out := make([]Disposition, len(ds))
		for i, d := range ds {
			if out[i] = Ack(); record != nil {
				out[i] = out[i].Recorded(d.ID, d.Recipient, record)
			}
		}
		return out
	}, ConsumeOptions{})
	for br.counts[Deliver].acked.Load() < uint64(b.N) { //nolint:gosec // positive
		if !pause(context.Background(), time.Millisecond) {
			return
		}
	}
	if err := errors.Join(stopIn(), stopOut()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkDrain drains routes of so many messages each, 64 at a time, the
// messages of all routes lying between one another.
func BenchmarkDrain(b *testing.B) {
	for _, per := range []int{1, 10, 100} {
		b.Run(strconv.Itoa(per), func(b *testing.B) {
			br := openTest(b, Options{Dir: b.TempDir(), MaxStore: 8 * gib})
			body := make([]byte, benchBody)
			put(b, br, b.N*per, body, func(i int) (Stage, string) { return Park, routeName(i % b.N) })
			b.ReportAllocs()
			b.ResetTimer()
			start := cpuTime(b)
			var next atomic.Int64
			var drains sync.WaitGroup
			for range 64 {
				drains.Go(func() {
					for i := int(next.Add(1)) - 1; i < b.N; i = int(next.Add(1)) - 1 {
						n, err := br.Drain(context.Background(), Park, routeName(i), HandlerFunc(collect(-1).handle))
						if n != per || err != nil {
							b.Errorf("drained %d, %v", n, err)
							return
						}
					}
				})
			}
			drains.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "routes/s")
			b.ReportMetric(float64(cpuTime(b)-start)/float64(b.N), "cpu-ns/op")
		})
	}
}
