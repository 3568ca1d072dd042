package account

import (
	"context"
	"math"
	"slices"
	"time"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmlwire"
)

// end is behind every place in an archive.
const end = math.MaxUint64

// archivePage is a page of what matches a query, in the order of the archive.
type archivePage struct {
	messages []Archived
	complete bool // there is no more in the direction of the query
	// index is that of the first among all that match, negative where it is not told.
	// COMPAT slixmpp 1.8: going backwards, it takes a page that reaches to the end, by
	// index and count, for the last one that there is.
	index int
	count int // of all that match; negative: not known
}

// page finds the page that a query asks for.
func (a *Archives) page(ctx context.Context, user jid.JID, q archiveQuery) (archivePage, error) {
	most := orDefault(a.Page, 100)
	if q.max >= 0 {
		most = min(most, q.max)
	}
	if q.ids != nil {
		return a.named(ctx, user, q.ids, most)
	}
	s, err := a.span(ctx, user, q)
	if err != nil {
		return archivePage{}, err
	}
	if s.resource != "" {
		return s.search(ctx, q, most)
	}
	total, err := s.between(ctx, s.from, s.to)
	if err != nil {
		return archivePage{}, err
	}
	p := archivePage{count: total}
	from, to := s.from, s.to // where the page may lie
	switch {
	case q.last && q.before != "":
		to, err = a.place(ctx, user, q.before, 0)
	case q.hasAfter:
		from, err = a.place(ctx, user, q.after, 1)
	case q.index > 0 && q.index < total:
		// The one from which on there are as many as follow it.
		from, err = s.countingFrom(ctx, total-q.index)
	case q.index >= total && q.index > 0:
		return archivePage{}, noSuchItem // XEP-0059 §2.6
	}
	if err != nil {
		return archivePage{}, err
	}
	from, to = max(from, s.from), min(to, s.to)
	within, err := s.between(ctx, from, to)
	if err != nil {
		return archivePage{}, err
	}
	if q.last {
		p.messages, err = s.pageBefore(ctx, to, min(most, within))
		p.index = -1
	} else {
		p.messages, err = span{a: a, user: user, with: s.with, from: from, to: to}.pageFrom(ctx, from, min(most, within))
		if err == nil {
			p.index, err = s.between(ctx, s.from, from)
		}
	}
	p.complete = len(p.messages) == within
	return p, err
}

// named are the messages of some ids, in the order of the archive (§4.1.3).
func (a *Archives) named(ctx context.Context, user jid.JID, ids []string, most int) (archivePage, error) {
	p := archivePage{index: -1, count: len(ids), complete: len(ids) <= most}
	for _, id := range ids[:min(most, len(ids))] {
		m, err := a.find(ctx, user, id)
		if err != nil {
			return p, err
		}
		p.messages = append(p.messages, m)
	}
	slices.SortFunc(p.messages, func(a, b Archived) int { return int(int64(a.Seq) - int64(b.Seq)) })
	return p, nil
}

// place is that of a message, plus some. The error is item-not-found where there is no
// such message (§4.3.2).
func (a *Archives) place(ctx context.Context, user jid.JID, id string, plus uint64) (uint64, error) {
	m, err := a.find(ctx, user, id)
	return m.Seq + plus, err
}

// span is a part of an archive: what is with somebody, or with all, at the places of
// from up to to.
type span struct {
	a          *Archives
	user, with jid.JID
	resource   string // of with; empty: any
	from, to   uint64
}

// span is what the filters of a query leave.
func (a *Archives) span(ctx context.Context, user jid.JID, q archiveQuery) (span, error) {
	s := span{a: a, user: user, with: q.with.Bare(), resource: q.with.Resource(), from: 1, to: end}
	// A stamp tells microseconds only: what it names must be within the end.
	for _, limit := range []struct {
		t     time.Time
		place *uint64
	}{{q.start, &s.from}, {inclusive(q.end), &s.to}} {
		if limit.t.IsZero() {
			continue
		}
		found, _, err := a.Store.Read(ctx, user, jid.JID{}, 0, limit.t, 1)
		if err != nil {
			return s, err
		}
		*limit.place = end
		if len(found) > 0 {
			*limit.place = found[0].Seq
		}
	}
	if q.afterID != "" {
		place, err := a.place(ctx, user, q.afterID, 1)
		if err != nil {
			return s, err
		}
		s.from = max(s.from, place)
	}
	if q.beforeID != "" {
		place, err := a.place(ctx, user, q.beforeID, 0)
		if err != nil {
			return s, err
		}
		s.to = min(s.to, place)
	}
	return s, nil
}

// inclusive is the first time behind what is shown as t.
func inclusive(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Truncate(time.Microsecond).Add(time.Microsecond)
}

// following is the first message from a place on, nil for none, and how many there are
// from there on, whatever the end of the span is.
func (s span) following(ctx context.Context, from uint64) (*Archived, int, error) {
	if from == end {
		return nil, 0, nil
	}
	found, left, err := s.a.Store.Read(ctx, s.user, s.with, from, time.Time{}, 1)
	if err != nil || len(found) == 0 {
		return nil, 0, err
	}
	return &found[0], left + 1, nil
}

// between counts the messages at the places of from up to to.
func (s span) between(ctx context.Context, from, to uint64) (int, error) {
	if from >= to {
		return 0, nil
	}
	_, all, err := s.following(ctx, from)
	if err != nil {
		return 0, err
	}
	_, beyond, err := s.following(ctx, to)
	return max(0, all-beyond), err
}

