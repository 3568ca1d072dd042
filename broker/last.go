package broker

import (
	"context"
	"encoding/json"
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

// last asks by the plain request: a direct one, which the library would make,
// carries the subject in its own and cannot hold a wildcard.
func (b *Broker) last(ctx context.Context, stage Stage, route string) (*Delivery, error) {
	stream := streamOf(stage)
	if stream == "" || stage == Dead {
		return nil, refuse(ErrInvalid, fmt.Errorf("no stage %q", stage))
	}
	query, err := json.Marshal(server.JSApiMsgGetRequest{LastFor: routeFilter(stage, route)})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.o.StoreTimeout)
	defer cancel()
	answer, err := b.admin.nc.RequestWithContext(ctx, fmt.Sprintf(server.JSApiMsgGetT, stream), query)
	if err != nil {
		return nil, refuse(ErrUnavailable, err)
	}
	var got server.JSApiMsgGetResponse
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return nil, refuse(ErrUnavailable, err)
	}
	switch {
	case got.Error != nil && got.Error.ErrCode == uint16(jetstream.JSErrCodeMessageNotFound):
		return nil, nil
	case got.Error != nil:
		return nil, refuse(ErrUnavailable, got.Error)
	case got.Message == nil:
		return nil, nil
	}
	header, err := nats.DecodeHeadersMsg(got.Message.Header)
	if err != nil {
		return nil, refuse(ErrInvalid, err)
	}
	d, err := decode(stage, header, nil)
	if err != nil {
		return nil, refuse(ErrInvalid, err)
	}
	d.Seq, d.Stored = got.Message.Sequence, got.Message.Time.In(time.UTC)
	return d, nil
}
