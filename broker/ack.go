package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// settleLater is settle after what is due before. The route goes on meanwhile;
// until then the message is held, so that its delivery in another epoch is
// recognised.
func (f *flow) settleLater(ctx context.Context, it *item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes -= it.size
	it.size, it.raw, it.del, it.inline = 0, nil, nil, nil
	f.later = append(f.later, it)
	f.settleOn(ctx)
}

// settleOn sees to it that what waits is settled. f.mu is held.
func (f *flow) settleOn(ctx context.Context) {
	if len(f.later) > 0 && !f.settling {
		f.settling = true
		f.workers.Go(func() { f.settleWaiting(ctx) })
	}
}

// maxCommit is how many messages are let go together at most. More would have
// the first of them wait for the last while the server gives nothing new.
const maxCommit = 1024

// settleWaiting settles what waits, group by group, until nothing does. What
// cannot be settled before ctx ends waits for the next epoch, and after a sync
// that has failed for the next process.
func (f *flow) settleWaiting(ctx context.Context) {
	for {
		items := f.nextGroup()
		if len(items) == 0 {
			return
		}
		err := f.commit(ctx, items)
		for err == nil && len(items) > 0 {
			if err = f.settle(ctx, items[0], false); err == nil {
				items = items[1:]
			}
		}
		if err == nil {
			continue
		}
		f.log.WithLevel(levelOf(err)).Err(err).Int("messages", len(items)).Msg("messages stay where they are")
		if !errors.Is(err, errSync) {
			f.putOff(items)
			return
		}
	}
}

// nextGroup takes those that have waited longest; none: nobody settles any more.
func (f *flow) nextGroup() []*item {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := min(len(f.later), maxCommit)
	items := f.later[:n:n]
	if f.later = f.later[n:]; len(f.later) == 0 {
		f.later = nil
	}
	f.settling = n > 0
	return items
}

// putOff gives a group back.
func (f *flow) putOff(items []*item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.later = append(items, f.later...)
	f.settling = false
}

// commit does what is due before items are let go: it writes their records, and
// then waits for the disk once for all of them. While the journal cannot be
// written that is tried again, until ctx ends. After a sync that has failed
// nothing is let go.
func (f *flow) commit(ctx context.Context, items []*item) error {
	work := context.WithoutCancel(ctx)
	for fails := 0; ; {
		err := f.b.write(work, items)
		if err == nil {
			break
		}
		fails++
		f.log.Warn().Err(err).Int("messages", len(items)).Msg("journal not written, messages stay")
		if !f.b.pub.pause(ctx, soon(fails)) {
			return fmt.Errorf("journal: %w", err)
		}
	}
	if !slices.ContainsFunc(items, func(it *item) bool { return it.due.disk }) {
		return nil
	}
	return f.b.disk.wait(work)
}

// record returns the record of what was decided about it, nil for none.
func (f *flow) record(it *item) *Record {
	r := it.decided.record
	if r == nil {
		return nil
	}
	if err := r.check(); err != nil {
		f.b.refused(err, r.subject())
		return nil
	}
	return r
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
