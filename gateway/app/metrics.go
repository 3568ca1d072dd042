package app

import (
	"errors"
	"maps"
	"slices"
	"sync"

	"mcmt2xmpp/broker"
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/mcmt/httpd"
	"mcmt2xmpp/mcmt/smtpd"
	"mcmt2xmpp/xmpp/c2s"
)

var (
	errStarting = errors.New("not all of them are open yet")
	errStopping = errors.New("the gateway is stopping")
)

// add is how a metric gives its values.
type add = func(value float64, labels ...string)

// metrics lists what the parts count, for one scrape.
func (a *App) metrics() []admin.Metric {
	var all []admin.Metric
	for _, group := range [][]admin.Metric{a.brokerMetrics(), a.pipelineMetrics(), a.mailMetrics(), a.receiptMetrics(), a.eventMetrics(), a.mailGatewayMetrics(), a.sessionMetrics(), a.stanzaLogMetrics(), a.remoteMetrics(), a.serverMetrics(), a.linkMetrics(), a.scriptMetrics(), a.smtpMetrics(), a.httpMetrics(), a.adminMetrics(), a.listenerMetrics()} {
		all = append(all, group...)
	}
	return all
}

func (a *App) brokerMetrics() []admin.Metric {
	// To count what is stored takes a question to the broker for each stream, which in a
	// cluster another machine answers: all metrics of a scrape share the answers.
	stats := sync.OnceValue(a.broker.Stats)
	stage := func(name, help string, gauge bool, read func(broker.StageStats) float64) admin.Metric {
		return admin.Metric{Name: name, Help: help, Gauge: gauge, Labels: []string{"stage"}, Collect: func(add add) {
			stages := stats().Stages
			for _, s := range slices.Sorted(maps.Keys(stages)) {
				add(read(stages[s]), string(s))
			}
		}}
	}
	return []admin.Metric{
		stage("custody_stored_total", "Messages put into a stage.", false, func(s broker.StageStats) float64 { return float64(s.Stored) }),
		stage("custody_retried_total", "Messages to be given to their handler again.", false, func(s broker.StageStats) float64 { return float64(s.Retried) }),
		stage("custody_handled_total", "Messages given to a handler, repetitions included.", false, func(s broker.StageStats) float64 { return float64(s.Handled) }),
		stage("custody_settled_total", "Messages that a stage has done with, whatever way.", false, func(s broker.StageStats) float64 { return float64(s.Acked) }),
		stage("custody_dead_total", "Messages given up and kept as dead.", false, func(s broker.StageStats) float64 { return float64(s.Dead) }),
		stage("custody_waiting", "Messages waiting or worked on in a stage.", true, func(s broker.StageStats) float64 { return float64(s.Lag) }),
		stage("custody_bytes", "Bytes that a stage takes in the store.", true, func(s broker.StageStats) float64 { return float64(s.Bytes) }),
		stage("custody_max_bytes", "Bytes that a stage may take in the store; beyond them nothing more is taken.", true, func(s broker.StageStats) float64 { return float64(s.MaxBytes) }),
		stage("custody_oldest_seconds", "Age of the oldest message of a stage; 0 where there is none.", true, func(s broker.StageStats) float64 { return age(s.Oldest) }),
		stage("custody_led", "1 where the stage's stream answers and has a leader.", true, func(s broker.StageStats) float64 { return flag(s.Led) }),
		stage("custody_replicas_behind", "Replicas of a stage's stream that are away or have not all of it.", true, func(s broker.StageStats) float64 { return float64(s.Behind) }),
		stage("custody_slices", "Slices that a stage is shared out in.", true, func(s broker.StageStats) float64 { return float64(s.Slices) }),
		stage("custody_slices_owned", "Slices that this process works on.", true, func(s broker.StageStats) float64 { return float64(s.Owned) }),
		stage("custody_slices_orphaned", "Slices that no live process has worked on for 15 s.", true, func(s broker.StageStats) float64 { return float64(s.Orphaned) }),
		{Name: "custody_slice_changes_total", Help: "Slices that came to this process or went: taken over, given up in order, lost.", Labels: []string{"stage", "change"}, Collect: func(add add) {
			stages := stats().Stages
			for _, s := range slices.Sorted(maps.Keys(stages)) {
				add(float64(stages[s].Takeovers), string(s), "taken_over")
				add(float64(stages[s].Handovers), string(s), "given_up")
				add(float64(stages[s].Losses), string(s), "lost")
			}
		}},
		{Name: "journal_written_total", Help: "Records of the ends of messages.",
			Collect: admin.Value(func() uint64 { return stats().Journal.Written })},
		{Name: "journal_refused_total", Help: "Records that could never be stored; the journal does without them.",
			Collect: admin.Value(func() uint64 { return stats().Journal.Refused })},
		{Name: "journal_bytes", Help: "Bytes of the journal.", Gauge: true,
			Collect: admin.Value(func() uint64 { return stats().Journal.Bytes })},
		{Name: "bodies_bytes", Help: "Bytes of large bodies, which messages refer to.", Gauge: true,
			Collect: admin.Value(func() uint64 { return stats().Bodies })},
		{Name: "store_bytes", Help: "Disk space that the embedded broker uses; 0 with an external one.", Gauge: true,
			Collect: admin.Value(func() uint64 { return stats().Storage })},
		{Name: "store_memory_bytes", Help: "Memory that streams of the embedded broker use; 0 with an external one.", Gauge: true,
			Collect: admin.Value(func() uint64 { return stats().Memory })},
		{Name: "store_free_bytes", Help: "Free disk space of the data folder.", Gauge: true,
			Collect: admin.Value(func() int64 { return stats().DiskFree })},
	}
}

