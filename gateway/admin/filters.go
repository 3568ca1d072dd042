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

// filterPaths adds the path of the filters.
func (s *Server) filterPaths(mux *http.ServeMux) {
	p := part{
		name:    "filters",
		present: func() bool { return s.o.Filters != nil },
		absent:  "this gateway has no filters",
		refusal: func(error) (int, string) { return 0, "" },
	}
	mux.Handle("/v1/filters", s.guard(s.serve(p, map[string]action{http.MethodGet: s.reportFilters})))
}

func (s *Server) reportFilters(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, s.o.Filters.Report())
	return nil
}
