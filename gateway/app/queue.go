package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/delivery"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
)

// queue is what waits and what is dead, for operators. What it reads it reads
// from the broker, wherever the messages are worked on.
type queue struct{ app *App }

// Routes lists waiting messages by route, dead ones by route and reason, and what
// is held although nothing waits for it.
func (q queue) Routes(ctx context.Context, f admin.QueueFilter) ([]admin.QueueRoute, error) {
	if f.ID != "" {
		return q.routesOf(ctx, f)
	}
	var all []admin.QueueRoute
	if f.State != admin.Dead {
		waiting, err := q.waiting(ctx)
		if err != nil {
			return nil, err
		}
		all = waiting
	}
	if f.State == "" || f.State == admin.Dead {
		dead := f
		dead.State = admin.Dead
		some, err := q.routesOf(ctx, dead)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return slices.DeleteFunc(all, func(r admin.QueueRoute) bool {
		return f.State != "" && r.State != f.State || f.Recipient != "" && r.Route != f.Recipient || f.Domain != "" && r.Domain != f.Domain ||
			!strings.Contains(r.Reason, f.Reason)
	}), nil
}

// waiting are the routes with parked messages, and those that are held.
func (q queue) waiting(ctx context.Context) ([]admin.QueueRoute, error) {
	parked, err := q.app.broker.Routes(ctx, broker.Park)
	if err != nil {
		return nil, err
	}
	states, err := q.app.routes.Load(ctx, nil)
	if err != nil {
		return nil, err
	}
	all := make([]admin.QueueRoute, 0, len(parked))
	for name, n := range parked {
		s := states[name]
		all = append(all, admin.QueueRoute{Route: name, Domain: custody.DomainOf(name), State: q.stateOf(name), Messages: n,
			Oldest: s.First, Attempts: s.Attempts, Next: s.Next, FirstFailure: s.First, Reason: s.Reason})
	}
	for _, h := range q.app.holds.List() {
		if _, there := parked[h.Name]; !there {
			all = append(all, admin.QueueRoute{Route: h.Name, Domain: custody.DomainOf(h.Name), State: admin.Held, Oldest: h.Since})
		}
	}
	return all, nil
}

// routesOf groups the messages that f selects.
func (q queue) routesOf(ctx context.Context, f admin.QueueFilter) ([]admin.QueueRoute, error) {
	found, err := q.find(ctx, f)
	if err != nil {
		return nil, err
	}
	byRoute := make(map[[3]string]*admin.QueueRoute)
	var all []admin.QueueRoute
	for _, m := range found {
		key := [3]string{m.route, string(m.State), m.Reason}
		if byRoute[key] == nil {
			byRoute[key] = &admin.QueueRoute{Route: m.route, Domain: custody.DomainOf(m.route), State: m.State, Oldest: m.Accepted,
				Attempts: m.Attempts, Next: m.Next, Reason: m.Reason}
		}
		r := byRoute[key]
		r.Messages++
		if m.Accepted.Before(r.Oldest) {
			r.Oldest = m.Accepted
		}
	}
	for _, r := range byRoute {
		all = append(all, *r)
	}
	return all, nil
}

// Messages lists messages, those accepted first before the others.
func (q queue) Messages(ctx context.Context, f admin.QueueFilter, limit int) ([]admin.QueueMessage, error) {
	found, err := q.find(ctx, f)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b queued) int { return a.Accepted.Compare(b.Accepted) })
	out := make([]admin.QueueMessage, min(limit, len(found)))
	for i := range out {
		out[i] = found[i].QueueMessage
	}
	return out, nil
}

// queued is a message with where it lies.
type queued struct {
	admin.QueueMessage
	rec   custody.Record
	route string
	stage broker.Stage
	seq   uint64
}

// maxFound bounds what find returns: more is work for a filter.
const maxFound = 100_000

var errTooMany = fmt.Errorf("more than %d messages: say more closely which", maxFound)

