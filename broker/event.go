package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Event is what others may want to hear of, under the subject `event.<kind>.<of>`.
type Event struct {
	// ID makes a second copy recognisable: in Nats-Msg-Id.
	ID string
	// Kind and Of are tokens of the subject. What a token cannot hold, a dot for one,
	// becomes %XX.
	Kind, Of string
	Data     []byte
}

// EventOptions bound the stream of events.
type EventOptions struct {
	MaxAge   time.Duration // the oldest go
	MaxBytes int64         // likewise
}

const (
	streamEvent = "EVENT"
	eventPrefix = "event."

	// eventCopies is how long the stream recognises a second copy.
	eventCopies = 2 * time.Minute
)

// OpenEvents makes the stream that holds events for those who come to read them, or
// brings it to these bounds. It is no custody: the oldest make room.
func (b *Broker) OpenEvents(ctx context.Context, o EventOptions) error {
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: events: %w", err)
	}
	defer b.calls.Done()
	_, err := b.ensureStream(ctx, jetstream.StreamConfig{
		Name: streamEvent, Subjects: []string{eventPrefix + ">"}, Storage: jetstream.FileStorage, Replicas: b.o.Replicas,
		MaxAge: o.MaxAge, MaxBytes: o.MaxBytes, Discard: jetstream.DiscardOld, Duplicates: min(eventCopies, o.MaxAge), AllowDirect: true,
	})
	if err != nil {
		return fmt.Errorf("broker: events: %w", requestRefusal(err))
	}
	return nil
}

// Publish puts events into the stream, in their order, and returns when the server
// has all of them. After an error some may be there.
func (b *Broker) Publish(ctx context.Context, events []Event) error {
	if err := b.begin(); err != nil {
		return fmt.Errorf("broker: publish: %w", err)
	}
	defer b.calls.Done()
	msgs := make([]*nats.Msg, len(events))
	for i, e := range events {
		msgs[i] = &nats.Msg{Subject: e.subject(), Data: e.Data, Header: nats.Header{jetstream.MsgIDHeader: {e.ID}}}
	}
	answers, err := b.admin.in.requestAll(ctx, msgs, b.o.StoreTimeout)
	if err != nil {
		return fmt.Errorf("broker: publish: %w", requestRefusal(err))
	}
	var errs []error
	for _, m := range answers {
		if m != nil {
			errs = append(errs, recordAnswer(m))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("broker: publish: %w", err)
	}
	return nil
}

func (e Event) subject() string { return eventPrefix + token(e.Kind) + "." + token(e.Of) }
