package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
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

func (b *Broker) last(ctx context.Context, stage Stage, route string) (*Delivery, error) {
	stream := streamOf(stage)
	if stream == "" || stage == Dead {
		return nil, refuse(ErrInvalid, fmt.Errorf("no stage %q", stage))
	}
	got, err := b.askLeader(ctx, stream, server.JSApiMsgGetRequest{LastFor: routeFilter(stage, route)})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, nil
	case err != nil:
		return nil, refuse(ErrUnavailable, err)
	}
	header, err := nats.DecodeHeadersMsg(got.Header)
	if err != nil {
		return nil, refuse(ErrInvalid, err)
	}
	d, err := decode(stage, header, nil)
	if err != nil {
		return nil, refuse(ErrInvalid, err)
	}
	d.Seq, d.Stored = got.Sequence, got.Time.In(time.UTC)
	return d, nil
}

// askLeader reads a message by the plain request, which only the leader of a
// stream answers. A direct one, which the library would make, is answered by any
// server, also by one that has not heard of the latest messages; and it carries
// the subject in its own, so that it cannot hold a wildcard. The error is
// jetstream.ErrMsgNotFound where there is none.
func (b *Broker) askLeader(ctx context.Context, stream string, query server.JSApiMsgGetRequest) (*server.StoredMsg, error) {
	data, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	answer, err := b.admin.request(ctx, &nats.Msg{Subject: fmt.Sprintf(server.JSApiMsgGetT, stream), Data: data}, b.o.StoreTimeout)
	if err != nil {
		return nil, err
	}
	var got server.JSApiMsgGetResponse
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return nil, err
	}
	switch {
	case got.Error != nil && got.Error.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound):
		return nil, jetstream.ErrMsgNotFound
	case got.Error != nil:
		return nil, got.Error
	case got.Message == nil:
		return nil, jetstream.ErrMsgNotFound
	}
	return got.Message, nil
}

// directTimeout is how long any server of a cluster has to answer a direct read
// before the leader is asked: it may be one that has just been cut off.
const directTimeout = time.Second

// read returns the message of a stream at a position. The error is
// jetstream.ErrMsgNotFound when the leader has it not.
func (b *Broker) read(ctx context.Context, stream string, seq uint64) (*rawMsg, error) {
	return b.readAny(ctx, stream, server.JSApiMsgGetRequest{Seq: seq}, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return b.streams[stream].GetMsg(ctx, seq)
	})
}

// readLast is read for the last message of a subject.
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
	stored, err := b.askLeader(ctx, stream, query)
	if err != nil {
		return nil, err
	}
	raw := &rawMsg{subject: stored.Subject, data: stored.Data}
	if len(stored.Header) > 0 {
		raw.header, err = nats.DecodeHeadersMsg(stored.Header)
	}
	return raw, err
}