// find reads the messages that f selects.
func (q queue) find(ctx context.Context, f admin.QueueFilter) ([]queued, error) {
	var found []queued
	states, err := q.app.routes.Load(ctx, nil)
	if err != nil {
		return nil, err
	}
	for _, stage := range []broker.Stage{broker.Park, broker.Dead} {
		if stage == broker.Park && f.State == admin.Dead || stage == broker.Dead && f.State != "" && f.State != admin.Dead {
			continue
		}
		// Without a recipient: of all routes there are.
		if found, err = q.read(ctx, stage, f.Recipient, f, states, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (q queue) read(ctx context.Context, stage broker.Stage, route string, f admin.QueueFilter, states map[string]store.RouteState, found []queued) ([]queued, error) {
	const batch = 256
	for from := uint64(0); ; {
		some, next, err := q.app.broker.Peek(ctx, stage, route, from, batch)
		if err != nil {
			return nil, err
		}
		for i := range some {
			m := q.message(stage, &some[i], states)
			if !matches(f, m) {
				continue
			}
			if found = append(found, m); len(found) > maxFound {
				return nil, errTooMany
			}
		}
		if from = next; next == 0 {
			return found, nil
		}
	}
}

// message is what an operator sees of p.
func (q queue) message(stage broker.Stage, p *broker.Peeked, states map[string]store.RouteState) queued {
	rec, err := custody.Read(&p.Delivery)
	m := queued{rec: rec, route: p.Route, stage: stage, seq: p.Seq, QueueMessage: admin.QueueMessage{
		ID: string(rec.ID), StanzaID: rec.StanzaID, From: rec.From, To: rec.To.Address, JID: rec.Recipient(),
		Reason: rec.Reason, Accepted: rec.Accepted, Since: rec.Parked, Size: p.Size(), Stage: string(stage),
	}}
	if err != nil {
		m.ID, m.To, m.JID = cmp.Or(m.ID, p.ID, p.FromID, fmt.Sprintf("%s-%d", stage, p.Seq)), cmp.Or(m.To, p.Recipient), p.Recipient
	}
	if stage == broker.Dead {
		m.State, m.Reason, m.Attempts, m.Since, m.Stage = admin.Dead, p.Reason, p.Attempts, p.Died, string(p.From)
		return m
	}
	s := states[p.Route]
	m.State, m.Attempts, m.Next = q.stateOf(p.Route), s.Attempts, s.Next
	if s.Reason != "" {
		m.Reason = s.Reason
	}
	return m
}

func (q queue) stateOf(route string) admin.QueueState {
	if q.app.holds.Held(route, custody.DomainOf(route)) {
		return admin.Held
	}
	return admin.Deferred
}

func matches(f admin.QueueFilter, m queued) bool {
	if f.ID != "" && f.ID != m.ID && f.ID != m.StanzaID && f.ID != m.rec.MessageID {
		return false
	}
	return (f.State == "" || f.State == m.State) && strings.Contains(m.Reason, f.Reason) &&
		(f.Recipient == "" || bareOf(m.JID) == f.Recipient) && (f.Domain == "" || custody.DomainOf(bareOf(m.JID)) == f.Domain)
}

// Do acts on what f selects.
func (q queue) Do(ctx context.Context, a admin.QueueAction, f admin.QueueFilter) (n int, err error) {
	switch a {
	case admin.Hold, admin.Release:
		return q.hold(ctx, a, f)
	case admin.Retry:
		return q.retry(ctx, f)
	case admin.Drop:
		return q.drop(ctx, f)
	}
	return 0, fmt.Errorf("queue: action %q", a)
}

// hold holds or releases a recipient or a domain, or all routes there are.
func (q queue) hold(ctx context.Context, a admin.QueueAction, f admin.QueueFilter) (n int, err error) {
	names := []string{cmp.Or(f.Recipient, f.Domain)}
	if names[0] == "" {
		waiting, err := q.waiting(ctx)
		if err != nil {
			return 0, err
		}
		names = names[:0]
		for _, r := range waiting {
			names = append(names, r.Route)
		}
	}
	for _, name := range names {
		did := true
		if a == admin.Hold {
			_, err = q.app.holds.Hold(ctx, name)
		} else {
			did, err = q.app.holds.Release(ctx, name)
		}
		if err != nil {
			return n, err
		}
		if did {
			n++
		}
	}
	return n, nil
}

// retry has waiting messages tried now and sends dead ones on their way again.
func (q queue) retry(ctx context.Context, f admin.QueueFilter) (n int, err error) {
	if f.State == admin.Deferred && f.ID == "" {
		return q.retryRoutes(ctx, f) // without reading the messages
	}
	found, err := q.find(ctx, f)
	if err != nil {
		return 0, err
	}
	var routes []string
	for _, m := range found {
		if m.stage == broker.Park {
			routes = append(routes, m.route)
		} else if err := q.app.broker.Revive(ctx, m.seq, custody.Revive(time.Now())); err != nil {
			return n, fmt.Errorf("%s: %w", m.ID, err)
		}
		n++
	}
	slices.Sort(routes)
	_, err = q.tryNow(ctx, slices.Compact(routes))
	return n, err
}

// tryNow has routes tried now, by whoever works them off.
func (q queue) tryNow(ctx context.Context, routes []string) (n int, err error) {
	by := make(map[*delivery.Delivery][]string)
	for _, name := range routes {
		by[q.app.carries(name)] = append(by[q.app.carries(name)], name)
	}
	var errs []error
	for d, names := range by {
		k, err := d.Retry(ctx, names)
		n += k
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

// retryRoutes has the routes that f selects tried now.
func (q queue) retryRoutes(ctx context.Context, f admin.QueueFilter) (n int, err error) {
	routes, err := q.Routes(ctx, f)
	if err != nil || len(routes) == 0 {
		return 0, err
	}
	names := make([]string, len(routes))
	for i, r := range routes {
		names[i] = r.Route
	}
	return q.tryNow(ctx, names)
}

// drop deletes messages, waiting ones by those who own their routes.
func (q queue) drop(ctx context.Context, f admin.QueueFilter) (n int, err error) {
	found, err := q.find(ctx, f)
	if err != nil {
		return 0, err
	}
	waiting := make(map[string][]string) // ids by route
	for _, m := range found {
		if m.stage == broker.Park {
			waiting[m.route] = append(waiting[m.route], m.ID)
			continue
		}
		gone, err := q.app.broker.Remove(ctx, broker.Dead, m.seq)
		if err != nil {
			return n, fmt.Errorf("%s: %w", m.ID, err)
		}
		if gone {
			n++
		}
	}
	var errs []error
	for route, ids := range waiting {
		k, err := q.app.carries(route).Drop(ctx, route, ids)
		n += k
		errs = append(errs, err)
	}
	return n, errors.Join(errs...)
}

func bareOf(address string) string {
	if j, err := jid.Parse(address); err == nil {
		return j.Bare().String()
	}
	return address
}
