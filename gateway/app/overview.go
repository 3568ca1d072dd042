package app

import (
	"context"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
)

// overview is what the page of the admin HTTP tells of the gateway.
type overview struct{ app *App }

// nextOf says what is done with the messages of a stage, in the order of their way.
var nextOf = []struct {
	stage broker.Stage
	next  string
}{{broker.Ingest, "convert"}, {broker.Deliver, "deliver"}, {broker.Park, "park"}, {broker.Mail, "mail"}}

// Backlog implements admin.Overview.
func (o overview) Backlog() (all []admin.StageBacklog) {
	stages := o.app.broker.Stats().Stages
	for _, n := range nextOf {
		if s := stages[n.stage]; s.Lag > 0 {
			all = append(all, admin.StageBacklog{Stage: n.next, Messages: s.Lag, Oldest: s.Oldest})
		}
	}
	return all
}

// Waiting implements admin.Overview.
func (o overview) Waiting(ctx context.Context) ([]admin.QueueRoute, error) {
	return queue(o).waiting(ctx)
}

// Sessions implements admin.Overview.
func (o overview) Sessions() admin.SessionCounts {
	s := o.app.clientStats()
	c := admin.SessionCounts{
		Connections: s.Open, Sessions: s.Sessions, Suspended: s.Suspended, Logins: s.Logins, FailedLogins: s.FailedLogins,
		Limits:   s.PerAddress + s.TooLarge + s.TooSlow + s.Timeouts + s.Throttled + s.Guarded,
		Received: s.Received, Sent: s.Sent,
	}
	if o.app.sessions != nil {
		c.Remote = o.app.sessions.Stats().Remote
	}
	return c
}
