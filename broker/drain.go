package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Drain hands everything that Park holds of one route to h, in order, and
// returns how many messages were settled. Drains of one route wait for one
// another. It ends early with ErrPutOff when h asks for a message to be given
// again, and with the store's error when a Move is not taken; the rest stays.
func (b *Broker) Drain(ctx context.Context, stage Stage, routeName string, h Handler) (n int, err error) {
	if stage != Park {
		return 0, fmt.Errorf("broker: drain: %w", refuse(ErrInvalid, fmt.Errorf("no stage %q to drain", stage)))
	}
	if err := b.begin(); err != nil {
		return 0, fmt.Errorf("broker: drain: %w", err)
	}
	defer b.calls.Done()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(b.done, stop)()

	leave, err := b.enterDrain(ctx, token(routeName))
	if err != nil {
		return 0, fmt.Errorf("broker: drain: %w", err)
	}
	defer leave()
	n, err = b.drain(ctx, stage, routeName, h)
	if err != nil && !errors.Is(err, ErrPutOff) {
		err = fmt.Errorf("broker: drain: %w", err)
	}
	return n, err
}

// enterDrain waits until no other Drain is on the route.
func (b *Broker) enterDrain(ctx context.Context, key string) (leave func(), err error) {
	for {
		b.drains.Lock()
		other := b.drains.busy[key]
		if other == nil {
			mine := make(chan struct{})
			b.drains.busy[key] = mine
			b.drains.Unlock()
			return func() {
				b.drains.Lock()
				delete(b.drains.busy, key)
				b.drains.Unlock()
				close(mine)
			}, nil
		}
		b.drains.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// drain reads what comes first on the route, hands it over and purges it, until
// the route is empty. A consumer per route would say the same and cost the server
// several times as much to make, and in a cluster an election. Of two processes
// at one route both hand messages over, but each purges only what it has settled
// itself and what is before that, so nothing is lost.
func (b *Broker) drain(ctx context.Context, stage Stage, routeName string, h Handler) (n int, err error) {
	f := newFlow(b, stage, h, ConsumeOptions{}.withDefaults(), ctx.Done())
	f.purges = true
	filter := routeFilter(stage, routeName)
	r := new(route)
	defer func() {
		for _, it := range r.queue {
			b.unfill(it)
		}
	}()
	for ctx.Err() == nil {
		if r.queue, err = f.first(ctx, filter); err != nil || len(r.queue) == 0 {
			return n, err
		}
		for len(r.queue) > 0 && ctx.Err() == nil {
			settled, over := f.handOver(ctx, r)
			err := f.purge(ctx, filter, r.queue[:settled])
			if err != nil {
				return n, err
			}
			n += settled
			r.queue = r.queue[settled:]
			if over != nil {
				return n, over
			}
		}
	}
	return n, ctx.Err()
}

// first reads the messages that come first on a route, none when there are none.
// Of a stream that has replicas any server may give them, and one that lags
// behind would give some again that are purged, or none; so the leader is asked
// where the route begins.
func (f *flow) first(ctx context.Context, filter string) ([]*item, error) {
	stream := streamOf(f.stage)
	var head *storedMsg
	if f.b.o.Replicas > 1 {
		var err error
		if head, err = f.b.get(ctx, stream, server.JSApiMsgGetRequest{Seq: 1, NextFor: filter}); err != nil || head == nil {
			return nil, err
		}
	}
	msgs, left, err := f.b.readSome(ctx, query{stream: stream, filter: filter, from: 1, limit: f.o.Batch})
	if err != nil {
		return nil, err
	}
	if head != nil {
		msgs = beginAt(msgs, *head)
	}
	items := make([]*item, len(msgs))
	for i, m := range msgs {
		items[i] = &item{
			seq: m.seq, stored: m.at, redelivered: m.seq <= f.b.recovered[f.stage],
			raw: &rawMsg{m.subject, m.header, m.data}, behind: left + len(msgs) - i - 1,
		}
	}
	return items, nil
}

// beginAt drops what stands before head, or all but head when that is not there.
func beginAt(msgs []storedMsg, head storedMsg) []storedMsg {
	for i, m := range msgs {
		if m.seq == head.seq {
			return msgs[i:]
		}
	}
	return []storedMsg{head}
}

// handOver runs the first messages of r. over says why the drain ends after those
// that are settled, nil that it goes on.
func (f *flow) handOver(ctx context.Context, r *route) (settled int, over error) {
	run := r.queue[:min(len(r.queue), f.o.Batch)]
	oneByOne := r.single > 0
	if oneByOne {
		run = run[:1]
	}
	settled, wait := f.run(ctx, r, run)
	switch {
	case wait == 0:
	case r.err != nil:
		return settled, r.err
	case oneByOne || r.single == 0:
		return settled, ErrPutOff
	}
	return settled, nil
}

// purge lets go of items, which are settled and the first of their route, all
// with one request. It tries until ctx ends: given up, they would be handed over
// again although they were dealt with.
func (f *flow) purge(ctx context.Context, filter string, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	if err := f.commit(ctx, items); err != nil {
		return err
	}
	for fails := 0; ; {
		n, err := f.b.purgeTo(context.WithoutCancel(ctx), streamOf(f.stage), purgeFilter(filter, items), items[len(items)-1].seq)
		if err == nil {
			if n > len(items) {
				f.log.Error().Int("settled", len(items)).Int("purged", n).Str("filter", filter).Msg("messages purged that the server had not shown")
			}
			break
		}
		fails++
		f.log.Warn().Err(err).Int("messages", len(items)).Msg("settled messages not purged, trying again")
		if !f.b.admin.pause(ctx, soon(fails)) {
			return err
		}
	}
	f.c.acked.Add(uint64(len(items)))
	for _, it := range items {
		f.b.release(context.WithoutCancel(ctx), it.due.body)
	}
	return nil
}

// purgeFilter is the one subject of items, or filter when there are several: with
// a wildcard the server looks at each message in between.
func purgeFilter(filter string, items []*item) string {
	for _, it := range items[1:] {
		if it.raw.subject != items[0].raw.subject {
			return filter
		}
	}
	return items[0].raw.subject
}

// purgeTo removes the messages under filter up to the position last, and returns
// how many there were.
func (b *Broker) purgeTo(ctx context.Context, stream, filter string, last uint64) (int, error) {
	query, err := json.Marshal(server.JSApiStreamPurgeRequest{Subject: filter, Sequence: last + 1})
	if err != nil {
		return 0, err
	}
	var answer *nats.Msg
	err = b.admin.insist(ctx, b.o.StoreTimeout, func(ctx context.Context) (err error) {
		answer, err = b.admin.ask(ctx, &nats.Msg{Subject: fmt.Sprintf(server.JSApiStreamPurgeT, stream), Data: query})
		return err
	})
	if err != nil {
		return 0, refuse(ErrUnavailable, err)
	}
	var got server.JSApiStreamPurgeResponse
	switch err := json.Unmarshal(answer.Data, &got); {
	case err != nil:
		return 0, refuse(ErrUnavailable, err)
	case got.Error != nil:
		return 0, refuse(ErrUnavailable, got.Error)
	}
	return int(got.Purged), nil //nolint:gosec // a count of messages
}
