package delivery

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/custody"
)

// lookUps is how many messages the owner of a slice looks up in the journal at
// most: a former one had no more of them in its hands. What is behind those in a
// long queue was never sent.
const lookUps = 16384

// endedBefore says how a former owner has ended a message for which the journal
// has a record, empty where it has not: it died between that and the acknowledgement.
// A journal that cannot be read makes a copy, under the same stanza id, and never a loss.
func (dl *Delivery) endedBefore(ctx context.Context, d *broker.Delivery, rec custody.Record) custody.End {
	if !d.Redelivered || d.Attempt > 1 {
		return ""
	}
	o := dl.ownerOf(d.Route)
	if o == nil || o.lookedUp.Add(1) > lookUps {
		return ""
	}
	end, at, err := o.former.ended(ctx, dl.broker, string(rec.ID), rec.Name(), d.Stored)
	if n := o.former.unreadable(); n > 0 {
		dl.log.Warn().Int("records", n).Msg("records of the journal cannot be read: what they are about may be delivered again")
	}
	if err != nil {
		dl.log.Warn().Err(err).Str("id", string(rec.ID)).Msg("not known whether it was delivered before")
		return ""
	}
	if !at.After(rec.Revived) {
		return "" // one that was revived has the record of its death until it ends again
	}
	return end
}

// former are the ends that former owners of a slice have recorded: of messages that
// were delivered, relayed or diverted, or dropped by an operator. To look up one takes the journal as
// long as reading all of them, so they are read when the first is asked for. The
// zero value is ready.
type former struct {
	mu          sync.Mutex
	since       time.Time // the first that was read; zero: none
	ends, older ends      // the newest, and those before them
	most        int       // in each; zero: maxEnds
	bad         int       // records of which nobody was told yet that they cannot be read
}

// ends are when messages ended, in nanoseconds since 1970, by endKey; less than zero:
// when they were diverted.
type ends map[[16]byte]int64

// The journal is read in pages of so many records, and from so long before a message
// was stored: the clocks of a cluster's servers differ. Of what it tells the newest are
// remembered, twice maxEnds at the most, some 40 MB: what a former owner has recorded and
// not acknowledged stands at the end of what he has recorded.
const (
	endPage = 4096
	skew    = time.Minute
	maxEnds = 1 << 18
)

// ended is how and when a message ended that was stored at a time, before which it cannot
// have; empty: it has not. Diverted is told from the others, which are all Delivered.
func (f *former) ended(ctx context.Context, b Broker, id, recipient string, stored time.Time) (custody.End, time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if since := stored.Add(-skew); f.since.IsZero() || since.Before(f.since) {
		if err := f.read(ctx, b, since); err != nil {
			return "", time.Time{}, err
		}
	}
	key := endKey(id, recipient)
	for _, e := range []ends{f.ends, f.older} {
		switch ns, ok := e[key]; {
		case ok && ns < 0:
			return custody.Diverted, time.Unix(0, -ns), nil
		case ok:
			return custody.Delivered, time.Unix(0, ns), nil
		}
	}
	return "", time.Time{}, nil
}

// unreadable is how many records it has met since it was asked last that it could not read.
func (f *former) unreadable() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.bad
	f.bad = 0
	return n
}

// read reads the journal from since on.
func (f *former) read(ctx context.Context, b Broker, since time.Time) error {
	newest, older := make(ends), ends(nil)
	for from := since; ; {
		page, err := b.Records(ctx, "", "", from, endPage)
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		for _, r := range page {
			out, err := custody.DecodeOutcome(r.Data)
			if err != nil {
				f.bad++
				continue
			}
			ended := out.Ended.UnixNano()
			switch out.End {
			case custody.Diverted:
				ended = -ended
				fallthrough
			case custody.Delivered, custody.Dropped, custody.Relayed:
				if len(newest) >= cmp.Or(f.most, maxEnds) {
					newest, older = make(ends), newest
				}
				newest[endKey(r.ID, r.Recipient)] = ended
			default: // in place of an earlier one
				delete(newest, endKey(r.ID, r.Recipient))
				delete(older, endKey(r.ID, r.Recipient))
			}
		}
		if len(page) < endPage {
			f.since, f.ends, f.older = since, newest, older
			return nil
		}
		from = page[len(page)-1].At.Add(1)
	}
}

// endKey stands for a message and its recipient, in less memory than they take.
func endKey(id, recipient string) (key [16]byte) {
	sum := sha256.Sum256([]byte(id + "\x00" + recipient))
	copy(key[:], sum[:])
	return key
}
