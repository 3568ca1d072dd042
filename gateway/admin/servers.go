package admin

import (
	"context"
	"errors"
	"net/http"

	"mcmt2xmpp/xmpp/jid"
	"mcmt2xmpp/xmpp/s2s"
)

// Servers are the streams of this process with other servers.
type Servers interface {
	// Streams are all of them, and the domains to which there is none and why.
	Streams() []ServerStream
	// Check tests the way to a domain, from one of ours; empty: from the first.
	Check(ctx context.Context, from, domain string) (*s2s.Check, error)
	// Retry has a domain tried at once, and says whether it would have been later.
	Retry(domain string) bool
	// Block ends all streams with a domain, and allows none until it is undone.
	Block(ctx context.Context, domain string, block bool) error
}

// ServerStream is a stream with another server, or the lack of one.
type ServerStream struct {
	s2s.State
	Link    string `json:"link,omitempty"`    // name of the link that it is; empty: it is none
	Blocked bool   `json:"blocked,omitempty"` // by an operator
}

// ServerChange is the answer of POST /v1/s2s/{domain}:ACTION.
type ServerChange struct {
	Domain string `json:"domain"`
	// Changed says whether it makes any difference: to retry, whether the domain was
	// waited for.
	Changed bool `json:"changed"`
}

// serverPaths adds the paths of streams with servers.
func (s *Server) serverPaths(mux *http.ServeMux) {
	p := part{
		name:    "s2s",
		present: func() bool { return s.o.Servers != nil },
		absent:  "this gateway has no streams with other servers",
		failing: "that cannot be stored now",
		refusal: func(error) (int, string) { return 0, "" },
	}
	mux.Handle("/v1/s2s", s.guard(s.serve(p, map[string]action{http.MethodGet: s.listServers})))
	mux.Handle("/v1/s2s/{domain}/check", s.guard(s.serve(p, map[string]action{http.MethodPost: s.checkServer})))
	for name, do := range map[string]func(ctx context.Context, domain string) (bool, error){
		"retry": func(_ context.Context, domain string) (bool, error) { return s.o.Servers.Retry(domain), nil },
		"block": func(ctx context.Context, domain string) (bool, error) {
			return true, s.o.Servers.Block(ctx, domain, true)
		},
		"unblock": func(ctx context.Context, domain string) (bool, error) {
			return true, s.o.Servers.Block(ctx, domain, false)
		},
	} {
		change := func(w http.ResponseWriter, r *http.Request) error { return s.changeServer(w, r, name, do) }
		mux.Handle("/v1/s2s/{domain}/"+name, s.guard(s.serve(p, map[string]action{http.MethodPost: change})))
	}
}

func (s *Server) listServers(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, append([]ServerStream{}, s.o.Servers.Streams()...))
	return nil
}

// checkServer answers when the test is over, which may take a minute and a half.
func (s *Server) checkServer(w http.ResponseWriter, r *http.Request) error {
	domain, err := domainOf(r)
	if err != nil {
		return err
	}
	check, err := s.o.Servers.Check(r.Context(), r.URL.Query().Get("from"), domain)
	if err != nil {
		return badRequest(err.Error())
	}
	writeJSON(w, check)
	return nil
}

func (s *Server) changeServer(w http.ResponseWriter, r *http.Request, name string, do func(context.Context, string) (bool, error)) error {
	domain, err := domainOf(r)
	if err != nil {
		return err
	}
	changed, err := do(r.Context(), domain)
	if err != nil {
		return err
	}
	s.o.Log.Info().Str("action", name).Str("domain", domain).Str("peer", r.RemoteAddr).Msg("server streams changed")
	writeJSON(w, ServerChange{domain, changed})
	return nil
}

// domainOf is the domain of the path.
func domainOf(r *http.Request) (string, error) {
	j, err := jid.Parse(r.PathValue("domain"))
	if err == nil && (j.Local() != "" || !j.IsBare()) {
		err = errors.New("not a domain")
	}
	if err != nil {
		return "", badRequest("domain: " + err.Error())
	}
	return j.Domain(), nil
}
