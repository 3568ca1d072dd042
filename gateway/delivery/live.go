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

// Handle delivers a run of messages of one route, or parks it when the
// recipient is away or earlier messages wait.
func (dl *Delivery) Handle(ctx context.Context, ds []*broker.Delivery) []broker.Disposition {
	rt := dl.lock(ds[0].Route)
	defer dl.unlock(rt)

	done, err := dl.alreadyParked(ctx, rt, ds)
	if err != nil {
		dl.log.Warn().Err(err).Msg("not known what is parked already, trying again")
		return nil
	}
	ds = ds[len(done):]
	if len(ds) == 0 {
		return done
	}
	waiting := rt.parked.Load() > 0
	reason, tried := "earlier messages wait", false
	switch {
	case waiting:
	case dl.held(rt):
		reason = "held by an operator"
	default:
		settled, over, err := dl.live(ctx, rt, ds)
		done, ds = append(done, settled...), ds[len(settled):]
		if over {
			return done
		}
		reason, tried = err.Error(), err != errThrottled
	}
	parked := dl.parkAll(ctx, rt, ds, reason, tried)
	if !waiting && rt.parked.Load() > 0 { // or may be: nothing else would bring it into the schedule
		dl.putOff(rt, reason)
	}
	if dl.reachableLocally(rt) {
		// Back since, or there all the while with a drain broken off: no login
		// will tell.
		dl.WakeRoute(rt.name)
	}
	return append(done, parked...)
}

// live delivers messages that nothing waits before. over says that what is missing
// is given again; else it is to be parked for the reason of the error.
func (dl *Delivery) live(ctx context.Context, rt *route, ds []*broker.Delivery) (settled []broker.Disposition, over bool, err error) {
	n, wait := dl.throttle.allow(rt.domain(), dl.o.Outgoing(rt.domain()).Throttle, len(ds))
	if n == 0 {
		if ds[0].Behind > maxBehind || wait > maxWait {
			return nil, false, errThrottled
		}
		return []broker.Disposition{broker.Retry(wait)}, true, nil
	}
	settled, err = dl.deliver(ctx, ds[:n], ds[0].Attempt > 1)
	var joined *waitError
	if errors.As(err, &joined) {
		return append(settled, broker.Retry(joined.wait)), true, nil
	}
	// It is parked only after the dead before it are stored: see alreadyParked.
	over = err == nil || ctx.Err() != nil || slices.ContainsFunc(settled, broker.Disposition.Dead)
	return settled, over, err
}

// A route that waits for the throttle of its domain keeps its messages in the
// DELIVER stage, where they take room from others, only for so many of them and
// for so long.
const (
	maxBehind = 256
	maxWait   = 5 * time.Second
)

var errThrottled = errors.New("more messages than outbound_throttle_messages allows")

// parkAll parks messages in order, as far as the store takes them. tried says that the
// first was sent.
func (dl *Delivery) parkAll(ctx context.Context, rt *route, ds []*broker.Delivery, reason string, tried bool) (done []broker.Disposition) {
	for i, d := range ds {
		step := custody.Step{Kind: custody.StepDeferred, Node: dl.o.Node, Answer: reason}
		if i == 0 && tried {
			step.Kind, step.Route = custody.StepAttempt, d.Route
		}
		out, ok := dl.park(ctx, rt, d, step)
		if !ok {
			break
		}
		rt.unsure = false
		done = append(done, out)
		if out.Dead() {
			break
		}
	}
	return done
}

// park stores d in the PARK stage; false says that d is to be given again. It
// does so itself, rather than by broker.Move, because the count of parked
// messages must be right when the route's mutex is released.
func (dl *Delivery) park(ctx context.Context, rt *route, d *broker.Delivery, step custody.Step) (broker.Disposition, bool) {
	rec, err := custody.Read(d)
	if err != nil {
		out := dl.bury(ctx, rec, d, "unreadable: "+err.Error())
		return out, !out.Again()
	}
	if why := dl.mustNotWait(ctx, d, rec); why != "" {
		return dl.filter(rec, d, why), true
	}
	step.At = time.Now()
	rec.Steps = rec.Steps.With(step)
	if err := dl.tellDeferred(ctx, rt, &rec, d, step.Answer); err != nil {
		dl.log.Warn().Err(err).Str("id", string(rec.ID)).Str("jid", rec.Recipient()).Msg("not recorded that it waits, trying again")
		return broker.Disposition{}, false
	}
	msg, err := custody.Park(d, rec, step.Answer, step.At)
	if err == nil {
		err = dl.broker.Store(ctx, msg)
	}
	switch {
	case err == nil:
		if rt.parked.Add(1) == 1 {
			rt.expires = dl.deadline(rec)
		}
		rt.anew = true
		dl.expectWarning(rt, rec)
		dl.deferred.Add(1)
		dl.trace.Emit(event(trace.Deferred, rec, trace.Event{Reason: step.Answer, Attempt: d.Attempt}))
		return broker.Ack(), true
	case errors.Is(err, broker.ErrInvalid):
		out := dl.bury(ctx, rec, d, "invalid: "+err.Error())
		return out, !out.Again()
	case !errors.Is(err, broker.ErrFull):
		// It may be in PARK all the same. To have it delivered once it must be
		// parked again, which its id makes harmless, before either copy is sent.
		rt.unsure = true
		rt.parked.Store(max(1, rt.parked.Load()))
	}
	dl.log.Warn().Err(err).Str("id", string(rec.ID)).Str("jid", rec.Recipient()).Msg("not parked, trying again")
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
	if careful && dl.o.Carrier == nil {
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
	if dl.o.Carrier != nil {
		return dl.carry(ctx, ds)
	}
	start := time.Now()
	sent := make([]outgoing, 0, len(ds))
	for _, d := range ds {
		out, err := dl.send(ctx, d, start)
		if err != nil {
			out, err = dl.late(ctx, d, start, err)
		}
		if err != nil {
			notNow = err
			break
		}
		sent = append(sent, out)
	}
	answers := ask(ctx, sent, ds[0].Backlog)
	defer answers.end()
	done = make([]broker.Disposition, 0, len(ds))
	for i, out := range sent {
		var err error
		if out.end != nil {
			if done = append(done, out.end()); done[len(done)-1].Again() {
				return done, false, nil
			}
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
			dl.log.Info().Err(err).Str("id", string(out.rec.ID)).Str("jid", out.rec.Recipient()).Int("messages", len(sent)-i).
				Msg("delivery not proven, trying again")
			custody.Note(ds[i], custody.Step{At: time.Now(), Kind: custody.StepAttempt, Node: dl.o.Node, Route: out.via(), Answer: "not proven: " + err.Error()})
			return append(done, broker.Retry(retry).Because(err)), false, nil
		}
		done = append(done, dl.arrived(ctx, out.rec, ds[i], string(proof), out.via(), time.Since(start)))
	}
	return done, true, notNow
}
