package events

import (
	"context"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/config"
)

// StreamName is what the stream of the broker is called among the receivers: the subject
// of its events, which is no name of a webhook.
const StreamName = "event.>"

// stream is the stream of the broker.
type stream struct {
	broker Broker
	conf   config.NATSEvents
	open   bool // only the courier touches it
}

func newStream(b Broker, conf config.NATSEvents) *stream { return &stream{broker: b, conf: conf} }

func (s *stream) name() string   { return StreamName }
func (s *stream) of() any        { return s.conf }
func (s *stream) target() string { return "" }
func (s *stream) close()         {}

func (s *stream) wants(e *Event) bool { return s.conf.Deferred || e.Data.Outcome != config.Deferred }

func (s *stream) terms() terms {
	return terms{most: 256, timeout: 15 * time.Second, retry: time.Second, retryMost: 30 * time.Second, fromTheBeginning: true}
}

func (s *stream) send(ctx context.Context, events []*Event) (answer string, err error) {
	if !s.open {
		if err := s.broker.OpenEvents(ctx, broker.EventOptions{MaxAge: s.conf.Expiration, MaxBytes: s.conf.Size}); err != nil {
			return "", err
		}
		s.open = true
	}
	all := make([]broker.Event, len(events))
	for i, e := range events {
		all[i] = broker.Event{ID: e.ID, Kind: e.Data.Outcome, Of: e.domain(), Data: e.body}
	}
	if err := s.broker.Publish(ctx, all); err != nil {
		s.open = false // somebody may have deleted it
		return "", err
	}
	return "stored", nil
}
