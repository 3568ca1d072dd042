package delivery

import (
	"context"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// lookUps is how many messages the owner of a slice looks up in the journal at
// most: a former one had no more of them in its hands. What is behind those in a
// long queue was never sent.
const lookUps = 16384

// endedBefore says whether a former owner has ended a message for which the journal
// has a record: it died between that and the acknowledgement. A journal that
// cannot be read makes a copy, under the same stanza id, and never a loss.
func (dl *Delivery) endedBefore(ctx context.Context, d *broker.Delivery, rec custody.Record) bool {
	if !d.Redelivered || d.Attempt > 1 {
		return false
	}
	if o := dl.ownerOf(d.Route); o == nil || o.lookedUp.Add(1) > lookUps {
		return false
	}
	records, err := dl.broker.Records(ctx, string(rec.ID), rec.JID.String(), time.Time{}, 1)
	if err != nil {
		dl.log.Warn().Err(err).Str("id", string(rec.ID)).Msg("not known whether it was delivered before")
		return false
	}
	for _, r := range records {
		// One that was revived has the record of its death until it ends again.
		if out, err := custody.DecodeOutcome(r.Data); err == nil && (out.End == custody.Delivered || out.End == custody.Dropped) && out.Ended.After(rec.Revived) {
			return true
		}
	}
	return false
}
