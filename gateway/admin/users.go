package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"

	"mcmt2xmpp/gateway/store"
	"mcmt2xmpp/xmpp/jid"
)

// Accounts are the accounts of the built-in store.
type Accounts interface {
	Add(ctx context.Context, user jid.JID, password string) error
	SetPassword(ctx context.Context, user jid.JID, password string) error
	Remove(ctx context.Context, user jid.JID) error
	List(ctx context.Context) ([]jid.JID, error)
}

// User is the body of POST /v1/users and PUT /v1/users/{jid}.
type User struct {
	JID      string `json:"jid"`
	Password string `json:"password,omitempty"`
}

// action handles one method of a path. Its error is answered by userError.
type action func(w http.ResponseWriter, r *http.Request) error

// accounts answers a path under /v1/users by the method of the request.
func (s *Server) accounts(actions map[string]action) http.Handler {
	allowed := strings.Join(slices.Sorted(maps.Keys(actions)), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		do := actions[r.Method]
		switch {
		case do == nil:
			methodNotAllowed(w, allowed)
			return
		case s.o.Accounts == nil:
			problem(w, http.StatusNotImplemented, "accounts are not kept by the built-in store here")
			return
		}
		if err := do(w, r); err != nil {
			s.userError(w, err)
		}
	})
}

// badRequest is an error whose text is for the operator.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// errNotJSON is the error of a body that says it is something else.
var errNotJSON = errors.New("the body must be application/json")

func (s *Server) userError(w http.ResponseWriter, err error) {
	var bad badRequest
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", large.Limit))
	case errors.As(err, &bad):
		problem(w, http.StatusBadRequest, bad.Error())
	case errors.Is(err, errNotJSON):
		problem(w, http.StatusUnsupportedMediaType, err.Error())
	case errors.Is(err, store.ErrInvalid):
		problem(w, http.StatusBadRequest, err.Error())
	case errors.Is(err, store.ErrExists):
		problem(w, http.StatusConflict, "the account exists")
	case errors.Is(err, store.ErrNoAccount):
		problem(w, http.StatusNotFound, "no such account")
	default:
		s.o.Log.Error().Err(err).Msg("accounts")
		problem(w, http.StatusServiceUnavailable, "accounts cannot be read or changed now")
	}
}

func (s *Server) listUsers(w http.ResponseWriter, r *http.Request) error {
	all, err := s.o.Accounts.List(r.Context())
	if err != nil {
		return err
	}
	users := make([]User, len(all))
	for i, j := range all {
		users[i].JID = j.String()
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(users) // the peer is gone when this fails
	return nil
}

func (s *Server) addUser(w http.ResponseWriter, r *http.Request) error {
	user, password, err := readUser(w, r)
	if err != nil {
		return err
	}
	if err := s.o.Accounts.Add(r.Context(), user, password); err != nil {
		return err
	}
	s.o.Log.Info().Str("jid", user.String()).Str("peer", r.RemoteAddr).Msg("account added")
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) setPassword(w http.ResponseWriter, r *http.Request) error {
	user, password, err := readUser(w, r)
	if err != nil {
		return err
	}
	if err := s.o.Accounts.SetPassword(r.Context(), user, password); err != nil {
		return err
	}
	s.o.Log.Info().Str("jid", user.String()).Str("peer", r.RemoteAddr).Msg("password changed")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) removeUser(w http.ResponseWriter, r *http.Request) error {
	user, err := account(r.PathValue("jid"))
	if err != nil {
		return err
	}
	if err := s.o.Accounts.Remove(r.Context(), user); err != nil {
		return err
	}
	s.o.Log.Info().Str("jid", user.String()).Str("peer", r.RemoteAddr).Msg("account removed")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// maxBody bounds a request: an address has at most 3071 bytes (RFC 7622 §3.1)
// and a password is not a text.
const maxBody = 16 << 10

// readUser reads the body. Only JSON is taken: a form of a foreign page cannot
// send it without being asked for (CORS).
func readUser(w http.ResponseWriter, r *http.Request) (jid.JID, string, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return jid.JID{}, "", errNotJSON
	}
	var u User
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(&u)
	if err == nil && dec.More() {
		err = errors.New("something follows the object")
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return jid.JID{}, "", err
	case err != nil:
		return jid.JID{}, "", badRequest("body: " + err.Error())
	}
	if path := r.PathValue("jid"); path != "" {
		if u.JID != "" && u.JID != path {
			return jid.JID{}, "", badRequest("jid in the body is not that of the path")
		}
		u.JID = path
	}
	user, err := account(u.JID)
	if err != nil {
		return jid.JID{}, "", err
	}
	if u.Password == "" {
		return jid.JID{}, "", badRequest("password is empty")
	}
	return user, u.Password, nil
}

// account reads the address of an account: user@domain.
func account(s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err != nil {
		return jid.JID{}, badRequest("jid: " + err.Error())
	}
	if j.Local() == "" || !j.IsBare() {
		return jid.JID{}, badRequest("jid must be of the form user@domain")
	}
	return j, nil
}
