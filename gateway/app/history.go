package app

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/delivery"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/mcmt"
)

// history is what became of messages: the journal for those that have ended, the
// stages for those on their way.
type history struct{ app *App }

// maxOutcomes bounds what is told about one id. An address may have more; the
// latest are told.
const maxOutcomes = 1000

// Message returns the outcomes of the messages that id names.
func (h history) Message(ctx context.Context, id string) ([]admin.Outcome, error) {
	if ended, err := h.quick(ctx, id); len(ended) > 0 || err != nil {
		return merged(ended, nil), err
	}
	// The stages first: what ends meanwhile is found in the journal.
	open, err := h.open(ctx, id)
	if err != nil {
		return nil, err
	}
	ended, err := h.ended(ctx, id)
	if err != nil {
		return nil, err
	}
	all := merged(ended, open)
	return all[max(0, len(all)-maxOutcomes):], nil
}

// merged are the outcomes of what has ended and of what is under way, the oldest first.
func merged(ended []custody.Outcome, open []underWay) (all []admin.Outcome) {
	for _, e := range ended {
		// What is on its way again, revived by an operator, has a record of its death.
		again := slices.ContainsFunc(open, func(o underWay) bool {
			return o.rec.ID == e.ID && o.rec.Name() == e.Name() && !e.Ended.After(o.rec.Revived)
		})
		if !again && e.End.Final() {
			all = append(all, told(e))
		}
	}
	for _, o := range open {
		over := slices.ContainsFunc(ended, func(e custody.Outcome) bool {
			return o.rec.ID == e.ID && o.rec.Name() == e.Name() && e.End.Final() && e.Ended.After(o.rec.Revived)
		})
		if !over {
			all = append(all, o.told())
		}
	}
	slices.SortStableFunc(all, func(a, b admin.Outcome) int { return a.Accepted.Compare(b.Accepted) })
	return all
}

// clockSkew is how far apart the clocks of a cluster's servers may be.
const clockSkew = time.Minute

// quickTime is how long after its acceptance a message has mostly ended.
const quickTime = 10 * time.Minute

// since is before what the journal can have of a queue id, which holds the time of
// acceptance; zero for any other. Those of reports look alike and hold none: mostly one in
// the far future.
func since(id string) time.Time {
	if at, ok := mcmt.ID(id).Time(); ok && at.Before(time.Now()) {
		return at.Add(-clockSkew)
	}
	return time.Time{}
}

// quick finds a message by its queue id where it is most likely; none: it is to be looked
// for everywhere.
func (h history) quick(ctx context.Context, id string) ([]custody.Outcome, error) {
	from := since(id)
	if from.IsZero() {
		return nil, nil
	}
	records, err := h.app.broker.Find(ctx, id, from, from.Add(quickTime), final)
	if err != nil || !final(records) {
		return nil, err
	}
	return decoded(records), nil
}

// ended reads the journal: by queue id, else for what else may name a message.
func (h history) ended(ctx context.Context, id string) ([]custody.Outcome, error) {
	records, err := h.app.broker.Find(ctx, id, since(id), time.Time{}, final)
	if err == nil && len(records) == 0 {
		records, err = h.search(ctx, id, since(id))
	}
	return decoded(records), err
}

func decoded(records []broker.Record) (all []custody.Outcome) {
	for _, r := range records {
		if o, err := custody.DecodeOutcome(r.Data); err == nil { // else it is of another version
			all = append(all, o)
		}
	}
	return all
}

// final says whether records are all that there will be of a submission: as many as it had
// recipients, each of an end that nothing takes the place of. A delivery may be sent back, but
// then its record has gone by itself and was found before.
func final(found []broker.Record) bool {
	want := 0
	ends := make(map[string]bool)
	for _, r := range found {
		o, err := custody.DecodeOutcome(r.Data)
		if err != nil || !o.Steps.Whole() {
			return false
		}
		switch o.End {
		case custody.Delivered, custody.Filtered, custody.Relayed, custody.Dropped:
		default:
			return false
		}
		want = max(want, o.Of, 1)
		ends[r.Recipient] = true
	}
	return want > 0 && len(ends) >= want
}

// search reads the journal from since on for a Message-ID, a stanza id or an address.
func (h history) search(ctx context.Context, id string, since time.Time) (found []broker.Record, err error) {
	bare := bareOf(id)
	type copied struct{ id, recipient string }
	known := make(map[copied]int)
	err = h.app.broker.Scan(ctx, since, func(r broker.Record) bool {
		if !isFor(r.Recipient, bare) && !(bytes.Contains(r.Data, []byte(id)) && names(r, id)) {
			return true
		}
		key := copied{r.ID, r.Recipient}
		if i, ok := known[key]; ok {
			found[i] = r // in place of the earlier one
			return true
		}
		known[key] = len(found)
		found = append(found, r)
		return true
	})
	return found[max(0, len(found)-maxOutcomes):], err
}

// isFor says whether a recipient of the journal is somebody, by bare JID or mail address.
func isFor(recipient, bare string) bool {
	if address, ok := strings.CutPrefix(recipient, "mailto:"); ok {
		return strings.EqualFold(address, bare)
	}
	if !strings.HasPrefix(recipient, bare) {
		return false
	}
	rest := recipient[len(bare):]
	return rest == "" || rest[0] == '/'
}

