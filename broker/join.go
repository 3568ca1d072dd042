package broker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sys/unix"
)

// partTimeout bounds the last word of a process that ends.
const partTimeout = 2 * time.Second

// join makes this process a member of those that share the store. With the
// embedded server there is nobody to tell: the lock of the data folder proves
// that we are alone.
func (b *Broker) join(ctx context.Context) (err error) {
	if b.members.alone {
		b.leases = b.admin
		if _, err := b.makeLeases(ctx); err != nil {
			return err
		}
		return b.agree(ctx)
	}
	if b.leases, err = dial(b.o, nil, "lease"); err != nil {
		return err
	}
	if _, err := b.makeLeases(ctx); err != nil {
		return err
	}
	h := &heart{b: b}
	if err := h.write(ctx); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	first := b.attend(h)
	select {
	case <-first:
	case <-ctx.Done():
		return fmt.Errorf("broker: leases: %w", ctx.Err())
	}
	b.members.complete(time.Now())
	return b.agree(ctx)
}

// attend starts what goes on until part: our heartbeats, and listening to those of
// others. The channel is closed when the bucket was read for the first time.
func (b *Broker) attend(h *heart) (first <-chan struct{}) {
	ctx, stop := context.WithCancel(context.Background())
	read := make(chan struct{})
	var parts sync.WaitGroup
	parts.Go(func() { h.beats(ctx) })
	parts.Go(func() { b.watchLeases(ctx, sync.OnceFunc(func() { close(read) })) })
	b.part = func(orderly bool) {
		stop()
		parts.Wait()
		if !orderly {
			return // what we have begun may still go on: others wait for the lease to run out
		}
		if err := b.sayGoodbye(); err != nil {
			b.log.Warn().Err(err).Msg("others hear of our end when the lease runs out")
		}
	}
	return read
}

// sayGoodbye removes our key, so that others need not wait for its end. A heartbeat
// that was under way when they were stopped may be stored only now, in between:
// then its key is removed.
func (b *Broker) sayGoodbye() error {
	ctx, cancel := context.WithTimeout(context.Background(), partTimeout)
	defer cancel()
	for {
		err := b.removeKey(ctx)
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err
		}
	}
}

// removeKey removes our key as it stands, if it is ours.
func (b *Broker) removeKey(ctx context.Context) error {
	key := nodePrefix + b.members.name()
	value, rev, err := b.lastLease(ctx, key)
	if err != nil {
		return err
	}
	var beat heartbeat
	if err := json.Unmarshal(value, &beat); err != nil || beat.Node != b.node {
		return nil // it is gone, or another's
	}
	kv, err := b.leaseKV(ctx)
	if err != nil {
		return err
	}
	return kv.Delete(ctx, key, jetstream.LastRevision(rev))
}

// nodeName returns the name that is kept in Options.NodeDir, or one for this run only.
func (b *Broker) nodeName() string {
	if b.o.NodeDir == "" || b.o.Dir != "" {
		return b.node
	}
	f, name, err := lockName(b.o.NodeDir)
	if err != nil {
		b.log.Warn().Err(err).Msg("this node has a name for this run only: after a crash others wait for its lease to run out")
		return b.node
	}
	b.nameFile = f
	return name
}

var nameFormat = regexp.MustCompile(`^[A-Z0-9]{16,64}$`)

// lockName reads the name that is kept in dir, and makes one if there is none.
// While the file is open no other process gets it.
func lockName(dir string) (f *os.File, name string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("folder of the node: %w", err)
	}
	f, err = os.OpenFile(filepath.Join(dir, "node"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, "", fmt.Errorf("name of the node: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
		}
	}()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, "", fmt.Errorf("name of the node: lock %s: %w", f.Name(), err)
	}
	data, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return nil, "", fmt.Errorf("name of the node: %w", err)
	}
	if nameFormat.Match(data) {
		return f, string(data), nil
	}
	name = rand.Text()
	if err := f.Truncate(0); err != nil {
		return nil, "", fmt.Errorf("name of the node: %w", err)
	}
	if _, err := f.WriteAt([]byte(name), 0); err != nil {
		return nil, "", fmt.Errorf("name of the node: %w", err)
	}
	return f, name, nil
}
