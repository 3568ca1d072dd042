package broker

import (
	"context"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
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