func names(r broker.Record, id string) bool {
	o, err := custody.DecodeOutcome(r.Data)
	return err == nil && (o.StanzaID == id || o.MessageID == id || strings.EqualFold(o.To.Address, id))
}

// underWay is a message in a stage.
type underWay struct {
	rec   custody.Record
	stage broker.Stage
	route string
	state admin.QueueState // in PARK
	store.RouteState
}

// stagesUnderWay are those that hold messages on their way, in its order.
var stagesUnderWay = []broker.Stage{broker.Ingest, broker.Deliver, broker.Mail, broker.Park}

// open reads the stages for what id names: where that looks like an address, those for it
// before all others, as a Message-ID looks so too.
func (h history) open(ctx context.Context, id string) (found []underWay, err error) {
	if strings.Contains(id, "@") {
		for _, route := range []string{bareOf(id), custody.MailRoute(id)} {
			some, err := h.openOn(ctx, id, route)
			if err != nil {
				return nil, err
			}
			found = append(found, some...)
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	return h.openOn(ctx, id, "")
}

// openOn is open for one route; empty: all.
func (h history) openOn(ctx context.Context, id, route string) (found []underWay, err error) {
	bare := bareOf(id)
	seen := make(map[string]int)
	err = h.walk(ctx, route, cursor{stage: stagesUnderWay[0]}, func(m underWay, _ cursor) bool {
		r := &m.rec
		if string(r.ID) != id && r.StanzaID != id && r.MessageID != id && !isFor(r.Recipient(), bare) && !strings.EqualFold(r.To.Address, id) {
			return true
		}
		key := string(r.ID) + "\x00" + r.Name()
		if i, ok := seen[key]; ok {
			found[i] = m // it has gone on meanwhile
			return true
		}
		seen[key] = len(found)
		found = append(found, m)
		return true
	})
	return found, err
}

// walk calls do with the messages of a route, empty: all, in the stages from a place on, and
// with the place behind each, until it returns false.
func (h history) walk(ctx context.Context, route string, from cursor, do func(m underWay, behind cursor) bool) error {
	states, err := h.app.routes.Load(ctx, nil)
	if err != nil {
		return err
	}
	const batch = 256
	for i := slices.Index(stagesUnderWay, from.stage); i >= 0 && i < len(stagesUnderWay); i++ {
		stage := stagesUnderWay[i]
		seq := uint64(0)
		if stage == from.stage {
			seq = from.seq
		}
		for {
			some, next, err := h.app.broker.Peek(ctx, stage, route, seq, batch)
			if err != nil {
				return err
			}
			for j := range some {
				if !do(h.underWay(stage, &some[j], states), cursor{stage: stage, seq: some[j].Seq + 1}) {
					return nil
				}
			}
			if seq = next; next == 0 {
				break
			}
		}
	}
	return nil
}

func (h history) underWay(stage broker.Stage, p *broker.Peeked, states map[string]store.RouteState) underWay {
	rec, err := custody.Read(&p.Delivery)
	if err != nil {
		rec = delivery.Known(rec, &p.Delivery)
	}
	m := underWay{rec: rec, stage: stage, route: p.Route}
	if stage == broker.Park {
		m.RouteState, m.state = states[p.Route], queue(h).stateOf(p.Route)
		m.rec.Steps = rec.Steps.Apart(delivery.Tried(m.RouteState, rec.Parked)...)
	}
	return m
}

// told is what an operator gets to see of a message that has ended.
func told(o custody.Outcome) admin.Outcome {
	out := outcome(o.Record, o.Timeline())
	out.JID, out.Outcome, out.Proof, out.Reason, out.Node = o.Address, admin.OutcomeKind(o.End), o.Proof, o.Why, o.Node
	out.Ended, out.Attempts = o.Ended, o.Tried()
	return out
}

// told is what an operator gets to see of a message on its way.
func (m underWay) told() admin.Outcome {
	all := m.rec.Timeline()
	out := outcome(m.rec, all)
	out.JID, out.Outcome, out.Stage, out.Attempts = m.rec.Recipient(), "waiting", string(m.stage), custody.Tries(all)
	if m.stage != broker.Park {
		return out
	}
	out.Outcome, out.Reason, out.Next, out.Attempts = admin.OutcomeKind(m.state), m.rec.Reason, m.RouteState.Next, max(out.Attempts, m.RouteState.Attempts)
	if m.RouteState.Reason != "" {
		out.Reason = m.RouteState.Reason
	}
	return out
}

func outcome(r custody.Record, all []custody.Step) admin.Outcome {
	out := admin.Outcome{
		ID: string(r.ID), StanzaID: r.StanzaID, MessageID: r.MessageID, From: r.From, Author: r.Author, To: r.To.Address, Part: r.Part,
		Listener: r.Listener, Peer: r.Peer, User: r.User, Accepted: r.Accepted, Steps: make([]admin.Step, len(all)),
	}
	for i, s := range all {
		out.Steps[i] = admin.Step{At: s.At, Step: string(s.Kind), Node: s.Node, Name: s.Name, Peer: s.Peer, Verdict: s.Verdict,
			Shadow: s.Shadow, Route: s.Route, Answer: s.Answer, Count: s.Count, Until: s.Until}
	}
	return out
}
