package admin

import (
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

// page shows what the gateway counts, to a person without a Prometheus.
var page = template.Must(template.New("index").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>mcmt2xmpp</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:60em;padding:0 1em;color-scheme:light dark}
table{border-collapse:collapse;width:100%}td{padding:.1em .5em;border-bottom:1px solid #8884}
td:last-child{text-align:right;font-variant-numeric:tabular-nums}.no{color:#c00}</style></head><body>
<h1>mcmt2xmpp {{.Version}}</h1>
{{if .Missing}}<p class="no">Not ready: {{range .Missing}}{{.}}. {{end}}</p>{{else}}<p>Ready.</p>{{end}}
<p><a href="/healthz">/healthz</a> alive · <a href="/readyz">/readyz</a> able to take and deliver messages ·
<a href="/metrics">/metrics</a> for Prometheus · <a href="/v1/users">/v1/users</a> accounts of the built-in store · /v1/rosters/JID the roster of one ·
<a href="/v1/filters">/v1/filters</a> what the filters have dropped ·
<a href="/v1/webhooks">/v1/webhooks</a> who hears how messages end ·
<a href="/v1/queue">/v1/queue</a> what waits for its recipient or is dead ·
/v1/messages/ID what became of a message</p>
<table>{{range .Rows}}<tr title="{{.Help}}"><td>{{.Name}}</td><td>{{.Labels}}</td><td>{{.Value}}</td></tr>
{{end}}</table></body></html>
`))

// row is one number of the page.
type row struct{ Name, Help, Labels, Value string }

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	_ = page.Execute(w, map[string]any{ // the peer is gone when this fails
		"Version": s.o.Version, "Missing": s.missing(), "Rows": rows(s.o.Metrics),
	})
}

// rows are the parts' own numbers, in the order in which they are listed.
func rows(metrics func() []Metric) []row {
	if metrics == nil {
		return nil
	}
	var all []row
	for _, m := range metrics() {
		m.Collect(func(value float64, labels ...string) {
			all = append(all, row{strings.ReplaceAll(m.Name, "_", " "), m.Help, strings.Join(labels, ", "),
				strconv.FormatFloat(value, 'f', -1, 64)})
		})
	}
	return all
}