// countingFrom finds the place from which on there are n messages up to the end of the
// span. The store counts, so it is found by halving, or better: the messages of one
// account are spread over the places of all.
func (s span) countingFrom(ctx context.Context, n int) (uint64, error) {
	_, beyond, err := s.following(ctx, s.to)
	if err != nil {
		return 0, err
	}
	n += beyond
	low, most, err := s.following(ctx, s.from)
	if err != nil || low == nil || most <= n {
		return s.from, err
	}
	// Of the places from lo on there are at least n, of those from hi on fewer.
	lo, hi, atLo, atHi := low.Seq, s.to, most, beyond
	if hi == end {
		last, err := s.ceiling(ctx, lo)
		if err != nil {
			return 0, err
		}
		hi = last
	}
	for half := false; hi-lo > 1; half = !half {
		mid := lo + (hi-lo)/2
		if !half {
			share := float64(atLo-n) / float64(max(1, atLo-atHi))
			mid = min(max(lo+uint64(share*float64(hi-lo)), lo+1), hi-1)
		}
		m, count, err := s.following(ctx, mid)
		switch {
		case err != nil:
			return 0, err
		case count == n:
			return mid, nil
		case count < n:
			hi, atHi = mid, count
		default:
			lo, atLo = m.Seq, count
		}
	}
	return lo, nil
}

// ceiling is a place behind the last message of the span, which has one at lo.
func (s span) ceiling(ctx context.Context, lo uint64) (uint64, error) {
	for step := uint64(1024); ; step *= 4 {
		m, _, err := s.following(ctx, lo+step)
		if err != nil || m == nil {
			return lo + step, err
		}
		lo = m.Seq
	}
}

// pageFrom is the first n messages from a place on, fewer when they are large.
func (s span) pageFrom(ctx context.Context, from uint64, n int) ([]Archived, error) {
	var page []Archived
	size := 0
	for len(page) < n && size < pageBytes {
		found, left, err := s.a.Store.Read(ctx, s.user, s.with, from, time.Time{}, n-len(page))
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			if m.Seq >= s.to || len(page) > 0 && size+len(m.XML) > pageBytes {
				return page, nil
			}
			page = append(page, m)
			size += len(m.XML)
		}
		if left == 0 || len(found) == 0 {
			break
		}
		from = found[len(found)-1].Seq + 1
	}
	return page, nil
}

// pageBefore is the last n messages before a place, fewer when they are large.
func (s span) pageBefore(ctx context.Context, to uint64, n int) ([]Archived, error) {
	if n == 0 {
		return nil, nil
	}
	s.to = min(s.to, to)
	from, err := s.countingFrom(ctx, n)
	if err != nil {
		return nil, err
	}
	var page []Archived
	size := 0
	for {
		found, left, err := s.a.Store.Read(ctx, s.user, s.with, from, time.Time{}, n)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			if m.Seq >= s.to {
				return page, nil
			}
			page = append(page, m)
			for size += len(m.XML); len(page) > 1 && (size > pageBytes || len(page) > n); page = page[1:] {
				size -= len(page[0].XML)
			}
		}
		if left == 0 || len(found) == 0 {
			return page, nil
		}
		from = found[len(found)-1].Seq + 1
	}
}

// search is the page of a query for one resource, for which the messages have to be
// looked at; how many there are is not known then.
func (s span) search(ctx context.Context, q archiveQuery, most int) (archivePage, error) {
	p := archivePage{index: -1, count: -1}
	var err error
	switch {
	case q.index > 0:
		return p, &stanza.Error{Condition: stanza.FeatureNotImplemented, Text: "no index among the messages of one resource"}
	case q.last && q.before != "":
		s.to, err = s.bound(ctx, q.before, 0, s.to, func(a, b uint64) uint64 { return min(a, b) })
	case q.hasAfter:
		s.from, err = s.bound(ctx, q.after, 1, s.from, func(a, b uint64) uint64 { return max(a, b) })
	}
	for size := 0; err == nil; {
		var found []Archived
		if q.last {
			found, err = s.pageBefore(ctx, s.to, 100)
		} else {
			found, err = s.pageFrom(ctx, s.from, 100)
		}
		if err != nil || len(found) == 0 {
			p.complete = err == nil
			return p, err
		}
		if q.last {
			slices.Reverse(found)
		}
		for _, m := range found {
			if q.last {
				s.to = m.Seq
			} else {
				s.from = m.Seq + 1
			}
			if !s.of(m) {
				continue
			}
			if len(p.messages) == most || size > pageBytes {
				return p, nil
			}
			size += len(m.XML)
			if q.last {
				p.messages = slices.Insert(p.messages, 0, m)
			} else {
				p.messages = append(p.messages, m)
			}
		}
	}
	return p, err
}

func (s span) bound(ctx context.Context, id string, plus, old uint64, pick func(a, b uint64) uint64) (uint64, error) {
	place, err := s.a.place(ctx, s.user, id, plus)
	return pick(place, old), err
}

// of says whether a message is with the resource of the span (§4.1.1).
func (s span) of(m Archived) bool {
	n := len(m.XML) + 1
	st, err := stanza.ParseBytes(m.XML, xmlwire.Limits{Bytes: n, Depth: n, Attrs: n, Children: n})
	if err != nil {
		return false
	}
	with, err := s.with.WithResource(s.resource)
	return err == nil && (st.From == with || st.To == with)
}
