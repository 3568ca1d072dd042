// Package broker keeps messages in NATS JetStream between the steps of the
// gateway: it takes custody (Store), hands messages on in the order of their
// route (Consume), and moves them from stage to stage without losing one. The
// server runs inside this process or is an external cluster. The package knows
// neither what is in a message nor where it goes.
//
// Several processes may share an external cluster. The partitions of a stage are
// grouped into slices, and each slice has one live owner:
//
//	heart.go, watch.go  heartbeats: our own, and those of others
//	members.go, plan.go who lives, who owns what, and what is to be ours
//	lease.go            how long we may act after our last heartbeat
//	claim.go, epoch.go  taking a slice over: the claim, and the consumer that fences
//	consume.go          Consume: a tenure for each slice that is to be ours
//	tenure.go           one slice, from the claim to its release or loss
//	flow.go, run.go     its messages, route by route
//
// Servers may be in trouble:
//
//	silence.go          a stream that does not answer is not waited for
//	sick.go             a server that serves nothing is left for another
//	disk.go, repair.go  a disk that is nearly full, and one that was full
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
	leases  *link     // heartbeats and claims; embedded: admin
	streams map[string]jetstream.Stream
	reunion reunion // of pub, work and admin, see ask.go
	// recovered is the last position of each stage when it was opened: up to
	// there another process may have handed messages over.
	recovered map[Stage]uint64
	lost      map[Stage]uint64 // messages that were there before; see waterline.go

	window   *semaphore.Weighted // publishes under way
	inflight *semaphore.Weighted // bytes of bodies read back for handlers
	reads    *semaphore.Weighted // reads under way, see read.go

	disk      *groupSync   // nil: what the server has answered is enough
	closeDisk func() error // nil likewise

	members  *members
	lease    *lease
	kick     chan struct{}      // has a heartbeat written
	part     func(orderly bool) // ends the membership; nil: there is none
	nameFile *os.File           // locked; nil: the name is for this run only

	free    atomic.Int64          // bytes of disk, when it was looked at last
	spent   atomic.Int64          // bytes stored since
	aside   atomic.Int64          // bytes that are being stored
	damaged atomic.Pointer[error] // why the embedded server cannot store
	counts  map[Stage]*counters
	journal journalCounts

	silences map[string]*silence // by the first token of subjects
	joints   map[Stage]*joint
	chores   chan func(context.Context) error // see sweepBodies

	drains struct { // see drain.go
		sync.Mutex
		busy map[string]chan struct{}
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
		reads:  semaphore.NewWeighted(maxReads),
		counts: make(map[Stage]*counters), kick: make(chan struct{}, 1),
		lease:  newLease(o.Dir != "", o.lease),
		chores: make(chan func(context.Context) error, maxChores),
	}
	b.members = newMembers(b.node, b.nodeName(), o.Dir != "", o.lease)
	b.drains.busy = make(map[string]chan struct{})
	b.joints = make(map[Stage]*joint)
	for _, s := range append([]Stage{Dead}, queues...) {
		b.counts[s] = new(counters)
		b.joints[s] = new(joint)
	}
	b.silences = make(map[string]*silence)
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
	for _, l := range []*link{b.pub, b.work, b.admin} {
		l.onReturn(b.linkReturned)
	}
	if err := b.ensureStreams(ctx); err != nil {
		return err
	}
	if b.srv != nil {
		if err := b.compare(ctx); err != nil {
			return err
		}
		b.workers.Go(func() { b.watchWaterline(b.done) })
	}
	if err := b.join(ctx); err != nil {
		return err
	}
	b.workers.Go(func() { b.sweepBodies(b.done) })
	if b.srv == nil {
		for _, l := range b.links() {
			l.health.others = b.links()
			b.workers.Go(func() { l.attend(b.done) })
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
	if b.part != nil {
		b.part(err == nil)
	}
	for _, l := range []*link{b.work, b.pub, b.admin, b.leases} {
		l.close()
	}
	<-idle // no request can wait on a closed connection
	b.lease.stop()
	if b.nameFile != nil {
		err = errors.Join(err, b.nameFile.Close())
	}
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

// links are the connections, each once.
func (b *Broker) links() []*link {
	all := []*link{b.pub, b.work, b.admin}
	if b.leases != b.admin {
		all = append(all, b.leases)
	}
	return all
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
	for _, l := range b.links() {
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
	if !b.lease.valid() {
		return fmt.Errorf("broker: %w", errExpired)
	}
	for _, s := range queues {
		if b.counts[s].stalled.Load() > 0 {
			return fmt.Errorf("broker: stage %s: messages wait and nobody asks for them", s)
		}
		if err := b.silences[string(s)].broken(); err != nil {
			return fmt.Errorf("broker: stage %s: %w", s, err)
		}
		if n, of := b.members.orphaned(s); n > 0 && b.members.consumes(s) {
			return fmt.Errorf("broker: stage %s: %d of %d slices have no owner", s, n, of)
		}
	}
	return nil
}
