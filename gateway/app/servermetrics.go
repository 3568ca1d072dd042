package app

import (
	"mcmt2xmpp/gateway/admin"
	"mcmt2xmpp/xmpp/s2s"
)

// serverMetrics are those of streams with other servers.
func (a *App) serverMetrics() []admin.Metric {
	stats := func() s2s.Stats { return a.servers.Stats() }
	return []admin.Metric{
		{Name: "s2s_streams", Help: "Open streams with other servers, by the way in which stanzas go; unproven ones came in and wait.", Gauge: true, Labels: []string{"direction"}, Collect: func(add add) {
			for direction, n := range stats().Open {
				add(float64(n), direction)
			}
		}},
		{Name: "s2s_waiting_domains", Help: "Domains that could not be reached and are not tried before a pause is over.", Gauge: true,
			Collect: admin.Value(func() int { return stats().Waiting })},
		{Name: "s2s_stanzas_total", Help: "Stanzas on streams with other servers.", Labels: []string{"direction"}, Collect: func(add add) {
			s := stats()
			add(float64(s.Sent), "out")
			add(float64(s.Received), "in")
		}},
		{Name: "s2s_failures_total", Help: "Attempts to open a stream that failed, by the step.", Labels: []string{"step"}, Collect: func(add add) {
			for step, n := range stats().Failures {
				add(float64(n), string(step))
			}
		}},
		{Name: "s2s_proofs_total", Help: "Claims of other servers to speak for a domain, by what became of them.", Labels: []string{"outcome"}, Collect: func(add add) {
			s := stats()
			add(float64(s.Proven), "proven")
			add(float64(s.Refused), "refused")
			add(float64(s.Spoofed), "invalid")
		}},
		{Name: "s2s_limits_total", Help: "What other servers did that a limit or a rule ended: connections of one address, stanzas too fast or of a pair of domains that is not proven, answers and keys of dialback that are not ours, stanzas for which there was no room.", Labels: []string{"limit"}, Collect: func(add add) {
			s := stats()
			add(float64(s.PerAddress), "per_address")
			add(float64(s.Throttled), "throttled")
			add(float64(s.Unauthorised), "unauthorised")
			add(float64(s.Unasked), "unasked")
			add(float64(s.InvalidKeys), "invalid_keys")
			add(float64(s.Overflows), "overflow")
			add(float64(s.StreamErrors), "stream_errors")
		}},
	}
}
