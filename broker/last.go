package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// Last returns the message of a route that was put into a stage last, without
// its body; nil where the stage has none of the route. The message stays where
// it is.
func (b *Broker) Last(ctx context.Context, stage Stage, route string) (*Delivery, error) {
	if err := b.begin(); err != nil {
		return nil, fmt.Errorf("broker: last: %w", err)
	}
	defer b.calls.Done()
	d, err := b.last(ctx, stage, route)
	if err != nil {
		return nil, fmt.Errorf("broker: last: %w", err)
	}
	return d, nil
}

// last asks the leader: a direct request, which the library would make, carries
// the subject in its own and cannot hold a wildcard.
func (b *Broker) last(ctx context.Context, stage Stage, route string) (*Delivery, error) {
	stream := streamOf(stage)
	if stream == "" || stage == Dead {
		return nil, refuse(ErrInvalid, fmt.Errorf("no stage %q", stage))
	}
	m, err := b.get(ctx, stream, server.JSApiMsgGetRequest{LastFor: routeFilter(stage, route)})
	if m == nil || err != nil {
		return nil, err
	}
	d, err := decode(stage, m.header, nil)
	if err != nil {
		return nil, refuse(ErrInvalid, err)
	}
	d.Seq, d.Stored = m.seq, m.at
	return d, nil
}

// directTimeout is how long any server of a cluster has to answer a direct read
// before the leader is asked: it may be one that has just been cut off.
const directTimeout = time.Second

// readBack returns the message of a stream at a position. The error is
// jetstream.ErrMsgNotFound when the leader has it not.
func (b *Broker) readBack(ctx context.Context, stream string, seq uint64) (*rawMsg, error) {
	return b.readAny(ctx, stream, server.JSApiMsgGetRequest{Seq: seq}, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return b.streams[stream].GetMsg(ctx, seq)
	})
}

// readLast is readBack for the last message of a subject.
func (b *Broker) readLast(ctx context.Context, stream, subject string) (*rawMsg, error) {
	return b.readAny(ctx, stream, server.JSApiMsgGetRequest{LastFor: subject}, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return b.streams[stream].GetLastMsgForSubject(ctx, subject)
	})
}

// readAny reads from whoever answers, and from the leader what nobody has.
func (b *Broker) readAny(ctx context.Context, stream string, query server.JSApiMsgGetRequest, direct func(context.Context) (*jetstream.RawStreamMsg, error)) (*rawMsg, error) {
	timeout := b.o.StoreTimeout
	if b.o.Replicas > 1 {
		timeout = min(timeout, directTimeout)
	}
	dctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := direct(dctx)
	switch {
	case err == nil:
		return &rawMsg{m.Subject, m.Header, m.Data}, nil
	case b.o.Replicas == 1:
		return nil, err
	}
	found, err := b.get(ctx, stream, query)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, jetstream.ErrMsgNotFound
	}
	return &rawMsg{found.subject, found.header, found.data}, nil
}
