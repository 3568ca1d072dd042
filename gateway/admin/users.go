package admin

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"

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

// users adds the routes under /v1/users.
func (s *Server) users(mux *http.ServeMux) {
	handle := func(pattern string, do func(w http.ResponseWriter, r *http.Request) error) {
		mux.Handle(pattern, s.guard(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s.o.Accounts == nil {
				problem(w, http.StatusNotImplemented, errNoAccounts.Error())
				return
			}
			if err := do(w, r); err != nil {
				s.userError(w, err)
			}
		})))
	}
	handle("GET /v1/users", s.listUsers)
	handle("POST /v1/users", s.addUser)
	handle("PUT /v1/users/{jid}", s.setPassword)
	handle("DELETE /v1/users/{jid}", s.removeUser)
}

// badRequest is an error whose text is for the operator.
type badRequest string

func (b badRequest) Error() string { return string(b) }

func (s *Server) userError(w http.ResponseWriter, err error) {
	var bad badRequest
	switch {
	case errors.As(err, &bad):
		problem(w, http.StatusBadRequest, bad.Error())
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
	return json.NewEncoder(w).Encode(users)
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

// readUser reads the body. Only JSON is taken: a form of a foreign page cannot
// send it without being asked for (CORS).
func readUser(w http.ResponseWriter, r *http.Request) (jid.JID, string, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return jid.JID{}, "", badRequest("the body must be application/json")
	}
	var u User
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&u); err != nil {
		return jid.JID{}, "", badRequest("body: " + err.Error())
	}
	if path := r.PathValue("jid"); path != "" {
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
