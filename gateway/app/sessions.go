package app

import (
	"context"
	"time"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/router"
	"mcmt2xmpp/xmpp/stanza"
)

// leaveTime bounds the removal of our sessions from the registry at the end. What
// stays others remove, as they do for a process that has died.
const leaveTime = 3 * time.Second

// newSessions makes the session registry that processes share who share the
// broker. Nil where the broker is embedded: there are no others.
func (a *App) newSessions(b *broker.Broker) *store.Sessions {
	if len(a.o.Config.NATS.URLs) == 0 {
		return nil
	}
	log := a.log.With().Str("part", "sessions").Logger()
	return store.NewSessions(store.SessionsOptions{
		Broker: b, Members: members(b),
		// Called after openSessions only, and then there is a delivery.
		OnAvailable: func(bare jid.JID) { a.delivery.Wake(bare) },
		// Whom it does not reach has no presence from it anyhow.
		Forward: func(ctx context.Context, st *stanza.Stanza) { _ = a.router.Forward(ctx, st) },
		OnLost:  func(ctx context.Context, full jid.JID) { a.router.Lost(ctx, full) },
		OnCome:  func(ctx context.Context, s router.Session, back bool) { a.router.Come(ctx, s, back) },
		Report:  func(err error) { log.Warn().Err(err).Msg("session registry") },
	})
}

// members are the live processes, where the broker knows.
func members(b any) store.Members {
	m, _ := b.(store.Members)
	return m
}

// registry is where the router has its sessions; nil is its own.
func (a *App) registry() router.Registry {
	if a.sessions == nil {
		return nil // and not a nil pointer in an interface
	}
	return a.sessions
}

func (a *App) openSessions(ctx context.Context) error {
	if a.sessions == nil {
		return nil
	}
	return a.sessions.Open(ctx)
}

func (a *App) closeSessions(ctx context.Context) {
	if a.sessions == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if err := a.sessions.Close(ctx); err != nil {
		a.log.Warn().Err(err).Msg("other nodes will remove them")
	}
}

// remoteMetrics are those of sessions on other nodes. There are none of them where
// the broker is embedded.
func (a *App) remoteMetrics() []admin.Metric {
	if a.sessions == nil {
		return nil
	}
	stats := a.sessions.Stats
	return []admin.Metric{
		{Name: "xmpp_remote_sessions", Help: "Client sessions bound on other nodes.", Gauge: true,
			Collect: admin.Value(func() int { return stats().Remote })},
		{Name: "xmpp_remote_nodes", Help: "Other nodes that have client sessions.", Gauge: true,
			Collect: admin.Value(func() int { return stats().Nodes })},
		{Name: "xmpp_remote_requests_total", Help: "Stanzas and proofs asked of other nodes' sessions.", Labels: []string{"request", "outcome"}, Collect: func(add add) {
			s := stats()
			add(float64(s.Sent), "send", "succeeded")
			add(float64(s.SendFailed), "send", "failed")
			add(float64(s.Proven), "prove", "succeeded")
			add(float64(s.Unproven), "prove", "failed")
		}},
		{Name: "xmpp_remote_answered_total", Help: "Requests of other nodes to sessions here.",
			Collect: admin.Value(func() uint64 { return stats().Answered })},
		{Name: "xmpp_remote_handovers_total", Help: "Sessions of other nodes taken over to be resumed here, and handed over to be resumed there.", Labels: []string{"direction", "outcome"}, Collect: func(add add) {
			s := stats()
			add(float64(s.Borrowed), "in", "succeeded")
			add(float64(s.NotBorrowed), "in", "failed")
			add(float64(s.Lent), "out", "succeeded")
			add(float64(s.NotLent), "out", "failed")
		}},
		{Name: "xmpp_remote_conflicts_total", Help: "Sessions here that ended because their resource was bound on another node.",
			Collect: admin.Value(func() uint64 { return stats().Conflicts })},
	}
}
