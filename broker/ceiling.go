package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Ceiling is JetStream with nothing of ours: what is put goes into one stream, a consumer
// copies it into a second one with a window over everything, and a consumer there
// acknowledges. No gateway that stores a message twice can be faster, so that is what to
// measure one by, in the same run. It is safe for concurrent use.
type Ceiling struct {
	server  *server.Server
	conn    *nats.Conn
	js      jetstream.JetStream
	n       atomic.Uint64
	arrived atomic.Int64
	failed  atomic.Pointer[error]
	stop    func()
}

// ceilingStart bounds the start of its server.
const ceilingStart = 30 * time.Second

// OpenCeiling starts one in a folder. With always the server writes through to the disk
// before it answers (its option sync_interval: always), and without once a second, as the
// embedded one does.
func OpenCeiling(ctx context.Context, dir string, always bool) (_ *Ceiling, err error) {
	s, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir,
		SyncInterval: syncInterval, SyncAlways: always, StreamMaxBufferedMsgs: 16 << 10, StreamMaxBufferedSize: 256 << 20})
	if err != nil {
		return nil, fmt.Errorf("broker: ceiling: %w", err)
	}
	c := &Ceiling{server: s, stop: func() {}}
	s.Start()
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	if !s.ReadyForConnections(ceilingStart) {
		return nil, errors.New("broker: ceiling: server does not start")
	}
	if c.conn, err = nats.Connect("", nats.InProcessServer(s)); err != nil {
		return nil, fmt.Errorf("broker: ceiling: %w", err)
	}
	if c.js, err = jetstream.New(c.conn); err != nil {
		return nil, fmt.Errorf("broker: ceiling: %w", err)
	}
	for _, name := range []string{"A", "B"} {
		if _, err := c.js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".*"},
			Retention: jetstream.WorkQueuePolicy, Duplicates: 2 * time.Minute, Discard: jetstream.DiscardNew, MaxBytes: 8 << 30}); err != nil {
			return nil, fmt.Errorf("broker: ceiling: %w", err)
		}
	}
	if c.stop, err = c.run(ctx); err != nil {
		return nil, fmt.Errorf("broker: ceiling: %w", err)
	}
	return c, nil
}

// run starts the copy.
func (c *Ceiling) run(ctx context.Context) (stop func(), err error) {
	type copied struct {
		source jetstream.Msg
		stored jetstream.PubAckFuture
	}
	window := make(chan copied, 4000)
	var acknowledging sync.WaitGroup
	acknowledging.Go(func() {
		for m := range window {
			select {
			case <-m.stored.Ok():
				_ = m.source.Ack()
			case err := <-m.stored.Err():
				c.fail(err)
			}
		}
	})
	stopB, err := c.consume(ctx, "B", func(m jetstream.Msg) {
		_ = m.Ack()
		c.arrived.Add(1)
	})
	if err != nil {
		close(window)
		return nil, err
	}
	stopA, err := c.consume(ctx, "A", func(m jetstream.Msg) {
		f, err := c.js.PublishMsgAsync(&nats.Msg{Subject: "B" + m.Subject()[1:], Header: m.Headers(), Data: m.Data()}, jetstream.WithStallWait(ceilingStart))
		if err != nil {
			c.fail(err)
			return
		}
		window <- copied{m, f}
	})
	if err != nil {
		stopB()
		close(window)
		return nil, err
	}
	return func() {
		stopA()
		close(window)
		acknowledging.Wait()
		stopB()
	}, nil
}

func (c *Ceiling) consume(ctx context.Context, name string, f func(jetstream.Msg)) (stop func(), err error) {
	cons, err := c.js.CreateConsumer(ctx, name, jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8192})
	if err != nil {
		return nil, err
	}
	cc, err := cons.Consume(f, jetstream.PullMaxMessagesWithBytesLimit(512, 16<<20))
	if err != nil {
		return nil, err
	}
	return func() { cc.Stop(); <-cc.Closed() }, nil
}

func (c *Ceiling) fail(err error) { c.failed.CompareAndSwap(nil, &err) }

// Put publishes a message and returns when it is stored. recipient is a subject token.
func (c *Ceiling) Put(ctx context.Context, recipient string, data []byte) error {
	_, err := c.js.PublishMsg(ctx, &nats.Msg{Subject: "A." + recipient, Data: data,
		Header: nats.Header{jetstream.MsgIDHeader: {fmt.Sprint(c.n.Add(1))}}})
	if err != nil {
		return fmt.Errorf("broker: ceiling: %w", err)
	}
	return nil
}

// Arrived is how many messages have gone all the way, and the first error of one that has
// not.
func (c *Ceiling) Arrived() (int64, error) {
	if err := c.failed.Load(); err != nil {
		return c.arrived.Load(), fmt.Errorf("broker: ceiling: %w", *err)
	}
	return c.arrived.Load(), nil
}

// Close stops it. The folder stays.
func (c *Ceiling) Close() {
	c.stop()
	if c.conn != nil {
		c.conn.Close()
	}
	c.server.Shutdown()
	c.server.WaitForShutdown()
}
