package admin

import (
	"context"
	"errors"
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

// User is the body of POST /v1/users, and without a password an account of GET
// /v1/users.
type User struct {
	JID      string `json:"jid"`
	Password string `json:"password,omitempty"`
}

// Password is the body of PUT /v1/users/{jid}, which may name the account, too.
type Password struct {
	JID      string `json:"jid,omitempty"`
	Password string `json:"password"`
}

// userRoutes are those of accounts.
func (s *Server) userRoutes() []route {
	p := &part{
		name:    "accounts",
		present: func() bool { return s.o.Accounts != nil },
		absent:  "accounts are not kept by the built-in store here",
		failing: "accounts cannot be read or changed now",
		refusal: accountRefusal,
	}
	return []route{
		{method: http.MethodGet, path: "/v1/users", id: "listUsers", summary: "The accounts of the built-in store",
			role: Read, part: p, answer: []User{}, do: s.listUsers},
		{method: http.MethodPost, path: "/v1/users", id: "addUser", summary: "Add an account",
			part: p, body: User{}, status: http.StatusCreated, refuse: []int{http.StatusConflict}, do: s.addUser},
		{method: http.MethodPut, path: "/v1/users/{jid}", id: "setPassword", summary: "Change the password of an account",
			part: p, body: Password{}, status: http.StatusNoContent, refuse: []int{http.StatusNotFound}, do: s.setPassword},
		{method: http.MethodDelete, path: "/v1/users/{jid}", id: "removeUser", summary: "Remove an account",
			part: p, status: http.StatusNoContent, refuse: []int{http.StatusNotFound}, do: s.removeUser},
	}
}

func accountRefusal(err error) (int, string) {
	switch {
	case errors.Is(err, store.ErrInvalid):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, store.ErrExists):
		return http.StatusConflict, "the account exists"
	case errors.Is(err, store.ErrNoAccount):
		return http.StatusNotFound, "no such account"
	}
	return 0, ""
}

func (s *Server) listUsers(x *exchange, r *http.Request) error {
	all, err := s.o.Accounts.List(r.Context())
	if err != nil {
		return err
	}
	users := make([]User, len(all))
	for i, j := range all {
		users[i].JID = j.String()
	}
	writeJSON(x, users)
	return nil
}

func (s *Server) addUser(x *exchange, r *http.Request) error {
	user, password, err := readUser(x, r)
	if err != nil {
		return err
	}
	x.note("jid", user.String())
	if err := s.o.Accounts.Add(r.Context(), user, password); err != nil {
		return err
	}
	x.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Server) setPassword(x *exchange, r *http.Request) error {
	user, password, err := readUser(x, r)
	if err != nil {
		return err
	}
	if err := s.o.Accounts.SetPassword(r.Context(), user, password); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) removeUser(x *exchange, r *http.Request) error {
	user, err := bareJID("jid", r.PathValue("jid"))
	if err != nil {
		return err
	}
	if err := s.o.Accounts.Remove(r.Context(), user); err != nil {
		return err
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// readUser reads the body.
func readUser(w http.ResponseWriter, r *http.Request) (jid.JID, string, error) {
	var u User
	if err := readJSON(w, r, &u); err != nil {
		return jid.JID{}, "", err
	}
	if path := r.PathValue("jid"); path != "" {
		if u.JID != "" && u.JID != path {
			return jid.JID{}, "", badRequest("jid in the body is not that of the path")
		}
		u.JID = path
	}
	user, err := bareJID("jid", u.JID)
	if err != nil {
		return jid.JID{}, "", err
	}
	if u.Password == "" {
		return jid.JID{}, "", badRequest("password is empty")
	}
	return user, u.Password, nil
}

// bareJID reads the address of a user, which is called name.
func bareJID(name, s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err != nil {
		return jid.JID{}, badRequest(name + ": " + err.Error())
	}
	if j.Local() == "" || !j.IsBare() {
		return jid.JID{}, badRequest(name + " must be of the form user@domain")
	}
	return j, nil
}
