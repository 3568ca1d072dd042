package store

import (
	"context"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/stream"
)

// greetings is how many of them are under way at a time.
const greetings = 64

// change is how a session elsewhere came to count or ceased to.
type change int

const (
	moved   change = iota // its node did it, and told the presence that goes with it
	lost                  // without a word
	revived               // its node is back
)

// news is what follows from a change of the map, and is done without mu.
type news struct {
	kind  kind
	how   change
	bare  jid.JID
	there *remote
	here  router.Session
}

type kind int

const (
	able     kind = iota // bare can take messages through a session elsewhere
	arrived              // there is available, by how
	left                 // there is not, and has not said so
	returned             // here was thought dead by others
	yielded              // here is bound elsewhere
	reunited             // bare has sessions here and elsewhere that may have missed presence
)

// shifted notes what follows from a change of what is known of m. r.mu is held.
func (r *Sessions) shifted(m *remote, before shown, how change) {
	after := r.shown(m)
	if before.rank < 0 && after.rank >= 0 {
		r.news = append(r.news, news{kind: able, bare: m.full.Bare()})
	}
	switch {
	case !before.present && after.present:
		r.news = append(r.news, news{kind: arrived, how: how, there: m})
	case before.present && !after.present && how == lost:
		r.news = append(r.news, news{kind: left, there: m})
	}
}

// tell acts on news. What it sends, it sends later: the watcher must not wait.
//
// Presence goes directly from a session to all others that its node knows to be
// available (RFC 6121 §4.2.2, §4.4.2). What remains is the presence of a session
// for another one that its node did not know of when it was sent: the node sends
// it when it learns.
func (r *Sessions) tell(n news) {
	switch n.kind {
	case able:
		r.o.OnAvailable(n.bare)
	case arrived:
		for _, s := range r.present(n.there.full.Bare()) {
			r.greet(s, n.there, n.how == revived)
		}
		r.later(func(ctx context.Context) { r.o.OnCome(ctx, n.there, n.how == revived) })
	case left:
		r.later(func(ctx context.Context) { r.farewell(ctx, n.there) })
	case returned:
		if s, ok := n.here.(interface{ Redress() }); ok {
			r.later(func(context.Context) { s.Redress() })
		}
		if s, ok := n.here.(presenter); ok {
			for _, m := range r.elsewhere(s.JID().Bare()) {
				r.greet(s, m, false)
			}
		}
	case yielded:
		n.here.Close(&stream.Error{Condition: stream.Conflict, Text: "replaced by a new session"})
	case reunited:
		for _, m := range r.elsewhere(n.bare) {
			r.later(func(ctx context.Context) { r.o.OnCome(ctx, m, true) })
		}
		for _, s := range r.present(n.bare) {
			for _, m := range r.elsewhere(n.bare) {
				r.greet(s, m, true)
			}
		}
	}
}

// present are the sessions of bare here that are available.
func (r *Sessions) present(bare jid.JID) (all []presenter) {
	for _, s := range r.local.Sessions(bare) {
		if p, ok := s.(presenter); ok && router.Present(s) {
			all = append(all, p)
		}
	}
	return all
}

// elsewhere are the sessions of bare on other nodes that are available.
func (r *Sessions) elsewhere(bare jid.JID) (all []*remote) {
	for _, s := range r.Sessions(bare) {
		if m, ok := s.(*remote); ok && m.Present() {
			all = append(all, m)
		}
	}
	return all
}

// greet sends the presence of here to there, and with both the reverse.
func (r *Sessions) greet(here presenter, there *remote, both bool) {
	r.later(func(ctx context.Context) {
		here.Introduce(ctx, there)
		if both {
			there.introduce(ctx, here.JID())
		}
	})
}

// farewell says to the sessions here, and has the account's contacts told, that there is
// gone, which it cannot say itself
// any more (RFC 6121 §4.5.2). Should it be back meanwhile, it says that again.
func (r *Sessions) farewell(ctx context.Context, there *remote) {
	if r.isAvailable(there.full) {
		return
	}
	bare := there.full.Bare()
	r.o.OnLost(ctx, there.full)
	for _, s := range r.present(bare) {
		_ = s.Send(ctx, stanza.NewPresence(bare, there.full, "unavailable")) // one that is going away needs none
	}
	for _, m := range r.elsewhere(bare) {
		if m.full == there.full {
			r.o.OnCome(ctx, m, true)
			for _, s := range r.present(bare) {
				m.introduce(ctx, s.JID())
			}
		}
	}
}

func (r *Sessions) isAvailable(full jid.JID) bool {
	s := r.Session(full)
	return s != nil && router.Present(s)
}

// later runs f beside the others, a bounded number at a time.
func (r *Sessions) later(f func(ctx context.Context)) {
	r.start(func(ctx context.Context) {
		select {
		case r.greeting <- struct{}{}:
			defer func() { <-r.greeting }()
			f(ctx)
		case <-ctx.Done():
		}
	})
}
