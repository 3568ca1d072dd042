package delivery

import (
	"context"
	"errors"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// tellDeferred writes into the journal that a message begins to wait, where somebody
// wants to hear of it, so that it becomes an event.
//
// Only the first time is told: who is absent for a week has his messages tried again
// hundreds of times, each of which says what the first has said, and what the receiver
// acts upon is that it began and how it ended. The mark in the message's record keeps it
// from being told again, also where its e-mail takes its place and waits too. A crash
// between the two tells it again, under the same id.
//
// It is written before the message is parked, and not with the acknowledgement of its
// source as ends are: from then on it may be delivered at any time, and the end must come
// after. The route's mutex is held.
func (dl *Delivery) tellDeferred(ctx context.Context, rt *route, rec *custody.Record, d *broker.Delivery, reason string) error {
	if dl.o.Deferrals == nil || rec.Deferred || !dl.o.Deferrals() {
		return nil
	}
	out := dl.outcome(*rec, d, custody.Deferred)
	out.Why, out.Next = reason, dl.nextTry(rt)
	err := dl.broker.Record(ctx, journal(out))
	if errors.Is(err, broker.ErrInvalid) {
		dl.log.Error().Err(err).Str("id", string(rec.ID)).Msg("nobody hears that it waits")
		err = nil
	}
	rec.Deferred = err == nil
	return err
}

// nextTry is when a route is tried again at the latest; zero where that is not a matter
// of time: its recipient has to come back, or an operator to release it.
func (dl *Delivery) nextTry(rt *route) time.Time {
	there := dl.reachableLocally(rt)
	if dl.held(rt) || dl.serves(rt.domain()) && !there {
		return time.Time{}
	}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	if rt.place > 0 {
		return rt.Next.UTC()
	}
	return time.Now().Add(dl.firstPause(rt, there)).UTC()
}
