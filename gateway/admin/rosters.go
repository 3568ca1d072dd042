package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
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

// rosterPaths are the paths of rosters. That under /riak is where the system being
// replaced had them.
func (s *Server) rosterPaths(mux *http.ServeMux) {
	for _, path := range []string{"/v1/rosters/{jid}", "/riak/xmpp/{jid}"} {
		mux.Handle(path, s.guard(http.HandlerFunc(s.roster)))
	}
}

func (s *Server) roster(w http.ResponseWriter, r *http.Request) {
	user, err := account(r.PathValue("jid"))
	switch {
	case s.o.Rosters == nil:
		problem(w, http.StatusNotImplemented, "rosters are not kept here")
		return
	case err != nil:
	case r.Method == http.MethodGet:
		err = s.sendRoster(w, r, user)
	case r.Method == http.MethodPost:
		err = s.importRoster(w, r, user, false)
	case r.Method == http.MethodPut:
		err = s.importRoster(w, r, user, true)
	default:
		methodNotAllowed(w, "GET, POST, PUT")
		return
	}
	if err != nil {
		s.rosterError(w, err)
	}
}

func (s *Server) sendRoster(w http.ResponseWriter, r *http.Request, user jid.JID) error {
	found, err := s.o.Rosters.Roster(r.Context(), user)
	if err != nil {
		return err
	}
	record, err := found.Record()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(record, '\n')) // the peer is gone when this fails
	return nil
}

// importRoster takes a record. Only JSON is taken, as in readUser.
func (s *Server) importRoster(w http.ResponseWriter, r *http.Request, user jid.JID, replace bool) error {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errNotJSON
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRecord))
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
	s.o.Log.Info().Str("jid", user.String()).Str("peer", r.RemoteAddr).Int("contacts", record.Len()).Bool("replace", replace).Msg("roster imported")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) rosterError(w http.ResponseWriter, err error) {
	var bad badRequest
	var large *http.MaxBytesError
	var limit *roster.LimitError
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit))
	case errors.Is(err, errNotJSON):
		problem(w, http.StatusUnsupportedMediaType, err.Error())
	case errors.Is(err, store.ErrNoAccount):
		problem(w, http.StatusNotFound, "no such account")
	case errors.Is(err, store.ErrDamaged):
		problem(w, http.StatusConflict, "what is stored is not a roster; PUT replaces it")
	case errors.As(err, &bad), errors.Is(err, roster.ErrRecord), errors.Is(err, store.ErrInvalid), errors.As(err, &limit):
		problem(w, http.StatusBadRequest, err.Error())
	default:
		s.o.Log.Error().Err(err).Msg("rosters")
		problem(w, http.StatusServiceUnavailable, "rosters cannot be read or changed now")
	}
}
