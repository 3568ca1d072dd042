package broker

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
)

// settle acknowledges it and forgets it. With certain, it returns only after the
// server has confirmed. It does nothing when the slice is not ours any more.
func (f *flow) settle(ctx context.Context, it *item, certain bool) error {
	if err := f.entitled(); err != nil {
		return err
	}
	if certain {
		f.mu.Lock()
		reply := it.reply
		f.mu.Unlock()
		if err := f.b.confirmAck(ctx, reply); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, it.seq)
	f.done.add(it.seq)
	f.bytes -= it.size
	f.lastAck = it.reply
	if !certain {
		f.sendAck(it.reply)
	}
	f.c.acked.Add(1)
	return nil
}

// settleSynced is settle when what follows from it is on the disk. The route
// goes on meanwhile; until then it is held, so that its delivery in another
// epoch is recognised.
func (f *flow) settleSynced(it *item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes -= it.size
	it.size, it.raw, it.del, it.inline = 0, nil, nil, nil
	f.unsynced = append(f.unsynced, it)
	if !f.syncing {
		f.syncing = true
		f.workers.Go(f.acknowledgeSynced)
	}
}

// acknowledgeSynced settles what waits for the disk, all of it after one sync,
// until nothing waits. After a sync that has failed nothing is acknowledged.
func (f *flow) acknowledgeSynced() {
	for {
		f.mu.Lock()
		items := f.unsynced
		f.unsynced = nil
		f.syncing = len(items) > 0
		f.mu.Unlock()
		if len(items) == 0 {
			return
		}
		if err := f.b.disk.wait(context.Background()); err != nil {
			f.log.Error().Err(err).Int("messages", len(items)).Msg("messages stay where they are")
			f.mu.Lock()
			f.syncErr = err
			f.mu.Unlock()
			continue
		}
		for _, it := range items {
			_ = f.settle(context.Background(), it, false) // what is not ours any more, another acknowledges
		}
	}
}

// ackBody is what acknowledges a message; see also jetstream.Msg.Ack, which
// would keep the whole message in memory until then.
var (
	ackBody      = []byte("+ACK")
	progressBody = []byte("+WPI")
)

// sendAck acknowledges without waiting. An error means that the connection is
// lost; the next epoch then delivers the message again, and it is found in done.
func (f *flow) sendAck(reply string) { _ = f.b.work.nc.Publish(reply, ackBody) }

// confirmAck acknowledges and waits until the server knows.
func (b *Broker) confirmAck(ctx context.Context, reply string) error {
	if _, err := b.work.request(ctx, &nats.Msg{Subject: reply, Data: ackBody}, finalAck); err != nil {
		return refuse(ErrUnavailable, err)
	}
	return nil
}

// keepAlive tells the server that we still work on what we have held for long.
func (f *flow) keepAlive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for _, it := range f.held {
		if now.Sub(it.alive) > ackWait/3 {
			it.alive = now
			_ = f.b.work.nc.Publish(it.reply, progressBody) // lost: the next epoch gives it again
		}
	}
}

// finish stops the routes, waits for what runs, and makes sure that the server
// has the acknowledgements: deleting the consumer would drop those still queued.
func (f *flow) finish() {
	f.halt()
	f.drop()
	f.confirmLast()
}

// halt stops the routes and waits for what runs.
func (f *flow) halt() {
	f.mu.Lock()
	f.stopping = true
	for _, r := range f.routes {
		if r.timer != nil {
			r.timer.Stop()
		}
	}
	f.mu.Unlock()
	f.workers.Wait()
}

// drop gives the memory of bodies back, for good.
func (f *flow) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range f.held {
		f.b.unfill(it)
	}
}

// confirmLast makes sure that the server has all acknowledgements.
func (f *flow) confirmLast() {
	f.mu.Lock()
	last := f.lastAck
	f.mu.Unlock()
	if last == "" || f.entitled() != nil {
		return
	}
	// The server takes acknowledgements in the order they come in: when it
	// confirms one that follows all others, it has them all.
	if err := f.b.confirmAck(context.Background(), last); err != nil {
		f.log.Warn().Err(err).Msg("last acknowledgements not confirmed, some messages may be given again")
	}
}
