package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"mcmt2xmpp/broker"
)

// sayCustody logs what a start has found in custody, and what the store has lost
// of it. A store that does not say it is no reason not to start.
func sayCustody(ctx context.Context, b *broker.Broker, log zerolog.Logger) {
	census, err := b.Census(ctx)
	if err != nil {
		log.Warn().Err(err).Msg("what is in custody is not known")
		return
	}
	for _, stage := range slices.Sorted(maps.Keys(census)) {
		c := census[stage]
		if c.Messages > 0 {
			log.Info().Str("stage", string(stage)).Uint64("messages", c.Messages).Uint64("bytes", c.Bytes).
				Dur("age", time.Since(c.Oldest)).Msg("in custody")
		}
		if c.Lost > 0 || c.LostBytes > 0 {
			log.Error().Str("stage", string(stage)).Uint64("messages", c.Lost).Uint64("bytes", c.LostBytes).
				Msg("the store has lost data, its files were damaged")
		}
	}
}
