package admin

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// What of the queue and of the servers Live tells at most.
const (
	maxLiveDomains = 50
	maxLiveRoutes  = 20 // of one domain
	maxLiveServers = 100
)

// LiveQueue is what waits, by domain, the one with the oldest message first.
type LiveQueue struct {
	Read     time.Time     `json:"read"` // when; in a large queue that is not every second
	Problem  string        `json:"problem,omitempty"`
	Deferred int           `json:"deferred"` // messages, like Held
	Held     int           `json:"held"`
	Oldest   time.Time     `json:"oldest,omitzero"`
	Domains  []QueueDomain `json:"domains"`
	More     int           `json:"more,omitempty"` // domains that are left out
}

// QueueDomain is what waits for the recipients of a domain.
type QueueDomain struct {
	Domain   string       `json:"domain"`
	Hold     bool         `json:"hold"`     // the domain itself is held, with all its recipients
	Deferred int          `json:"deferred"` // messages, like Held
	Held     int          `json:"held"`
	Oldest   time.Time    `json:"oldest,omitzero"`
	Next     time.Time    `json:"next,omitzero"` // the first attempt that is planned
	Reason   string       `json:"reason,omitempty"`
	Routes   []QueueRoute `json:"routes"`
	More     int          `json:"more,omitempty"` // routes that are left out
}

// liveQueue is what was read last. Whoever has the turn of live may use it.
type liveQueue struct {
	last *LiveQueue
	next time.Time // not read again before
}

const (
	queueTime  = 5 * time.Second // longest that reading the queue may take
	queueShare = 10              // of the time, one part goes to reading it
)

// waiting reads the queue, or returns what was read last: a queue of a hundred thousand
// recipients takes seconds to list, which the broker needs for them.
func (s *Server) waiting(ctx context.Context, now time.Time) *LiveQueue {
	q := &s.live.queue
	if q.last != nil && now.Before(q.next) {
		return q.last
	}
	short, cancel := context.WithTimeout(ctx, queueTime)
	defer cancel()
	routes, err := s.o.Overview.Waiting(short)
	found := byDomain(routes)
	found.Read = now
	switch {
	case ctx.Err() != nil:
		return found // nobody sees it
	case err != nil:
		found.Problem = "the queue cannot be read now"
		if q.last == nil || q.last.Problem == "" {
			s.o.Log.Error().Err(err).Msg("queue")
		}
	}
	q.last, q.next = found, now.Add(queueShare*time.Since(now))
	return found
}

// byDomain groups routes.
func byDomain(routes []QueueRoute) *LiveQueue {
	all := &LiveQueue{Domains: []QueueDomain{}}
	slices.SortStableFunc(routes, byAge)
	index := make(map[string]int)
	for _, r := range routes {
		i, known := index[r.Domain]
		if !known {
			i = len(all.Domains)
			index[r.Domain] = i
			all.Domains = append(all.Domains, QueueDomain{Domain: r.Domain, Routes: []QueueRoute{}})
		}
		all.Domains[i].add(r)
		if r.State == Held {
			all.Held += r.Messages
		} else {
			all.Deferred += r.Messages
		}
		all.Oldest = earlier(all.Oldest, r.waitsSince())
	}
	all.More = max(0, len(all.Domains)-maxLiveDomains)
	all.Domains = all.Domains[:len(all.Domains)-all.More]
	return all
}

// add adds a route, later ones with younger messages.
func (d *QueueDomain) add(r QueueRoute) {
	if r.State == Held {
		d.Held += r.Messages
		d.Hold = d.Hold || r.Route == d.Domain
	} else {
		d.Deferred += r.Messages
	}
	d.Oldest, d.Next = earlier(d.Oldest, r.waitsSince()), earlier(d.Next, r.Next)
	d.Reason = cmp.Or(d.Reason, r.Reason)
	if len(d.Routes) == maxLiveRoutes {
		d.More++
		return
	}
	d.Routes = append(d.Routes, r)
}

// waitsSince is the acceptance of the oldest message, and zero where there is none: a
// hold has a time too.
func (r QueueRoute) waitsSince() time.Time {
	if r.Messages == 0 {
		return time.Time{}
	}
	return r.Oldest
}

// earlier is the first of two moments of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// worstServers are those that cannot be reached, those that something is wrong with, and
// then the others; more is how many there is no room for.
func worstServers(all []ServerStream) (worst []ServerStream, more int) {
	trouble := func(s ServerStream) int {
		switch {
		case s.State.State == "waiting":
			return 0
		case s.State.State == "open":
			return 2
		}
		return 1
	}
	worst = slices.Clone(all)
	slices.SortStableFunc(worst, func(a, b ServerStream) int { return cmp.Compare(trouble(a), trouble(b)) })
	more = max(0, len(worst)-maxLiveServers)
	return worst[:len(worst)-more], more
}