// flag is 1 for true.
func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (a *App) pipelineMetrics() []admin.Metric {
	return []admin.Metric{
		{Name: "intake_total", Help: "Messages by what became of them at acceptance; stored and repeated ones per recipient.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := a.intake.Stats()
			add(float64(s.Stored), "stored")
			add(float64(s.Repeated), "repeated")
			add(float64(s.Refused), "refused")
			add(float64(s.TryLater), "try_later")
		}},
		{Name: "conversion_total", Help: "Messages by what became of them at conversion.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := a.conversion.Stats()
			add(float64(s.Converted), "converted")
			add(float64(s.Passed), "passed")
			add(float64(s.Filtered), "filtered")
			add(float64(s.Failed), "failed")
		}},
		{Name: "parse_total", Help: "Messages at conversion and delivery: passed on in parsed form by the stage before in this process, or parsed again.", Labels: []string{"stage", "outcome"}, Collect: func(add add) {
			in, dlv := a.conversion.Parsed.Stats(), a.conversion.Made.Stats()
			add(float64(in.Taken), "in", "passed")
			add(float64(in.Missed), "in", "again")
			add(float64(dlv.Taken), "dlv", "passed")
			add(float64(dlv.Missed), "dlv", "again")
		}},
		{Name: "delivery_total", Help: "Messages by what became of them at delivery.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := a.delivery.Stats()
			add(float64(s.Delivered), "delivered")
			add(float64(s.FellBack), "diverted")
			add(float64(s.Deferred), "deferred")
			add(float64(s.Failed), "failed")
			add(float64(s.Expired), "expired")
			add(float64(s.Dropped), "dropped")
			add(float64(s.Filtered), "filtered")
		}},
		{Name: "parked_messages", Help: "Messages that wait for their recipient.", Gauge: true,
			Collect: admin.Value(func() int { return a.delivery.Stats().Parked })},
		{Name: "parked_routes", Help: "Recipients that messages wait for.", Gauge: true,
			Collect: admin.Value(func() int { return a.delivery.Stats().ParkedRoutes })},
		{Name: "filter_verdicts_total", Help: "Verdicts by filter; would_… are those that a filter in shadow mode has only counted, error is where it failed.", Labels: []string{"filter", "verdict"}, Collect: a.collectVerdicts},
		{Name: "router_stanzas_total", Help: "Stanzas by what the router did with them.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := a.router.Stats()
			add(float64(s.Delivered), "delivered")
			add(float64(s.Kept), "kept")
			add(float64(s.Refused), "refused")
			add(float64(s.Filtered), "filtered")
			add(float64(s.Blocked), "blocked")
		}},
		{Name: "roster_limits_total", Help: "Changes of a roster that a limit forbids.",
			Collect: admin.Value(func() uint64 { return a.router.Stats().RosterLimits })},
	}
}

