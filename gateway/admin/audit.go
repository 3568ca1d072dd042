package admin

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Audit is what operators have done, and what they have tried, the latest at last.
// All servers of a process share one. The zero value is empty.
type Audit struct {
	mu      sync.Mutex
	entries []AuditEntry // at most maxAudit
}

// maxAudit is how many are kept to be shown; the log has them all.
const maxAudit = 1000

// AuditEntry is something that an operator has done or tried.
type AuditEntry struct {
	Time    time.Time         `json:"time"`
	Who     string            `json:"who" doc:"name of the token; local: a peer on this machine without one"`
	Address string            `json:"address" doc:"of the operator; unix: a Unix socket"`
	Action  string            `json:"action" doc:"operation of this document"`
	On      map[string]string `json:"on,omitempty" doc:"what it was about"`
	Status  int               `json:"status" doc:"of the answer"`
	Refusal string            `json:"refusal,omitempty" doc:"why it was not done"`
}

// AuditEntries is the answer of GET /v1/audit, the latest first.
type AuditEntries struct {
	Entries []AuditEntry `json:"entries"`
}

func (a *Audit) add(e AuditEntry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) >= maxAudit {
		a.entries = slices.Delete(a.entries, 0, len(a.entries)-maxAudit+1)
	}
	a.entries = append(a.entries, e)
}

// latest returns the last n, the latest first.
func (a *Audit) latest(n int) []AuditEntry {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.Clone(a.entries[max(0, len(a.entries)-n):])
	slices.Reverse(all)
	return append([]AuditEntry{}, all...)
}

// record keeps and logs what came of an exchange that changes something.
func (s *Server) record(x *exchange, rt route, r *http.Request) {
	e := AuditEntry{
		Time: time.Now().UTC(), Who: x.who.name, Address: x.who.address(), Action: rt.id,
		On: make(map[string]string), Status: x.status, Refusal: x.refusal,
	}
	for _, m := range pathParameter.FindAllStringSubmatch(rt.path, -1) {
		e.On[m[1]] = r.PathValue(m[1])
	}
	maps.Copy(e.On, x.notes)
	s.o.Audit.add(e)
	level := zerolog.InfoLevel
	if e.Status >= http.StatusBadRequest {
		level = zerolog.WarnLevel
	}
	line := s.o.Log.WithLevel(level).Str("who", e.Who).Str("peer", e.Address).Str("action", e.Action).Int("status", e.Status)
	for _, name := range slices.Sorted(maps.Keys(e.On)) {
		line = line.Str(name, e.On[name])
	}
	if e.Refusal != "" {
		line = line.Str("refusal", e.Refusal)
	}
	line.Msg("audit")
}

// auditRoutes are those of what operators have done.
func (s *Server) auditRoutes() []route {
	return []route{{method: http.MethodGet, path: "/v1/audit", id: "listAudit", summary: "What operators of this process have done and tried, the latest first",
		about: "The log has all of it, this list the last 1000 since the start.",
		role:  Read, query: []field{limitField}, answer: AuditEntries{}, do: s.listAudit}}
}

func (s *Server) listAudit(x *exchange, r *http.Request) error {
	fields, err := query(r)
	if err != nil {
		return err
	}
	n, err := limitOf(fields)
	if err != nil {
		return err
	}
	writeJSON(x, AuditEntries{s.o.Audit.latest(n)})
	return nil
}

// note adds to the audit what a change is about.
func (x *exchange) note(name, value string) {
	if x.notes == nil {
		x.notes = make(map[string]string)
	}
	if value != "" {
		x.notes[name] = value
	}
}

func (x *exchange) noteCount(name string, n int) { x.note(name, strconv.Itoa(n)) }
