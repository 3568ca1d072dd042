package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// warnPage is how many waiting messages are read at once to find whose authors are to hear
// that they wait.
const warnPage = 256

// warnable says when the author of a message hears that it waits (RFC 3461 §4.1, DELAY);
// zero: never, because he has not asked, or the domain does not want it.
func (dl *Delivery) warnable(rec custody.Record) time.Time {
	after := dl.o.Outgoing(rec.Domain()).DelayWarning
	if dl.o.Reporter == nil || after <= 0 || !rec.Wants("DELAY") {
		return time.Time{}
	}
	return rec.Accepted.Add(after)
}

// expectWarning notes that a message waits whose author may have to hear of it.
func (dl *Delivery) expectWarning(rt *route, rec custody.Record) {
	at := dl.warnable(rec)
	if at.IsZero() {
		return
	}
	dl.mu.Lock()
	defer dl.mu.Unlock()
	if rt.Warn.IsZero() || at.Before(rt.Warn) {
		rt.Warn = at
	}
}

// warn tells the authors of those messages of a route that have waited for long, once for
// each: the position of the last one is in the route's state. The route's mutex is held.
func (dl *Delivery) warn(ctx context.Context, rt *route) {
	dl.mu.Lock()
	at, warned, reason := rt.Warn, rt.Warned, rt.Reason
	dl.mu.Unlock()
	now := time.Now()
	if at.IsZero() || now.Before(at) {
		return
	}
	next, warned, err := dl.warnAfter(ctx, rt.name, warned, now, reason)
	if err != nil {
		dl.log.Warn().Err(err).Str("route", rt.name).Msg("authors not told that their messages wait, trying again")
		next = now.Add(dl.o.Outgoing(rt.domain()).RetryInterval)
	}
	dl.mu.Lock()
	rt.Warn, rt.Warned = next, warned
	dl.mu.Unlock()
}

// warnAfter tells the authors of messages behind a position. It returns when the next is to
// be told, and the position of the last one that needs no telling any more.
func (dl *Delivery) warnAfter(ctx context.Context, name string, warned uint64, now time.Time, reason string) (next time.Time, _ uint64, err error) {
	for from := warned + 1; from > 0; {
		var page []broker.Peeked
		page, from, err = dl.broker.Peek(ctx, broker.Park, name, from, warnPage)
		if err != nil {
			return time.Time{}, warned, fmt.Errorf("read what waits: %w", err)
		}
		for i := range page {
			d := &page[i].Delivery
			rec, bad := custody.Read(d)
			if bad != nil {
				continue // whoever is to deliver it says so
			}
			at := dl.warnable(rec)
			if at.After(now) {
				return at, warned, nil // what came later is told later
			}
			if !at.IsZero() {
				if err := dl.warnAuthor(ctx, rec, d, reason); err != nil {
					return time.Time{}, warned, err
				}
			}
			warned = d.Seq
		}
	}
	return time.Time{}, warned, nil
}

// warnAuthor tells who sent a message that it waits.
func (dl *Delivery) warnAuthor(ctx context.Context, rec custody.Record, d *broker.Delivery, reason string) error {
	if reason == "" {
		reason = rec.Reason
	}
	reports := dl.o.Reporter.Delayed(custody.Letter{Record: rec, Key: d.ID, Body: d.Body}, errors.New(reason), dl.deadline(rec))
	if len(reports) == 0 {
		return nil
	}
	if err := dl.broker.Store(ctx, reports...); err != nil {
		return fmt.Errorf("report of a delay: %w", err)
	}
	dl.log.Info().Str("id", string(rec.ID)).Str("to", rec.To.Address).Msg("author told that the message waits")
	return nil
}
