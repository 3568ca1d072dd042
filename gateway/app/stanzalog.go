package app

import (
	"context"
	"maps"
	"slices"
	"time"

	"mcmt2xmpp/filters"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/gateway/config"
	"mcmt2xmpp/gateway/custody"
	"mcmt2xmpp/gateway/trace"
	"mcmt2xmpp/xmpp/stanza"
	"mcmt2xmpp/xmpp/xmpplog"
)

// loggers are the xmpp_loggers of a configuration.
func (a *App) loggers(cfg *config.Config) []xmpplog.Options {
	var all []xmpplog.Options
	for _, g := range cfg.Loggers {
		log := a.log
		if g.Level != nil {
			log = log.Level(zerologLevel(*g.Level))
		}
		all = append(all, xmpplog.Options{
			Name: g.Name, Where: g.Pos.String(), File: g.File, Mode: g.Mode, Heartbeat: g.Heartbeat, Formats: g.Formats,
			Log: log.With().Str("logger", g.Name).Logger(),
		})
	}
	return all
}

// openStanzaLog opens the files of the xmpp_loggers.
func (a *App) openStanzaLog() error {
	change, err := a.stanzaLog.Prepare(a.loggers(a.o.Config))
	if err != nil {
		return err
	}
	change.Use()
	return nil
}

// stanzaLogGrace is how long the end waits for the disk to take the last lines.
const stanzaLogGrace = 5 * time.Second

// closeStanzaLog writes the last lines. Where the disk does not take them that is said; a
// gateway that has done all else in order has not failed for it.
func (a *App) closeStanzaLog(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stanzaLogGrace)
	defer cancel()
	if err := a.stanzaLog.Close(ctx); err != nil {
		a.log.Error().Err(err).Msg("xmpp_logger")
	}
}

// outcomes are the stages of which the xmpp_logger has lines.
var outcomes = map[trace.Stage]xmpplog.Kind{
	trace.Filtered: xmpplog.Filtered, trace.Failed: xmpplog.Failed, trace.Deferred: xmpplog.Deferred,
	trace.Relayed: xmpplog.Relayed, trace.Expired: xmpplog.Expired,
}

// logOutcome has the xmpp_logger write what became of a message.
func (a *App) logOutcome(e trace.Event) {
	kind, ok := outcomes[e.Stage]
	if !ok || kind == xmpplog.Filtered && (e.Shadow || e.Verdict != filters.Drop.String()) {
		return
	}
	r := xmpplog.Record{
		Kind: kind, Time: e.Time, Stanza: stanza.Message.String(), From: e.From, To: e.JID, ID: e.StanzaID,
		Message: e.ID, Filter: e.Filter, Reason: e.Reason, Attempt: e.Attempt,
	}
	if e.JID == "" || custody.IsMail(e.JID) {
		r.To = e.To
	}
	a.stanzaLog.Record(r)
}

// logDropped likewise, of a message between Jabber users or to mail that a filter has
// dropped before it came into custody.
func (a *App) logDropped(st *stanza.Stanza, verdicts []filters.Applied) {
	last := verdicts[len(verdicts)-1]
	r := xmpplog.Record{
		Kind: xmpplog.Filtered, Stanza: st.Kind.String(), ID: st.ID, Type: st.Type, Filter: last.Filter, Reason: last.Reason,
	}
	if !st.From.IsZero() {
		r.From = st.From.String()
	}
	if !st.To.IsZero() {
		r.To = st.To.String()
	}
	a.stanzaLog.Record(r)
}

// stanzaLogMetrics are those of the xmpp_loggers.
func (a *App) stanzaLogMetrics() []admin.Metric {
	return []admin.Metric{
		{Name: "xmpp_logger_lines_total", Help: "Lines of the xmpp_loggers: taken to be written, and dropped because the disk is slow or full.", Labels: []string{"logger", "outcome"}, Collect: func(add add) {
			loggers := a.stanzaLog.Stats().Loggers
			for _, name := range slices.Sorted(maps.Keys(loggers)) {
				add(float64(loggers[name].Written), name, "written")
				add(float64(loggers[name].Dropped), name, "dropped")
			}
		}},
		{Name: "xmpp_logger_errors_total", Help: "Writes of the xmpp_loggers that failed and were or will be tried again.",
			Collect: admin.Value(func() uint64 { return a.stanzaLog.Stats().Errors })},
	}
}
