package app

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
)

// stageNames are the stages in the words of the log.
var stageNames = []struct {
	stage broker.Stage
	name  string
}{
	{broker.Ingest, "to_convert"}, {broker.Deliver, "to_deliver"}, {broker.Park, "deferred"}, {broker.Mail, "to_relay"}, {broker.Dead, "dead"},
}

// tellCustody says what is in custody at the start, and what the store has lost
// of it. A stage that cannot be counted is no reason not to work on the others.
func (a *App) tellCustody(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	counts, err := a.broker.Census(ctx)
	if err != nil {
		a.log.Warn().Err(err).Msg("what is in custody could not be counted")
		return
	}
	line := a.log.Info()
	var oldest time.Time
	for _, s := range stageNames {
		c := counts[s.stage]
		line = line.Uint64(s.name, c.Messages)
		if s.stage != broker.Dead && !c.Oldest.IsZero() && (oldest.IsZero() || c.Oldest.Before(oldest)) {
			oldest = c.Oldest
		}
		if c.Lost > 0 {
			a.log.WithLevel(zerolog.ErrorLevel).Str("stage", s.name).Uint64("messages", c.Lost).
				Msg("messages are damaged in the store and cannot be read back: restore its folder from a copy, or ask their senders")
		}
	}
	if !oldest.IsZero() {
		line = line.Dur("oldest", time.Since(oldest))
	}
	line.Msg("in custody")
}
