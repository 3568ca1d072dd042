package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/roster"
)

// Rosters are the rosters of accounts. The error is store.ErrNoAccount for somebody
// who has none, store.ErrInvalid for a record that cannot be that of the account,
// or what package roster says of it.
type Rosters interface {
	// Roster returns the roster of an account, which must not be changed.
	Roster(ctx context.Context, user jid.JID) (*roster.Roster, error)
	// Import adds the contacts of a record, or replaces all by them.
	Import(ctx context.Context, user jid.JID, record *roster.Roster, replace bool) error
}

// maxRecord bounds the body of a request, in bytes: a roster of the default limits
// takes less.
const maxRecord = 4 << 20

// Record is a roster as the document of the API has it: the contacts by their bare
// JID. Members of a contact that are not known here are kept.
type Record map[string]Contact

// Contact is a contact of a Record.
type Contact struct {
	Name         string            `json:"name,omitempty"`
	Groups       []string          `json:"groups,omitempty"`
	Subscription string            `json:"subscription,omitempty" enum:"none to from both"`
	Approved     bool              `json:"approved,omitempty" doc:"pre-approved (RFC 6121 §3.4)"`
	Requests     map[string]string `json:"pending_requests,omitempty" doc:"out: subscribe, in: the stanza of who asks"`
}

// rosterRoutes are those of rosters. The path under /riak is where the system being
// replaced had them.
func (s *Server) rosterRoutes() (all []route) {
	p := &part{
		name:    "rosters",
		present: func() bool { return s.o.Rosters != nil },
		absent:  "rosters are not kept here",
		failing: "rosters cannot be read or changed now",
		refusal: rosterRefusal,
	}
	no := []int{http.StatusNotFound, http.StatusConflict}
	for _, path := range []string{"/v1/rosters/{jid}", "/riak/xmpp/{jid}"} {
		old, again := path != "/v1/rosters/{jid}", ""
		if old {
			again = "Riak"
		}
		all = append(all,
			route{method: http.MethodGet, path: path, id: "getRoster" + again, summary: "The roster of an account",
				role: Read, part: p, old: old, answer: Record{}, refuse: no, do: s.rosterOf(s.sendRoster)},
			route{method: http.MethodPost, path: path, id: "addContacts" + again, summary: "Add or change contacts of an account",
				part: p, old: old, body: Record{}, status: http.StatusNoContent, refuse: no,
				do: s.rosterOf(func(x *exchange, r *http.Request, user jid.JID) error { return s.importRoster(x, r, user, false) })},
			route{method: http.MethodPut, path: path, id: "setContacts" + again, summary: "Replace all contacts of an account",
				part: p, old: old, body: Record{}, status: http.StatusNoContent, refuse: no,
				do: s.rosterOf(func(x *exchange, r *http.Request, user jid.JID) error { return s.importRoster(x, r, user, true) })})
	}
	return all
}

// rosterOf reads whose roster a path is about.
func (s *Server) rosterOf(do func(x *exchange, r *http.Request, user jid.JID) error) action {
	return func(x *exchange, r *http.Request) error {
		user, err := bareJID("jid", r.PathValue("jid"))
		if err != nil {
			return err
		}
		return do(x, r, user)
	}
}

func (s *Server) sendRoster(x *exchange, r *http.Request, user jid.JID) error {
	found, err := s.o.Rosters.Roster(r.Context(), user)
	if err != nil {
		return err
	}
	record, err := found.Record()
	if err != nil {
		return err
	}
	writeJSON(x, json.RawMessage(record))
	return nil
}

// importRoster takes a record.
func (s *Server) importRoster(x *exchange, r *http.Request, user jid.JID, replace bool) error {
	body, err := io.ReadAll(http.MaxBytesReader(x, r.Body, maxRecord))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return err
	case err != nil:
		return badRequest("body: " + err.Error())
	}
	record, err := roster.ParseRecord(body, roster.Limits{})
	if err != nil {
		return err
	}
	if err := s.o.Rosters.Import(r.Context(), user, record, replace); err != nil {
		return err
	}
	x.noteCount("contacts", record.Len())
	x.WriteHeader(http.StatusNoContent)
	return nil
}

func rosterRefusal(err error) (int, string) {
	var limit *roster.LimitError
	switch {
	case errors.Is(err, store.ErrNoAccount):
		return http.StatusNotFound, "no such account"
	case errors.Is(err, store.ErrDamaged):
		return http.StatusConflict, "what is stored is not a roster; PUT replaces it"
	case errors.Is(err, roster.ErrRecord), errors.Is(err, store.ErrInvalid), errors.As(err, &limit):
		return http.StatusBadRequest, err.Error()
	}
	return 0, ""
}
