package delivery

import (
	"context"
	"errors"
	"slices"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/router"
)

// retry is the pause after a session died with stanzas unproven: time for the
// client to come back, or for its absence to be known.
const retry = 200 * time.Millisecond

// Handle delivers a run of messages of one route, or parks it when the
// recipient is away or earlier messages wait.
func (dl *Delivery) Handle(ctx context.Context, ds []*broker.Delivery) []broker.Disposition {
	name := ds[0].Route
	rt := dl.lock(name)
	defer dl.unlock(name, rt)

	done := dl.alreadyParked(name, ds)
	ds = ds[len(done):]
	if len(ds) == 0 {
		return done
	}
	reason := "earlier messages wait"
	if rt.parked.Load() == 0 {
		settled, err := dl.deliver(ctx, ds, ds[0].Attempt > 1)
		done, ds = append(done, settled...), ds[len(settled):]
		if err == nil || ctx.Err() != nil || slices.ContainsFunc(settled, broker.Disposition.Dead) {
			// What is missing is given again. It is parked only after the dead
			// before it are stored: see alreadyParked.
			return done
		}
		reason = err.Error()
	}
	for _, d := range ds {
		out, ok := dl.park(ctx, rt, d, reason)
		if !ok {
			break
		}
		rt.unsure = false
		done = append(done, out)
		if out.Dead() {
			break
		}
	}
	if dl.reachable(name) {
		// Back since, or there all the while with a drain broken off: no login
		// will tell.
		dl.wakeRoute(name)
	}
	return done
}

// park stores d in the PARK stage; false says that d is to be given again. It
// does so itself, rather than by broker.Move, because the count of parked
// messages must be right when the route's mutex is released.
func (dl *Delivery) park(ctx context.Context, rt *route, d *broker.Delivery, reason string) (broker.Disposition, bool) {
	rec, err := custody.Read(d)
	if err != nil {
		return dl.bury(rec, d, "unreadable: "+err.Error()), true
	}
	msg, err := custody.Park(d, rec, reason, time.Now())
	if err == nil {
		err = dl.broker.Store(ctx, msg)
	}
	switch {
	case err == nil:
		rt.parked.Add(1)
		dl.deferred.Add(1)
		dl.trace.Emit(event(trace.Deferred, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
		return broker.Ack(), true
	case errors.Is(err, broker.ErrInvalid):
		return dl.bury(rec, d, "invalid: "+err.Error()), true
	case !errors.Is(err, broker.ErrFull):
		// It may be in PARK all the same. To have it delivered once it must be
		// parked again, which its id makes harmless, before either copy is sent.
		rt.unsure = true
		rt.parked.Store(max(1, rt.parked.Load()))
	}
	dl.log.Warn().Err(err).Str("id", string(rec.ID)).Str("jid", rec.JID.String()).Msg("not parked, trying again")
	return broker.Disposition{}, false
}

// deliver sends a run of messages in order. It returns the dispositions of those
// that are settled, and the reason why the next one cannot be delivered now; no
// reason, but dispositions missing, asks for the rest to be given again.
//
// careful proves the first message by itself, then two, then four: a client that
// dies early each time would else get the same messages for ever, as one proof
// covers them all.
func (dl *Delivery) deliver(ctx context.Context, ds []*broker.Delivery, careful bool) (done []broker.Disposition, notNow error) {
	n := len(ds)
	if careful {
		n = 1
	}
	for proven := true; proven && notNow == nil && len(done) < len(ds); n *= 2 {
		rest := ds[len(done):]
		var settled []broker.Disposition
		settled, proven, notNow = dl.burst(ctx, rest[:min(n, len(rest))])
		done = append(done, settled...)
	}
	return done, notNow
}

// burst sends messages in order and waits once for the proof of all of them.
// proven is false where one is not: the last disposition is to try that again.
func (dl *Delivery) burst(ctx context.Context, ds []*broker.Delivery) (done []broker.Disposition, proven bool, notNow error) {
	start := time.Now()
	sent := make([]outgoing, 0, len(ds))
	for _, d := range ds {
		out, err := dl.send(ctx, d, start)
		if err != nil {
			notNow = err
			break
		}
		sent = append(sent, out)
	}
	answers := ask(ctx, sent)
	defer answers.end()
	done = make([]broker.Disposition, 0, len(ds))
	for i, out := range sent {
		var err error
		if out.dead != "" {
			done = append(done, dl.bury(out.rec, ds[i], out.dead))
			continue
		}
		proof := router.ProofAck
		if !out.had {
			proof, err = answers.about(out.sessions)
		}
		if errors.Is(err, router.ErrSuspended) {
			// The session waits for its client (XEP-0198 §5), for longer than a route
			// may stand still. When it is resumed it knows what it has had.
			return done, true, err
		}
		if err != nil {
			dl.log.Info().Err(err).Str("id", string(out.rec.ID)).Str("jid", out.rec.JID.String()).Int("messages", len(sent)-i).
				Msg("delivery not proven, trying again")
			return append(done, broker.Retry(retry).Because(err)), false, nil
		}
		dl.delivered.Add(1)
		dl.trace.Emit(event(trace.Delivered, out.rec, trace.Event{Proof: string(proof), Took: time.Since(start), Attempt: ds[i].Attempt}))
		done = append(done, broker.Ack())
	}
	return done, true, notNow
}

// bury gives a message up. What stands before the colon of the reason names its
// kind among the dead messages.
func (dl *Delivery) bury(rec custody.Record, d *broker.Delivery, reason string) broker.Disposition {
	if rec.ID == "" {
		rec.ID = unknownID(d)
	}
	dl.failed.Add(1)
	dl.trace.Emit(event(trace.Failed, rec, trace.Event{Reason: reason, Attempt: d.Attempt}))
	return broker.Term(reason)
}
