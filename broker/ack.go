package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// disown gives up on the acknowledgements: the consumer is deleted.
func (f *flow) disown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopping, f.fenced = true, true
}

// settle acknowledges it and forgets it. With certain, it returns only after the
// server has confirmed.
func (f *flow) settle(ctx context.Context, it *item, certain bool) error {
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
	f.lastAck, f.lastSeq = it.reply, it.seq
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
			_ = f.settle(context.Background(), it, false) // fails only when it waits
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
	f.mu.Lock()
	f.stopping = true
	for _, r := range f.routes {
		if r.timer != nil {
			r.timer.Stop()
		}
	}
	f.mu.Unlock()
	f.workers.Wait()
	f.mu.Lock()
	last, seq, fenced := f.lastAck, f.lastSeq, f.fenced
	for _, it := range f.held {
		f.b.unfill(it)
	}
	f.mu.Unlock()
	if last == "" || fenced {
		return
	}
	// The server takes acknowledgements in the order they come in: when it
	// confirms one that follows all others, it has them all.
	err := f.b.confirmAck(context.Background(), last)
	if err == nil {
		err = f.b.awaitRemoval(f.stage, seq)
	}
	if err != nil {
		f.log.Warn().Err(err).Msg("last acknowledgements not confirmed, some messages may be given again")
	}
}

// removalPoll is how often a cluster is asked whether a message is gone.
const removalPoll = 10 * time.Millisecond

// awaitRemoval waits until a message whose acknowledgement is confirmed has left
// the stage. In a cluster its servers agree upon that after the confirmation, and
// give the message again to a consumer that is made before.
func (b *Broker) awaitRemoval(stage Stage, seq uint64) error {
	if b.o.Replicas == 1 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), finalAck)
	defer cancel()
	for {
		_, err := b.askLeader(ctx, streamOf(stage), server.JSApiMsgGetRequest{Seq: seq})
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return nil
		case err == nil:
			err = fmt.Errorf("message %d is still there", seq)
		}
		if !pause(ctx, removalPoll) {
			return refuse(ErrUnavailable, err)
		}
	}
}
