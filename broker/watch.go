package broker

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// watch reads the bucket and all that is written to it, until ctx ends. first is
// called when it was read once.
func (b *Broker) watchLeases(ctx context.Context, first func()) {
	for fails := 0; ctx.Err() == nil; {
		began := time.Now()
		err := b.watchOnce(ctx, first)
		if ctx.Err() != nil {
			return
		}
		if fails++; time.Since(began) > latest {
			fails = 1
		}
		b.log.Debug().Err(err).Msg("watch of the leases begins again")
		pause(ctx, soon(fails))
	}
}

var errWatchEnded = errors.New("watch has ended")

func (b *Broker) watchOnce(ctx context.Context, first func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	again := b.leases.reconnected()
	kv, err := b.leaseKV(ctx)
	if err != nil {
		return err
	}
	w, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer func() {
		_ = w.Stop()
		for range w.Updates() { // its goroutine must not hang on a full channel
		}
	}()
	b.members.reread()
	tick := time.NewTicker(b.o.lease.beat / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again:
			return errDisconnected
		case now := <-tick.C:
			for _, m := range b.members.evict(now) {
				b.log.Warn().Str("node", m.Node).Str("name", m.Name).Msg("another process has died")
			}
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				return errWatchEnded
			case e == nil:
				first()
			default:
				b.learn(e)
			}
		}
	}
}

// learn takes what stands in the bucket now. A heartbeat that has run out by the
// server's clock is not believed to be the last one: see members.evict.
func (b *Broker) learn(e jetstream.KeyValueEntry) {
	key := e.Key()
	if name, ok := strings.CutPrefix(key, nodePrefix); ok {
		b.learnNode(name, e)
		return
	}
	if e.Operation() != jetstream.KeyValuePut {
		return
	}
	if key == countKey {
		if n, err := strconv.Atoi(string(e.Value())); err == nil && n > 0 && n <= Partitions {
			b.members.setSlices(n)
		}
		return
	}
	if k, ok := parseSliceKey(key); ok {
		b.members.note(k, parseEntry(e.Value(), e.Revision()))
	}
}

func (b *Broker) learnNode(name string, e jetstream.KeyValueEntry) {
	_, ours, rev := b.members.own()
	var beat heartbeat
	switch e.Operation() {
	case jetstream.KeyValueDelete:
		if name != ours {
			b.members.left(name, e.Revision(), time.Now())
		}
		return
	case jetstream.KeyValuePurge:
		return
	}
	if err := json.Unmarshal(e.Value(), &beat); err != nil || beat.Node == "" {
		b.log.Warn().Err(err).Str("key", e.Key()).Msg("heartbeat cannot be read")
		return
	}
	switch {
	case beat.Node == b.node:
		if name == ours {
			b.members.echo()
		}
	case name != ours:
		b.members.hear(peer{
			Member:  Member{Node: beat.Node, Name: name, Stages: beat.Stages, Started: beat.Started},
			leaving: beat.Leaving, rev: e.Revision(),
		}, time.Now())
	case e.Revision() > rev:
		// Our next heartbeat would find out; what we own is in doubt from now on.
		b.lease.revoke()
		b.beatNow()
	}
}
