package trace

import "github.com/rs/zerolog"

// Log returns a subscriber that writes one line per message and outcome; the
// steps between are written at debug level.
func Log(log zerolog.Logger) func(Event) {
	return func(e Event) {
		line := log.WithLevel(level(e))
		add := func(key, value string) {
			if value != "" {
				line = line.Str(key, value)
			}
		}
		add("id", e.ID)
		add("sid", e.StanzaID)
		add("listener", e.Listener)
		add("peer", e.Peer)
		add("from", e.From)
		add("to", e.To)
		add("jid", e.JID)
		add("part", e.Part)
		add("filter", e.Filter)
		add("verdict", e.Verdict)
		add("reason", e.Reason)
		add("proof", e.Proof)
		if e.Shadow {
			line = line.Bool("shadow", true)
		}
		if e.Attempt > 1 {
			line = line.Int("attempt", e.Attempt)
		}
		if e.Size > 0 {
			line = line.Int("size", e.Size)
		}
		if e.Since > 0 {
			line = line.Dur("age", e.Since)
		}
		line.Msg(string(e.Stage))
	}
}

// level makes outcomes visible and steps quiet: a pass is a step, a drop is the
// end of a message.
func level(e Event) zerolog.Level {
	switch e.Stage {
	case Failed, Expired:
		return zerolog.WarnLevel
	case Stored, Deferred, Delivered, Dropped:
		return zerolog.InfoLevel
	case Filtered:
		if e.Verdict == "drop" && !e.Shadow {
			return zerolog.InfoLevel
		}
	}
	return zerolog.DebugLevel
}
