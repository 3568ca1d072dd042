// Package broker keeps messages in NATS JetStream between the steps of the
// gateway: it takes custody (Store), hands messages on in the order of their
// route (Consume), and moves them from stage to stage without losing one. The
// server runs inside this process or is an external cluster. The package knows
// neither what is in a message nor where it goes.
//
// The promise: what Store has returned nil for is handed to a handler at least
// once, whatever process is killed at whatever moment, and messages of one
// route are handed over in the order in which they were stored.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
)

// Broker is an open store. Its methods may be called by any goroutine.
type Broker struct {
	o      Options
	log    zerolog.Logger
	node   string // names this process in leases
	opened time.Time

	lock    *os.File  // nil with an external server
	srv     *embedded // likewise
	pub     *link     // publishes of Store, Move and Term
	work    *link     // consumers and their acknowledgements
	admin   *link     // streams, buckets, reading back
	streams map[string]jetstream.Stream
	// recovered is the last position of each stage when it was opened: up to
	// there another process may have handed messages over.
	recovered map[Stage]uint64

	window   *semaphore.Weighted // publishes under way
	inflight *semaphore.Weighted // bytes of bodies read back for handlers

	disk      *groupSync   // nil: what the server has answered is enough
	closeDisk func() error // nil likewise

	free    atomic.Int64          // bytes of disk, when it was looked at last
	spent   atomic.Int64          // bytes stored since
	claimed atomic.Int64          // bytes that are being stored
	damaged atomic.Pointer[error] // why the embedded server cannot store
	counts  map[Stage]*counters

	silences map[string]*silence              // by the first token of subjects
	chores   chan func(context.Context) error // see sweepBodies

	drains struct { // see drain.go
		sync.Mutex
		busy  map[string]chan struct{}
		marks map[string]mark // by route
		prune int             // how many of them before old ones are forgotten
		epoch uint64
		n     int
	}

	// done ends when Close begins: the broker's own work, and every Consume and
	// Drain, ends with it.
	done    context.Context
	end     context.CancelFunc
	workers sync.WaitGroup

	mu     sync.RWMutex
	closed bool
	calls  sync.WaitGroup // Store, Consume and Drain under way; Add under mu
}

// Open starts the embedded server or connects to the external one and makes the
// streams. ctx bounds the opening only.
func Open(ctx context.Context, o Options) (*Broker, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Broker{
		o: o, log: o.Log, node: rand.Text(), opened: time.Now(),
		window: semaphore.NewWeighted(window), inflight: semaphore.NewWeighted(maxBodies),
		counts: make(map[Stage]*counters), silences: make(map[string]*silence),
		chores: make(chan func(context.Context) error, maxChores),
	}
	b.drains.busy = make(map[string]chan struct{})
	b.drains.marks = make(map[string]mark)
	for _, s := range append([]Stage{Dead}, queues...) {
		b.counts[s] = new(counters)
	}
	for _, cfg := range layout(o) {
		kind, _, _ := strings.Cut(cfg.Subjects[0], ".")
		b.silences[kind] = new(silence)
	}
	b.done, b.end = context.WithCancel(context.Background())
	if err := b.open(ctx); err != nil {
		_ = b.shutdown(ctx)
		return nil, err
	}
	return b, nil
}

func (b *Broker) open(ctx context.Context) error {
	if b.o.Dir != "" {
		if err := b.embed(); err != nil {
			return err
		}
	} else if b.o.MaxStore == 0 {
		b.o.MaxStore = 8 * gib
	}
	for role, l := range map[string]**link{"store": &b.pub, "consume": &b.work, "admin": &b.admin} {
		var err error
		if *l, err = dial(b.o, b.srv, role); err != nil {
			return err
		}
	}
	if err := b.ensureStreams(ctx); err != nil {
		return err
	}
	b.workers.Go(func() { b.sweepBodies(b.done) })
	if b.srv == nil {
		for _, l := range []*link{b.pub, b.work, b.admin} {
			b.workers.Go(func() { l.watch(b.done) })
		}
	}
	return nil
}

// embed locks the data folder and starts the server on it.
func (b *Broker) embed() (err error) {
	if b.lock, err = lockDir(b.o.Dir); err != nil {
		return err
	}
	free, err := b.o.diskFree(b.o.Dir)
	if err != nil {
		return err
	}
	b.free.Store(free)
	if b.o.MaxStore == 0 {
		b.o.MaxStore = defaultStore(b.o.Dir, free)
	}
	if b.srv, err = startEmbedded(b.o, b.node); err != nil {
		return err
	}
	b.workers.Go(func() { b.watchDisk(b.done) })
	if b.o.Durability != DurabilityPower {
		return nil
	}
	// The folder of the server's own making, which may be a mount of its own.
	var syncStore func() error
	if syncStore, b.closeDisk, err = b.o.openSync(b.srv.now().JetStreamConfig().StoreDir); err != nil {
		return err
	}
	b.disk = &groupSync{sync: syncStore}
	return nil
}

// Close stops accepting, ends every Consume and Drain and waits for what their
// handlers have begun, then stops the server. ctx bounds the waiting; when it
// ends first the server is stopped nevertheless and its error returned.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	again := b.closed
	b.closed = true
	b.mu.Unlock()
	if again {
		return nil
	}
	return b.shutdown(ctx)
}

func (b *Broker) shutdown(ctx context.Context) error {
	b.end()
	idle := make(chan struct{})
	go func() {
		b.calls.Wait()
		b.workers.Wait()
		if b.disk != nil {
			b.disk.workers.Wait()
		}
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = fmt.Errorf("broker: close: %w", ctx.Err())
	}
	for _, l := range []*link{b.work, b.pub, b.admin} {
		l.close()
	}
	<-idle // no request can wait on a closed connection
	if b.srv != nil {
		b.srv.stop()
	}
	if b.closeDisk != nil {
		err = errors.Join(err, b.closeDisk())
	}
	if b.lock != nil {
		err = errors.Join(err, b.lock.Close())
	}
	return err
}

// begin registers a call, so that Close waits for it. Each begin that returned
// nil needs a b.calls.Done.
func (b *Broker) begin() error {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.closed {
		return refuse(ErrUnavailable, errors.New("shutting down"))
	}
	b.calls.Add(1)
	return nil
}

// Healthy returns nil while messages can be accepted and handed on; otherwise
// the first reason why not. It does not ask the server and never blocks.
func (b *Broker) Healthy() error {
	b.mu.RLock()
	closed := b.closed
	b.mu.RUnlock()
	if closed {
		return errors.New("broker: closed")
	}
	for _, l := range []*link{b.pub, b.work, b.admin} {
		if s := l.nc.Status(); s != nats.CONNECTED {
			return fmt.Errorf("broker: connection is %s", s)
		}
		if err := l.healthy(); err != nil {
			return fmt.Errorf("broker: %w", err)
		}
	}
	if err := b.damage(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	if err := errors.Join(b.room(b.o.DiskReserve), b.disk.healthy()); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	for _, s := range queues {
		if b.counts[s].stalled.Load() {
			return fmt.Errorf("broker: stage %s: messages wait and nobody asks for them", s)
		}
		if err := b.silences[string(s)].broken(); err != nil {
			return fmt.Errorf("broker: stage %s: %w", s, err)
		}
	}
	return nil
}
