package app

import (
	"bytes"
	"context"
	"slices"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
)

// history is what became of messages: the journal for those that have ended, the
// stages for those on their way.
type history struct{ app *App }

// maxOutcomes bounds what is told about one id. An address may have more; the
// latest are told.
const maxOutcomes = 1000

// Message returns the outcomes of the messages that id names.
func (h history) Message(ctx context.Context, id string) ([]admin.Outcome, error) {
	ended, err := h.ended(ctx, id)
	if err != nil {
		return nil, err
	}
	open, err := h.open(ctx, id)
	if err != nil {
		return nil, err
	}
	// What is on its way again, revived by an operator, has a record of its death.
	ended = slices.DeleteFunc(ended, func(e admin.Outcome) bool {
		return slices.ContainsFunc(open, func(o admin.Outcome) bool { return o.ID == e.ID && o.JID == e.JID })
	})
	all := append(ended, open...)
	slices.SortStableFunc(all, func(a, b admin.Outcome) int { return a.Accepted.Compare(b.Accepted) })
	return all[max(0, len(all)-maxOutcomes):], nil
}

// ended reads the journal: by queue id, else for what else may name a message.
func (h history) ended(ctx context.Context, id string) ([]admin.Outcome, error) {
	records, err := h.app.broker.Records(ctx, id, "", time.Time{}, maxOutcomes)
	if err == nil && len(records) == 0 {
		records, err = h.search(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	var all []admin.Outcome
	for _, r := range records {
		o, err := custody.DecodeOutcome(r.Data)
		if err != nil || o.End == custody.Deferred { // of another version, or told by what waits
			continue
		}
		all = append(all, admin.Outcome{
			ID: string(o.ID), StanzaID: o.StanzaID, MessageID: o.MessageID, From: o.From, To: o.To.Address, JID: o.Address,
			Outcome: string(o.End), Proof: o.Proof, Reason: o.Why, Part: o.Part, Listener: o.Listener, Node: o.Node,
			Accepted: o.Accepted, Ended: o.Ended, Attempts: o.Attempts,
		})
	}
	return all, nil
}

// search reads the whole journal for a Message-ID, a stanza id or an address.
func (h history) search(ctx context.Context, id string) (found []broker.Record, err error) {
	const page = 1024
	bare := bareOf(id)
	type copied struct{ id, recipient string }
	known := make(map[copied]int)
	for since := (time.Time{}); ; {
		some, err := h.app.broker.Records(ctx, "", "", since, page)
		if err != nil {
			return nil, err
		}
		for _, r := range some {
			if r.Recipient == bare || bareOf(r.Recipient) == bare || bytes.Contains(r.Data, []byte(id)) && h.names(r, id) {
				if i, ok := known[copied{r.ID, r.Recipient}]; ok {
					found[i] = r // in place of the earlier one
					continue
				}
				known[copied{r.ID, r.Recipient}] = len(found)
				found = append(found, r)
			}
		}
		if len(some) < page {
			return found, nil
		}
		since = some[len(some)-1].At.Add(1)
	}
}

func (h history) names(r broker.Record, id string) bool {
	o, err := custody.DecodeOutcome(r.Data)
	return err == nil && (o.StanzaID == id || o.MessageID == id)
}

// open reads the stages.
func (h history) open(ctx context.Context, id string) ([]admin.Outcome, error) {
	states, err := h.app.routes.Load(ctx, nil)
	if err != nil {
		return nil, err
	}
	f := admin.QueueFilter{ID: id}
	if j, err := jid.Parse(id); err == nil && j.Local() != "" {
		f = admin.QueueFilter{Recipient: j.Bare().String()}
	}
	var found []queued
	for _, stage := range []broker.Stage{broker.Ingest, broker.Deliver, broker.Park} {
		if found, err = h.in(ctx, stage, f, states, found); err != nil {
			return nil, err
		}
	}
	if f.Recipient != "" && len(found) == 0 { // a Message-ID looks like an address
		f = admin.QueueFilter{ID: id}
		for _, stage := range []broker.Stage{broker.Ingest, broker.Deliver, broker.Park} {
			if found, err = h.in(ctx, stage, f, states, found); err != nil {
				return nil, err
			}
		}
	}
	all := make([]admin.Outcome, len(found))
	for i, m := range found {
		all[i] = admin.Outcome{ID: m.ID, StanzaID: m.StanzaID, MessageID: m.rec.MessageID, From: m.From, To: m.To, JID: m.JID, Outcome: "deferred",
			Reason: m.Reason, Part: m.rec.Part, Listener: m.rec.Listener, Accepted: m.Accepted, Attempts: m.Attempts, Next: m.Next}
		if m.stage != broker.Park {
			all[i].Outcome = "waiting"
		}
	}
	return all, nil
}

func (h history) in(ctx context.Context, stage broker.Stage, f admin.QueueFilter, states map[string]store.RouteState, found []queued) ([]queued, error) {
	return queue(h).read(ctx, stage, f.Recipient, f, states, found)
}
