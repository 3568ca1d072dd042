package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Remove deletes one message of Park or Dead and releases its body; removed
// tells whether it was there. A Drain or Revive that has the message in its
// hands at that moment goes on with it: the caller sees to it that none is at it.
// After an error it may be gone all the same.
func (b *Broker) Remove(ctx context.Context, stage Stage, seq uint64) (removed bool, err error) {
	if stage != Park && stage != Dead {
		return false, fmt.Errorf("broker: remove: %w", refuse(ErrInvalid, fmt.Errorf("stage %q is emptied by its handler only", stage)))
	}
	if err := b.begin(); err != nil {
		return false, fmt.Errorf("broker: remove: %w", err)
	}
	defer b.calls.Done()
	m, err := b.get(ctx, streamOf(stage), server.JSApiMsgGetRequest{Seq: seq})
	if err == nil && m != nil {
		removed, err = b.remove(ctx, stage, seq)
	}
	if err != nil {
		return false, fmt.Errorf("broker: remove: %w", err)
	}
	if removed {
		p := peeked(stage, *m)
		b.release(ctx, p.ref)
	}
	return removed, nil
}

// remove deletes one message; false when somebody else has done so.
func (b *Broker) remove(ctx context.Context, stage Stage, seq uint64) (bool, error) {
	stream := streamOf(stage)
	query, err := json.Marshal(server.JSApiMsgDeleteRequest{Seq: seq, NoErase: true})
	if err != nil {
		return false, err
	}
	answer, err := b.admin.request(ctx, &nats.Msg{Subject: fmt.Sprintf(server.JSApiMsgDeleteT, stream), Data: query}, b.o.StoreTimeout)
	if err != nil {
		return false, refuse(ErrUnavailable, err)
	}
	var got server.JSApiMsgDeleteResponse
	if err := json.Unmarshal(answer.Data, &got); err != nil {
		return false, refuse(ErrUnavailable, err)
	}
	if got.Error == nil && got.Success {
		return true, nil
	}
	// The server has several numbers for a message that is not there, one of
	// which it also uses for others.
	m, err := b.get(ctx, stream, server.JSApiMsgGetRequest{Seq: seq})
	switch {
	case err != nil:
		return false, err
	case m == nil:
		return false, nil
	case got.Error == nil:
		return false, refuse(ErrUnavailable, errors.New("message not deleted"))
	}
	return false, refuse(ErrUnavailable, got.Error)
}