// clientStats is what all listeners for clients count together.
func (a *App) clientStats() (t c2s.Stats) {
	for _, srv := range a.clients {
		t.Add(srv.Stats())
	}
	return t
}

func (a *App) sessionMetrics() []admin.Metric {
	sum := func(read func(c2s.Stats) float64) func(add) {
		return func(add add) { add(read(a.clientStats())) }
	}
	return []admin.Metric{
		{Name: "xmpp_connections", Help: "Open client connections.", Gauge: true, Collect: sum(func(s c2s.Stats) float64 { return float64(s.Open) })},
		{Name: "xmpp_sessions", Help: "Bound client sessions.", Gauge: true, Collect: sum(func(s c2s.Stats) float64 { return float64(s.Sessions) })},
		{Name: "xmpp_suspended_sessions", Help: "Sessions that wait for their client to resume them.", Gauge: true, Collect: sum(func(s c2s.Stats) float64 { return float64(s.Suspended) })},
		{Name: "xmpp_held_total", Help: "Presence and chat states held back while nobody looked at the client.",
			Collect: sum(func(s c2s.Stats) float64 { return float64(s.Held) })},
		{Name: "xmpp_resumptions_total", Help: "Sessions resumed, resumptions refused, and sessions that ended waiting for one.", Labels: []string{"outcome"}, Collect: func(add add) {
			t := a.clientStats()
			add(float64(t.Resumed), "resumed")
			add(float64(t.ResumeFailed), "failed")
			add(float64(t.Expired), "expired")
		}},
		{Name: "xmpp_logins_total", Help: "Client sessions bound since the start.", Collect: sum(func(s c2s.Stats) float64 { return float64(s.Logins) })},
		{Name: "xmpp_failed_logins_total", Help: "Failed client logins.", Collect: sum(func(s c2s.Stats) float64 { return float64(s.FailedLogins) })},
		{Name: "xmpp_received_stanzas_total", Help: "Stanzas from clients.", Collect: sum(func(s c2s.Stats) float64 { return float64(s.Received) })},
		{Name: "xmpp_sent_stanzas_total", Help: "Stanzas to clients.", Collect: sum(func(s c2s.Stats) float64 { return float64(s.Sent) })},
		{Name: "xmpp_limits_total", Help: "Times that clients hit a limit; for rate the pauses of those that sent too fast, for failed_logins those that were not tried.", Labels: []string{"limit"}, Collect: func(add add) {
			t := a.clientStats()
			add(float64(t.PerAddress), "per_address")
			add(float64(t.TooLarge), "too_large")
			add(float64(t.TooSlow), "too_slow")
			add(float64(t.Timeouts), "timeout")
			add(float64(t.Throttled), "rate")
			add(float64(t.Guarded), "failed_logins")
			add(float64(a.router.Stats().TooManySessions), "sessions")
		}},
	}
}

// summed adds up by its label what several servers count; without any there is nothing.
func summed[S any, T interface{ Stats() S }](servers []T, values func(S, add)) func(add) {
	return func(add add) {
		sums := make(map[string]float64)
		for _, srv := range servers {
			values(srv.Stats(), func(v float64, labels ...string) { sums[labels[0]] += v })
		}
		for label, v := range sums {
			add(v, label)
		}
	}
}

func (a *App) smtpMetrics() []admin.Metric {
	by := func(values func(smtpd.Stats, add)) func(add) { return summed(a.smtp, values) }
	return []admin.Metric{
		{Name: "smtp_messages_total", Help: "Messages over SMTP by the answer to their data.", Labels: []string{"outcome"}, Collect: by(func(s smtpd.Stats, add add) {
			add(float64(s.Accepted), "accepted")
			add(float64(s.Refused), "refused")
			add(float64(s.Deferred), "try_later")
			add(float64(s.Aborted), "aborted")
		})},
		{Name: "smtp_refused_commands_total", Help: "Senders and recipients refused over SMTP.", Labels: []string{"command"}, Collect: by(func(s smtpd.Stats, add add) {
			add(float64(s.SenderRefused), "mail")
			add(float64(s.RcptRefused), "rcpt")
		})},
		{Name: "smtp_auth_total", Help: "SMTP logins.", Labels: []string{"outcome"}, Collect: by(func(s smtpd.Stats, add add) {
			add(float64(s.AuthSucceeded), "succeeded")
			add(float64(s.AuthFailed), "failed")
		})},
		{Name: "smtp_limits_total", Help: "SMTP connections that hit a limit; for failed_logins the logins that were not tried.", Labels: []string{"limit"}, Collect: by(func(s smtpd.Stats, add add) {
			add(float64(s.LimitConnection), "connections")
			add(float64(s.LimitErrors), "errors")
			add(float64(s.LimitAuth), "auth")
			add(float64(s.LimitGuess), "failed_logins")
			add(float64(s.LimitTime), "time")
			add(float64(s.LimitMemory), "memory")
			add(float64(s.Smuggling), "smuggling")
		})},
	}
}

