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
	Link    string `json:"link,omitempty" doc:"name of the link that it is; empty: it is none"`
	Blocked bool   `json:"blocked,omitempty" doc:"by an operator"`
}

// ServerChange is the answer of POST /v1/s2s/{domain}:ACTION.
type ServerChange struct {
	Domain string `json:"domain"`
	// Changed says whether it makes any difference: to retry, whether the domain was
	// waited for.
	Changed bool `json:"changed"`
}

// serverRoutes are those of streams with servers.
func (s *Server) serverRoutes() []route {
	p := &part{
		name:    "s2s",
		present: func() bool { return s.o.Servers != nil },
		absent:  "this gateway has no streams with other servers",
		failing: "that cannot be stored now",
		refusal: func(error) (int, string) { return 0, "" },
	}
	change := func(name, summary string, do func(ctx context.Context, domain string) (bool, error)) route {
		return route{method: http.MethodPost, path: "/v1/s2s/{domain}/" + name, id: name + "Server", summary: summary,
			part: p, answer: ServerChange{},
			do: func(x *exchange, r *http.Request) error { return s.changeServer(x, r, do) }}
	}
	return []route{
		{method: http.MethodGet, path: "/v1/s2s", id: "listServers", summary: "The streams with other servers, and the domains to which there is none",
			role: Read, part: p, answer: []ServerStream{}, do: s.listServers},
		{method: http.MethodPost, path: "/v1/s2s/{domain}/check", id: "checkServer", summary: "Test the way to a domain step by step",
			about: "The answer comes when the test is over, which may take a minute and a half.",
			part:  p, query: []field{{"from", "domain of ours to test from; left out: the first", ""}}, answer: s2s.Check{}, do: s.checkServer},
		change("retry", "Try a domain at once", func(_ context.Context, domain string) (bool, error) {
			return s.o.Servers.Retry(domain), nil
		}),
		change("block", "End all streams with a domain and allow none", func(ctx context.Context, domain string) (bool, error) {
			return true, s.o.Servers.Block(ctx, domain, true)
		}),
		change("unblock", "Allow streams with a domain again", func(ctx context.Context, domain string) (bool, error) {
			return true, s.o.Servers.Block(ctx, domain, false)
		}),
	}
}

func (s *Server) listServers(x *exchange, _ *http.Request) error {
	writeJSON(x, append([]ServerStream{}, s.o.Servers.Streams()...))
	return nil
}

// checkServer answers when the test is over, which may take a minute and a half.
func (s *Server) checkServer(x *exchange, r *http.Request) error {
	domain, err := domainOf(r)
	if err != nil {
		return err
	}
	check, err := s.o.Servers.Check(r.Context(), r.URL.Query().Get("from"), domain)
	if err != nil {
		return badRequest(err.Error())
	}
	writeJSON(x, check)
	return nil
}

func (s *Server) changeServer(x *exchange, r *http.Request, do func(context.Context, string) (bool, error)) error {
	domain, err := domainOf(r)
	if err != nil {
		return err
	}
	changed, err := do(r.Context(), domain)
	if err != nil {
		return err
	}
	writeJSON(x, ServerChange{domain, changed})
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
