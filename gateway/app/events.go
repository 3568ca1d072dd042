package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/events"
	"mcmt2xmpp/gateway/store"
)

// openEvents makes what tells others how messages end.
func (a *App) openEvents(ctx context.Context) error {
	positions, err := store.OpenPositions(ctx, a.broker)
	if err != nil {
		return err
	}
	a.events = events.New(events.Options{
		Broker: a.broker, Positions: positions,
		Webhooks: func() []config.Webhook { return a.state.Load().cfg.Webhooks },
		Stream:   a.o.Config.NATS.Events,
		Node:     a.broker.Node(), Version: a.o.Version,
		Log: a.log.With().Str("part", "events").Logger(),
	})
	return nil
}

// deferralsWanted says whether anybody is to hear when messages begin to wait. The process
// that sends events need not be the one that delivers: both have the same configuration.
func (a *App) deferralsWanted() bool {
	return a.o.Config.NATS.Events.Deferred || slices.ContainsFunc(a.state.Load().cfg.Webhooks, config.Webhook.WantsDeferred)
}

// webhooks are the receivers of events, for operators.
type webhooks struct{ app *App }

// Webhooks implements admin.Webhooks.
func (w webhooks) Webhooks(ctx context.Context) (stream *admin.Webhook, all []admin.Webhook, err error) {
	list, err := w.app.events.List(ctx)
	if err != nil {
		return nil, nil, webhookError(err)
	}
	for _, s := range list {
		h := admin.Webhook(s)
		if s.Name == events.StreamName {
			stream = &h
		} else {
			all = append(all, h)
		}
	}
	return stream, all, nil
}

// Retry implements admin.Webhooks.
func (w webhooks) Retry(ctx context.Context, name string) (admin.Webhook, error) {
	s, err := w.app.events.Retry(ctx, name)
	return admin.Webhook(s), webhookError(err)
}

// Replay implements admin.Webhooks.
func (w webhooks) Replay(ctx context.Context, name string, since, until time.Time) (admin.Webhook, error) {
	s, err := w.app.events.Replay(ctx, name, since, until)
	return admin.Webhook(s), webhookError(err)
}

func webhookError(err error) error {
	switch {
	case errors.Is(err, events.ErrUnknown):
		return admin.ErrNoWebhook
	case errors.Is(err, broker.ErrNobody):
		return admin.ErrNoSender
	}
	return err
}

// eventMetrics are about the receivers of events: counts of this process, and how those
// fare that it sends to now.
func (a *App) eventMetrics() []admin.Metric {
	count := func(name, help string, read func(events.Count) uint64) admin.Metric {
		return admin.Metric{Name: name, Help: help, Labels: []string{"to"}, Collect: func(add add) {
			for _, c := range a.events.Counts() {
				add(float64(read(c)), c.Name)
			}
		}}
	}
	gauge := func(name, help string, read func(events.Status) float64) admin.Metric {
		return admin.Metric{Name: name, Help: help, Gauge: true, Labels: []string{"to"}, Collect: func(add add) {
			for _, s := range a.events.Here() {
				add(read(s), s.Name)
			}
		}}
	}
	return []admin.Metric{
		count("events_sent_total", "Events that a webhook, or the stream event.>, has taken.", func(c events.Count) uint64 { return c.Sent }),
		count("events_failed_total", "Events that were not taken by an attempt.", func(c events.Count) uint64 { return c.Failed }),
		count("events_passed_over_total", "Events given up for their age.", func(c events.Count) uint64 { return c.Passed }),
		count("events_missed_total", "Entries of the journal that were gone before they were sent.", func(c events.Count) uint64 { return c.Missed }),
		gauge("events_behind", "Entries of the journal that are not sent yet, each of one or more events.", func(s events.Status) float64 { return float64(s.Behind) }),
		gauge("events_oldest_seconds", "Age of the first event that is not taken; 0: there is none.", func(s events.Status) float64 { return age(s.Oldest) }),
		gauge("events_failing_seconds", "How long each attempt has failed; 0: the last has not.", func(s events.Status) float64 { return age(s.Failing) }),
		gauge("events_given_up", "1 where nothing is sent any more, as the receiver has answered 410.", func(s events.Status) float64 { return float64(min(len(s.GivenUp), 1)) }),
	}
}

// age is how long ago something was, in seconds; zero where it never was.
func age(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return max(time.Since(at), 0).Seconds()
}
