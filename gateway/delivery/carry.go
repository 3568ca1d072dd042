package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
)

// carryTime is the longest that one mail may take: less than a message is left to its
// handler, and more than any server needs that wants it.
const carryTime = 5 * time.Minute

// waitError says that a message is not to be sent yet, so that others can join it.
type waitError struct{ wait time.Duration }

func (e *waitError) Error() string { return fmt.Sprintf("others may join it for %s", e.wait) }

// carry is burst for mail: it sends a run of messages to one recipient in order. What a
// server has taken is proven by its answer.
func (dl *Delivery) carry(ctx context.Context, ds []*broker.Delivery) (done []broker.Disposition, proven bool, notNow error) {
	now := time.Now()
	for len(done) < len(ds) {
		run, out, ended := dl.letters(ctx, ds[len(done):], now)
		if ended {
			if done = append(done, out); out.Again() {
				return done, false, nil
			}
			continue
		}
		settled, err := dl.mail(ctx, run, ds[len(done):])
		if done = append(done, settled...); err != nil {
			return done, true, err
		}
		if len(settled) == 0 || settled[len(settled)-1].Again() {
			return done, false, nil
		}
	}
	return done, true, nil
}

// letters reads the messages at the beginning of ds that are to be sent; where the first
// is not, ended is true and out says what becomes of it.
func (dl *Delivery) letters(ctx context.Context, ds []*broker.Delivery, now time.Time) (run []custody.Letter, out broker.Disposition, ended bool) {
	for _, d := range ds {
		rec, err := dl.record(d)
		reason := ""
		if err == nil {
			reason = dl.outlived(rec, now)
		}
		switch {
		case err == nil && reason == "" && dl.endedBefore(ctx, d, rec) == custody.Delivered:
			out = broker.Ack()
		case err == nil && reason == "":
			run = append(run, custody.Letter{Record: rec, Key: d.ID, Body: d.Body})
			continue
		case len(run) > 0: // its turn comes
		case err != nil:
			out = dl.bury(ctx, rec, d, "unreadable: "+err.Error())
		default:
			out = dl.expire(ctx, rec, d, reason)
		}
		return run, out, len(run) == 0
	}
	return run, out, false
}

// mail sends the first of run, with what goes together with it. An error says why it
// cannot be now.
func (dl *Delivery) mail(ctx context.Context, run []custody.Letter, ds []*broker.Delivery) (done []broker.Disposition, notNow error) {
	start := time.Now()
	var carried custody.Carried
	err := guard(func() (err error) {
		ctx, cancel := context.WithTimeout(ctx, carryTime)
		defer cancel()
		carried, err = dl.o.Carrier.Carry(ctx, run)
		return err
	})
	var bug *panicError
	if errors.As(err, &bug) {
		dl.log.Error().Str("id", string(run[0].ID)).Interface("panic", bug.value).Bytes("stack", bug.stack).Msg("sending mail panicked")
	}
	if err == nil && carried.Wait > 0 {
		return nil, &waitError{carried.Wait}
	}
	var permanent interface{ Temporary() bool }
	if err != nil && (!errors.As(err, &permanent) || permanent.Temporary()) {
		return nil, err
	}
	for i := range min(max(carried.N, 1), len(run)) {
		if err == nil {
			done = append(done, dl.left(ctx, run[i].Record, ds[i], carried, time.Since(start)))
			continue
		}
		out := dl.giveUp(ctx, run[i].Record, ds[i], custody.Failed, "refused: "+err.Error(), err)
		if done = append(done, out); out.Again() {
			break
		}
	}
	return done, nil
}

// left ends a message that a mail server has taken.
func (dl *Delivery) left(ctx context.Context, rec custody.Record, d *broker.Delivery, c custody.Carried, took time.Duration) broker.Disposition {
	dl.relayed.Add(1)
	dl.trace.Emit(event(trace.Relayed, rec, trace.Event{Proof: c.Proof, Took: took, Attempt: d.Attempt}))
	reports, _ := dl.report(ctx, rec, d, custody.Ending{End: custody.Relayed, Proof: c.Proof, Reports: c.Reports})
	rec.Steps = rec.Steps.With(reported(rec.From, custody.Relayed, dl.o.Node, reports)...)
	out := dl.outcome(rec, d, custody.Relayed)
	out.Proof = c.Proof
	return settled(broker.Move(reports...), out)
}
