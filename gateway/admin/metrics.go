package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"mcmt2xmpp/gateway/trace"
)

// Metric is one family of numbers that a part keeps itself. Labels are closed
// sets, never addresses.
type Metric struct {
	Name    string // without the prefix mcmt2xmpp_
	Help    string
	Gauge   bool     // may go down; otherwise it counts up from the start
	Labels  []string // names of the labels, in the order that Collect gives values
	Collect func(add func(value float64, labels ...string))
}

// Value is the Collect of a metric without labels.
func Value[N uint64 | int64 | int | float64](read func() N) func(func(float64, ...string)) {
	return func(add func(float64, ...string)) { add(float64(read())) }
}

const prefix = "mcmt2xmpp_"

// registry makes the Prometheus side: the parts' own numbers, read when asked,
// the stage times from the trace, and the Go runtime.
func registry(version string, metrics func() []Metric, bus *trace.Bus) (*prometheus.Registry, func()) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		partCollector(metrics),
	)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: prefix + "build_info", Help: "Version of the program; always 1."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	stages := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: prefix + "stage_total", Help: "Messages that passed a stage, per recipient.",
	}, []string{"stage"})
	work := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "stage_seconds", Help: "Time a stage worked on a message.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10),
	}, []string{"stage"})
	age := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "age_seconds", Help: "Time from acceptance to the end of a stage.",
		Buckets: prometheus.ExponentialBuckets(0.001, 4, 13),
	}, []string{"stage"})
	reg.MustRegister(build, stages, work, age)
	cancel := bus.Subscribe(func(e trace.Event) {
		stages.WithLabelValues(string(e.Stage)).Inc()
		if e.Took > 0 {
			work.WithLabelValues(string(e.Stage)).Observe(e.Took.Seconds())
		}
		if e.Since > 0 {
			age.WithLabelValues(string(e.Stage)).Observe(e.Since.Seconds())
		}
	})
	return reg, cancel
}

// metrics answers with all numbers.
func (s *Server) metrics() http.HandlerFunc {
	return promhttp.HandlerFor(s.numbers, promhttp.HandlerOpts{ErrorLog: promLog{s.o.Log}}).ServeHTTP
}

// partCollector reads the parts' numbers at each scrape.
type partCollector func() []Metric

// Describe sends nothing: the families are known only when they are read, which
// makes this an unchecked collector.
func (partCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads every number once.
func (c partCollector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c() {
		desc := prometheus.NewDesc(prefix+m.Name, m.Help, m.Labels, nil)
		kind := prometheus.CounterValue
		if m.Gauge {
			kind = prometheus.GaugeValue
		}
		m.Collect(func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
		})
	}
}