func (a *App) httpMetrics() []admin.Metric {
	total := func() (t httpd.Stats) {
		for _, srv := range a.http {
			s := srv.Stats()
			t.Accepted += s.Accepted
			t.Refused += s.Refused
			t.Deferred += s.Deferred
			t.Throttled += s.Throttled
			t.AuthFailed += s.AuthFailed
			t.Guarded += s.Guarded
			t.OverLimit += s.OverLimit
		}
		return t
	}
	return []admin.Metric{
		{Name: "http_messages_total", Help: "Messages over HTTP by what became of them.", Labels: []string{"outcome"}, Collect: func(add add) {
			t := total()
			add(float64(t.Accepted), "accepted")
			add(float64(t.Refused), "refused")
			add(float64(t.Deferred), "try_later")
		}},
		{Name: "http_limits_total", Help: "HTTP requests and connections that hit a limit; for failed_logins the credentials that were not tried.", Labels: []string{"limit"}, Collect: func(add add) {
			t := total()
			add(float64(t.Throttled), "rate")
			add(float64(t.OverLimit), "connections")
			add(float64(t.AuthFailed), "auth")
			add(float64(t.Guarded), "failed_logins")
		}},
	}
}

// adminMetrics are those of whom the admin HTTP turns away.
func (a *App) adminMetrics() []admin.Metric {
	return []admin.Metric{
		{Name: "admin_refused_total", Help: "Requests that the admin HTTP turned away, by why; for failed_logins those whose token was not tried after too many wrong ones, for rate those over request_rate, for connections the connections over their number.", Labels: []string{"why"}, Collect: summed(a.admin, func(s admin.Stats, add add) {
			add(float64(s.NoToken), "no_token")
			add(float64(s.WrongTokens), "wrong_token")
			add(float64(s.Guarded), "failed_logins")
			add(float64(s.Throttled), "rate")
			add(float64(s.Forbidden), "role")
			add(float64(s.OtherSites), "other_site")
			add(float64(s.OverLimit), "connections")
		})},
	}
}

func (a *App) listenerMetrics() []admin.Metric {
	return []admin.Metric{
		{Name: "listener_connections_total", Help: "Connections by what the listener did with them.", Labels: []string{"listener", "outcome"}, Collect: func(add add) {
			for _, s := range a.sockets {
				st := s.Stats()
				add(float64(st.Accepted), s.name(), "accepted")
				add(float64(st.Denied), s.name(), "denied")
			}
		}},
		{Name: "listener_yields_total", Help: "Times that events_per_iter interrupted a row of waiting connections.", Labels: []string{"listener"}, Collect: func(add add) {
			for _, s := range a.sockets {
				add(float64(s.Stats().Yields), s.name())
			}
		}},
		{Name: "negotiation_slots_used", Help: "Connections that negotiate now, by thread pool or listener.", Gauge: true, Labels: []string{"pool"}, Collect: func(add add) {
			for name, s := range a.slots {
				add(float64(s.Stats().Used), name)
			}
		}},
		{Name: "forwarded_unreadable_total", Help: "Requests of trusted proxies that do not say in a readable way whom they are from.",
			Collect: admin.Value(func() uint64 { return a.proxies.unreadable.Load() })},
		{Name: "client_certificates_total", Help: "Client certificates by the result of their verification.", Labels: []string{"result"}, Collect: func(add add) {
			s := a.certs.stats()
			add(float64(s.Verified), "verified")
			add(float64(s.Refused), "refused")
			add(float64(s.Absent), "absent")
		}},
	}
}
