package admin

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// healthz answers 200 as long as the process can answer at all.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	plain(w, http.StatusOK, "ok")
}

// readyz answers 503 with the reasons while the gateway cannot do its work.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if missing := s.missing(); len(missing) > 0 {
		plain(w, http.StatusServiceUnavailable, strings.Join(missing, "\n"))
		return
	}
	plain(w, http.StatusOK, "ready")
}

// missing are the conditions of readiness that do not hold, with their reasons.
func (s *Server) missing() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.o.Ready)) {
		if err := s.o.Ready[name](); err != nil {
			all = append(all, fmt.Sprintf("%s: %v", name, err))
		}
	}
	return all
}

// ready is 1 where nothing is missing.
func (s *Server) ready() int {
	if len(s.missing()) > 0 {
		return 0
	}
	return 1
}

// plain answers with text that no browser takes for something else, and no
// cache for the present state.
func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}
