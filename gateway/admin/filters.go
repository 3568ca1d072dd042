package admin

import (
	"net/http"

	"mcmt2xmpp/filters"
)

// Filters are those that messages pass in this process.
type Filters interface {
	// Report is what they have done.
	Report() filters.Report
}

// filterRoutes are those of the filters.
func (s *Server) filterRoutes() []route {
	p := &part{
		name:    "filters",
		present: func() bool { return s.o.Filters != nil },
		absent:  "this gateway has no filters",
		refusal: func(error) (int, string) { return 0, "" },
	}
	return []route{{method: http.MethodGet, path: "/v1/filters", id: "reportFilters", summary: "What the filters have done since the start",
		role: Read, part: p, answer: filters.Report{}, do: s.reportFilters}}
}

func (s *Server) reportFilters(x *exchange, _ *http.Request) error {
	writeJSON(x, s.o.Filters.Report())
	return nil
}
