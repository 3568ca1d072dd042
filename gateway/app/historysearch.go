package app

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/custody"
)

// A search looks at so many messages of the journal, and of the stages, before it answers
// with what it has found: a second's work.
const (
	maxScanned = 400_000
	maxWalked  = 50_000
)

// cursor is how far a search has come: in the journal, or behind it in a stage. The zero
// value is the beginning.
type cursor struct {
	at    time.Time    // in the journal
	stage broker.Stage // empty: in the journal
	seq   uint64       // in the stage
}

// String is the next of an answer.
func (c cursor) String() string {
	if c.stage == "" {
		return "ended." + strconv.FormatInt(c.at.UnixNano(), 36)
	}
	return string(c.stage) + "." + strconv.FormatUint(c.seq, 36)
}

// readCursor is the reverse of String; empty is the beginning.
func readCursor(s string) (c cursor, err error) {
	if s == "" {
		return c, nil
	}
	where, n, _ := strings.Cut(s, ".")
	place, err := strconv.ParseInt(n, 36, 64)
	switch {
	case err != nil || place < 0:
		return c, admin.ErrAfter
	case where == "ended":
		return cursor{at: time.Unix(0, place)}, nil
	case slices.Contains(stagesUnderWay, broker.Stage(where)):
		return cursor{stage: broker.Stage(where), seq: uint64(place)}, nil
	}
	return c, fmt.Errorf("%w: %q", admin.ErrAfter, where)
}

// Messages returns the messages that f selects.
func (h history) Messages(ctx context.Context, f admin.MessageFilter, limit int, after string) (found []admin.Outcome, next string, err error) {
	from, err := readCursor(after)
	if err != nil {
		return nil, "", err
	}
	s := newSelection(f)
	if from.stage == "" {
		var more bool
		if found, from, more, err = h.past(ctx, s, limit, from); err != nil || more {
			return found, from.String(), err
		}
	}
	if f.Outcome != "" && custody.End(f.Outcome).Final() {
		return found, "", nil
	}
	walked, full := 0, false
	behind := from
	err = h.walk(ctx, "", from, func(m underWay, place cursor) bool {
		if walked++; len(found) == limit || walked > maxWalked {
			full = true
			return false
		}
		behind = place
		if s.open(m) {
			found = append(found, m.told())
		}
		return true
	})
	if err != nil || !full {
		return found, "", err
	}
	return found, behind.String(), nil
}

// past searches the journal. more says that there may be more of it behind the place.
func (h history) past(ctx context.Context, s selection, limit int, from cursor) (found []admin.Outcome, behind cursor, more bool, err error) {
	over := cursor{stage: stagesUnderWay[0]}
	if s.Outcome != "" && !custody.End(s.Outcome).Final() {
		return nil, over, false, nil
	}
	since := from.at
	if s.Since.After(since) {
		since = s.Since
	}
	var page []broker.Record
	scanned := 0
	last := make(map[[2]string]time.Time) // of those that may have another end by now
	err = h.app.broker.Scan(ctx, since, func(r broker.Record) bool {
		if scanned++; scanned > maxScanned {
			more = true
			return false
		}
		key := [2]string{r.ID, r.Recipient}
		if _, ok := last[key]; ok {
			last[key] = r.At
		}
		if more {
			return len(last) > 0 // only to see which of the page have another end
		}
		if !s.may(r) {
			behind.at = r.At.Add(1)
			return true
		}
		if len(page) == limit {
			more = true
			return len(last) > 0
		}
		behind.at = r.At.Add(1)
		page = append(page, r)
		if h.mayEndAgain(r) {
			last[key] = r.At
		}
		return true
	})
	if err != nil {
		return nil, behind, false, err
	}
	for _, r := range page {
		if at, ok := last[[2]string{r.ID, r.Recipient}]; !ok || at.Equal(r.At) {
			o, _ := custody.DecodeOutcome(r.Data) // s has read it
			found = append(found, told(o))
		}
	}
	if !more {
		return found, over, false, nil
	}
	return found, behind, true, nil
}

// mayEndAgain says whether another record may take the place of one: its message may be sent
// on its way again by an operator, or be sent back by another server.
func (h history) mayEndAgain(r broker.Record) bool {
	o, err := custody.DecodeOutcome(r.Data)
	switch {
	case err != nil:
		return false
	case o.End == custody.Delivered:
		return !h.app.router.Serves(custody.DomainOf(bareOf(o.Address)))
	}
	return o.End == custody.Failed || o.End == custody.Expired
}

// selection is a filter that is ready for use.
type selection struct {
	admin.MessageFilter
	from, to string // in lower case
	bare     string // to, as a JID
}

func newSelection(f admin.MessageFilter) selection {
	return selection{f, strings.ToLower(f.From), strings.ToLower(f.To), bareOf(f.To)}
}

// may says whether s selects the message of a record.
func (s *selection) may(r broker.Record) bool {
	if s.Outcome != "" && !bytes.Contains(r.Data, []byte(`"end":"`+string(s.Outcome)+`"`)) {
		return false // most are not even read
	}
	o, err := custody.DecodeOutcome(r.Data)
	if err != nil || !o.End.Final() || s.Outcome != "" && o.End != custody.End(s.Outcome) {
		return false
	}
	return (s.Since.IsZero() || !o.Ended.Before(s.Since)) && s.holds(&o.Record, o.Address)
}

// open says whether s selects a message on its way.
func (s *selection) open(m underWay) bool {
	return (s.Outcome == "" || s.Outcome == m.told().Outcome) && s.holds(&m.rec, m.rec.Recipient())
}

func (s *selection) holds(r *custody.Record, recipient string) bool {
	return (s.Until.IsZero() || r.Accepted.Before(s.Until)) &&
		(s.Domain == "" || custody.DomainOf(bareOf(recipient)) == s.Domain || strings.EqualFold(custody.DomainOf(r.To.Address), s.Domain)) &&
		(s.from == "" || strings.ToLower(r.From) == s.from || strings.ToLower(r.Author) == s.from || strings.ToLower(bareOf(r.Author)) == s.from) &&
		(s.to == "" || strings.ToLower(r.To.Address) == s.to || isFor(recipient, s.bare))
}
